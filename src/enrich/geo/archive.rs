//! The database in what a provider serves: bare, gzipped (DB-IP), or in a gzipped tape archive (MaxMind).
//!
//! Speaks gzip (RFC 1952) and ustar (POSIX.1-1988) as far as taking one file out needs. Everything is bounded and
//! checked: a download that was cut off or altered is refused.

use std::io;
use std::path::Path;
use std::time::Duration;

use miniz_oxide::inflate::decompress_to_vec_with_limit;
use thiserror::Error;

use super::mmdb::Database;
use super::{Files, Geo, GeoError};
use crate::model::time::Timestamp;

/// A larger database is not taken, in bytes.
pub const DATABASE_BYTES_MAX: usize = 512 << 20;

const BLOCK_BYTES: usize = 512;

/// What was served is no database.
#[derive(Debug, Error)]
pub enum Unfit {
    /// The compression is damaged, of another kind, or hides more than is taken.
    #[error("what was served is not what gzip makes, is damaged, or is too large")]
    Gzip,
    /// No file of the archive is a database.
    #[error("the archive holds no database")]
    NoDatabase,
    /// It is a database of nothing that we use.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// It cannot be written.
    #[error("write {path}")]
    Write {
        /// Where to.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Puts the database that was served at `path`, whole or not at all; what it is, with its date and attribution.
///
/// # Errors
/// [`Unfit`]: what was at `path` stays.
pub fn install(served: &[u8], path: &Path) -> Result<String, Unfit> {
    let database = taken_out(served)?;
    Database::from_bytes(path, database.clone())?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let unwritable = |source| Unfit::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    let beside = path.with_extension("new");
    let written = std::fs::write(&beside, &database)
        .and_then(|()| std::fs::File::open(&beside)?.sync_all())
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(unwritable)?;
    let files = Files { databases: vec![path.to_owned()], ..Files::default() };
    Ok(Geo::open(files)?.description())
}

/// The names of DB-IP's files that may be there: this month's; early in a month, the last one's is the newest.
pub fn dbip_files(now: Timestamp) -> Vec<String> {
    let month = |at: Timestamp| at.rfc3339_seconds().chars().take(7).collect::<String>();
    let day = Duration::from_secs(86_400);
    let this = month(now);
    let before = (1..=31).map(|days| month(now - day * days)).find(|month| *month != this);
    let months = std::iter::once(this).chain(before);
    months.map(|month| format!("dbip-city-lite-{month}.mmdb.gz")).collect()
}

fn taken_out(served: &[u8]) -> Result<Vec<u8>, Unfit> {
    let whole = match served.starts_with(b"\x1f\x8b") {
        true => gunzipped(served).ok_or(Unfit::Gzip)?,
        false => served.to_vec(),
    };
    let is_archive = whole.get(257..262) == Some(b"ustar");
    if !is_archive {
        return Ok(whole);
    }
    let found = files(&whole).find(|(name, _)| name.ends_with(".mmdb"));
    found.map(|(_, content)| content.to_vec()).ok_or(Unfit::NoDatabase)
}

/// One gzip member, checked against its sum and size.
fn gunzipped(gzip: &[u8]) -> Option<Vec<u8>> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const HEADER_SUM: u8 = 2;
    let flags = *gzip.get(3)?;
    let mut rest = gzip.get(10..)?;
    if flags & EXTRA != 0 {
        let length = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
        rest = rest.get(2 + length..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            rest = rest.get(memchr::memchr(0, rest)? + 1..)?;
        }
    }
    if flags & HEADER_SUM != 0 {
        rest = rest.get(2..)?;
    }
    let (deflated, trailer) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
    let inflated = decompress_to_vec_with_limit(deflated, DATABASE_BYTES_MAX).ok()?;
    let (sum, size) = trailer.split_at_checked(4)?;
    let is_whole = u32::from_le_bytes(sum.try_into().ok()?) == crc32(&inflated)
        && u32::from_le_bytes(size.try_into().ok()?) == u32::try_from(inflated.len()).ok()?;
    is_whole.then_some(inflated)
}

/// The sum of gzip's trailer (RFC 1952 §8), a byte at a time by a table.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut number = 0;
        while number < 256 {
            let (mut sum, mut bit) = (number as u32, 0);
            while bit < 8 {
                sum = if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
                bit += 1;
            }
            table[number] = sum;
            number += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |sum: u32, byte| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8))
}

/// Name and content of each plain file of an archive.
fn files(archive: &[u8]) -> impl Iterator<Item = (String, &[u8])> {
    let mut rest = archive;
    std::iter::from_fn(move || {
        loop {
            let (header, after) = rest.split_at_checked(BLOCK_BYTES)?;
            let name = header.get(..100)?.split(|byte| *byte == 0).next()?;
            if name.is_empty() {
                return None;
            }
            let octal = std::str::from_utf8(header.get(124..136)?).ok()?;
            let size = usize::from_str_radix(octal.trim_matches(['\0', ' ']), 8).ok()?;
            let content = after.get(..size)?;
            rest = after.get(size.checked_next_multiple_of(BLOCK_BYTES)?..).unwrap_or_default();
            if matches!(header.get(156)?, b'0' | 0) {
                return Some((String::from_utf8_lossy(name).into_owned(), content));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::database;
    use super::*;
    use serde_json::json;

    fn city() -> Vec<u8> {
        database("DBIP-City-Lite", &[("89.160.20.0", 24, json!({"country_code": "SE", "city": "Lund"}))])
    }

    fn gzip(bytes: &[u8], flags: u8, more: &[u8]) -> Vec<u8> {
        let deflated = miniz_oxide::deflate::compress_to_vec(bytes, 6);
        let size = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3], more, &deflated, &crc32(bytes).to_le_bytes(), &size].concat()
    }

    fn tape(files: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let mut tape = Vec::new();
        for (name, kind, content) in files {
            let mut header = vec![0; BLOCK_BYTES];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
            header[156] = *kind;
            header[257..262].copy_from_slice(b"ustar");
            tape.extend(header);
            tape.extend_from_slice(content);
            tape.resize(tape.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        tape.extend([0; 2 * BLOCK_BYTES]);
        tape
    }

    #[test]
    fn every_wrapping_is_taken_off() {
        let folder = tempfile::tempdir().unwrap();
        let city = city();
        let in_tape =
            tape(&[("GeoLite2-City_2026/", b'5', b""), ("x/LICENSE.txt", b'0', b"..."), ("x/City.mmdb", b'0', &city)]);
        for (number, served) in [
            city.clone(),
            gzip(&city, 0, b""),
            gzip(&city, 8 | 4 | 16 | 2, b"\x02\0xxname\0comment\0ss"),
            gzip(&in_tape, 0, b""),
        ]
        .into_iter()
        .enumerate()
        {
            let path = folder.path().join(format!("{number}/city.mmdb"));
            let said = install(&served, &path).unwrap();
            assert!(said.starts_with("DBIP-City-Lite of ") && said.ends_with("https://db-ip.com"), "{said}");
            assert_eq!(std::fs::read(&path).unwrap(), city);
        }
    }

    #[test]
    fn what_is_no_database_is_refused_and_the_one_before_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("city.mmdb");
        install(&city(), &path).unwrap();
        let mut altered = gzip(&city(), 0, b"");
        let last = altered.len() - 5;
        altered[last] ^= 1;
        let cut = gzip(&city(), 0, b"");
        for served in [
            &b""[..],
            b"<html>",
            b"\x1f\x8b",
            &altered,
            &cut[..cut.len() / 2],
            &gzip(&tape(&[("x/README", b'0', b"no")]), 0, b""),
            &gzip(&tape(&[("x/City.mmdb", b'0', &city())])[..700], 0, b""),
        ] {
            assert!(install(served, &path).is_err());
        }
        assert_eq!(std::fs::read(&path).unwrap(), city());
        for length in 0..40 {
            assert!(gunzipped(&cut[..length]).is_none());
        }
    }

    #[test]
    fn early_in_a_month_the_last_one_will_do() {
        let files = |millis| dbip_files(Timestamp::from_millis(millis));
        let file = |month: &str| format!("dbip-city-lite-{month}.mmdb.gz");
        assert_eq!(files(1_772_439_300_000), [file("2026-03"), file("2026-02")]);
        assert_eq!(files(1_767_225_600_000), [file("2026-01"), file("2025-12")]);
    }

    #[test]
    fn sums() {
        assert_eq!((crc32(b""), crc32(b"123456789")), (0, 0xcbf4_3926));
    }
}
