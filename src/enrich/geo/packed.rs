//! The tables embedded in the program: ranges of addresses, and two letters about each, which say the country that it
//! is registered in or the kind of network that it belongs to.
//!
//! The packed form (`geoip/countries.bin`, `geoip/networks.bin`, made by `examples/pack_*.rs`) is one zlib stream
//! (RFC 1950) of
//! ```text
//! varint  when the source was built, seconds since 1970
//! varint  number of codes, then two bytes each; the first is blank and means "nothing known"
//! twice, for IPv4 and for the upper halves of IPv6 addresses:
//!   varint  number of ranges
//!   varint  start of each range, less the start of the one before
//!   byte    code of each range; a range ends where the next begins
//! ```
//! with varints as in LEB128. Unpacked on first use, the countries into about 2.6 MB; a look-up is a binary search.

use std::net::IpAddr;

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use thiserror::Error;

/// What the unpacked stream may hold at most, in bytes.
const UNPACKED_BYTES_MAX: usize = 32 << 20;

/// The packed table is not in its form: truncated, altered, or something else.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("table of addresses is damaged")]
pub struct Damaged;

/// Ranges of addresses with a code for each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Coded {
    built_secs: u64,
    codes: Vec<[u8; 2]>,
    v4: Ranges<u32>,
    v6: Ranges<u64>,
}

/// A partition of a space of numbers; a range ends where the next begins.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ranges<T> {
    starts: Vec<T>,
    codes: Vec<u8>,
}

impl Coded {
    /// Reads the packed form.
    ///
    /// # Errors
    ///
    /// [`Damaged`] when it is not one.
    pub fn unpack(packed: &[u8]) -> Result<Self, Damaged> {
        let bytes = decompress_to_vec_zlib_with_limit(packed, UNPACKED_BYTES_MAX).map_err(|_| Damaged)?;
        let mut rest = Reader(&bytes);
        let built_secs = rest.varint()?;
        let count = rest.count()?;
        let codes = rest.take(count.checked_mul(2).ok_or(Damaged)?)?;
        let codes = codes.chunks_exact(2).filter_map(|code| code.try_into().ok()).collect();
        Ok(Self { built_secs, codes, v4: rest.ranges()?, v6: rest.ranges()? })
    }

    /// The code of the range that `ip` is in.
    pub fn code(&self, ip: IpAddr) -> Option<&str> {
        let index = match ip {
            IpAddr::V4(v4) => self.v4.code(u32::from(v4)),
            IpAddr::V6(v6) => self.v6.code(u64::try_from(u128::from(v6) >> 64).ok()?),
        };
        let code = self.codes.get(usize::from(index.filter(|index| *index > 0)?))?;
        std::str::from_utf8(code).ok()
    }

    /// When the source was built, in seconds since 1970.
    pub fn built_secs(&self) -> u64 {
        self.built_secs
    }

    /// The packed form of ranges `(first, last, code)`, which are sorted and do not overlap; IPv6 by upper halves.
    ///
    /// The inverse of [`Coded::unpack`]; used to make the file, not while running.
    pub fn pack(built_secs: u64, v4: &[(u64, u64, [u8; 2])], v6: &[(u64, u64, [u8; 2])]) -> Vec<u8> {
        let mut codes: Vec<[u8; 2]> = [v4, v6].iter().flat_map(|ranges| ranges.iter().map(|range| range.2)).collect();
        codes.push(*b"  ");
        codes.sort_unstable();
        codes.dedup();
        let mut out = Vec::new();
        write_varint(&mut out, built_secs);
        write_varint(&mut out, codes.len() as u64);
        out.extend(codes.iter().flatten());
        write_ranges(&mut out, &codes, v4, u64::from(u32::MAX));
        write_ranges(&mut out, &codes, v6, u64::MAX);
        miniz_oxide::deflate::compress_to_vec_zlib(&out, 10)
    }
}

impl<T: Copy + Ord> Ranges<T> {
    fn code(&self, number: T) -> Option<u8> {
        let after = self.starts.partition_point(|start| *start <= number);
        self.codes.get(after.checked_sub(1)?).copied()
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Damaged> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or(Damaged)?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    /// A number of things of which each takes at least a byte of what is left.
    fn count(&mut self) -> Result<usize, Damaged> {
        let count = usize::try_from(self.varint()?).map_err(|_| Damaged)?;
        if count > self.0.len() { Err(Damaged) } else { Ok(count) }
    }

    fn ranges<T: TryFrom<u64>>(&mut self) -> Result<Ranges<T>, Damaged> {
        let count = self.count()?;
        let mut starts = Vec::with_capacity(count);
        let mut start = 0_u64;
        for _ in 0..count {
            start = start.checked_add(self.varint()?).ok_or(Damaged)?;
            starts.push(T::try_from(start).map_err(|_| Damaged)?);
        }
        Ok(Ranges { starts, codes: self.take(count)?.to_vec() })
    }
}

fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes ranges of a space that ends at `end`.
fn write_ranges(out: &mut Vec<u8>, codes: &[[u8; 2]], ranges: &[(u64, u64, [u8; 2])], end: u64) {
    // A boundary where the code changes, gaps having the blank one.
    let mut boundaries: Vec<(u64, [u8; 2])> = Vec::new();
    let mut change = |at: u64, code: [u8; 2]| match boundaries.last_mut() {
        Some(last) if last.0 == at => last.1 = code,
        Some(last) if last.1 == code => {}
        _ => boundaries.push((at, code)),
    };
    for (first, last, code) in ranges {
        change(*first, *code);
        if let Some(after) = last.checked_add(1) {
            change(after, *b"  ");
        }
    }
    boundaries.retain(|(at, _)| *at <= end);
    boundaries.dedup_by_key(|(_, code)| *code);
    write_varint(out, boundaries.len() as u64);
    let mut before = 0;
    for (at, _) in &boundaries {
        write_varint(out, at - before);
        before = *at;
    }
    out.extend(boundaries.iter().map(|(_, code)| codes.binary_search(code).map_or(0, |index| index as u8)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &[(u64, u64, [u8; 2])] = &[
        (0x0100_0000, 0x0100_00ff, *b"SE"),
        (0x0100_0100, 0x0100_01ff, *b"SE"),
        (0x0200_0000, 0x02ff_ffff, *b"NO"),
        (0xff00_0000, 0xffff_ffff, *b"SE"),
    ];
    const V6: &[(u64, u64, [u8; 2])] = &[(0x2a00_1450_0000_0000, 0x2a00_1450_ffff_ffff, *b"DK")];

    #[test]
    fn what_was_packed_is_found() {
        let coded = Coded::unpack(&Coded::pack(1_781_726_065, V4, V6)).unwrap();
        assert_eq!(coded.built_secs(), 1_781_726_065);
        assert_eq!(coded.v4.starts.len(), 5, "neighbours of one code are one range");
        let check = |ip: &str, code: Option<&str>| assert_eq!(coded.code(ip.parse().unwrap()), code, "{ip}");
        check("0.0.0.0", None);
        check("1.0.0.0", Some("SE"));
        check("1.0.1.255", Some("SE"));
        check("1.0.2.0", None);
        check("2.255.255.255", Some("NO"));
        check("3.0.0.0", None);
        check("255.255.255.255", Some("SE"));
        check("2a00:1450:1::1", Some("DK"));
        check("2a00:1451::", None);
        check("::", None);
    }

    #[test]
    fn damage_is_noticed_and_never_fatal() {
        let packed = Coded::pack(1, V4, V6);
        assert_eq!(Coded::unpack(b""), Err(Damaged));
        for length in 0..packed.len() {
            assert_eq!(Coded::unpack(&packed[..length]), Err(Damaged));
        }
        for raw in [&b"\x00"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x01\x7f", b"\x01\x01  \x02\x01"] {
            assert_eq!(Coded::unpack(&miniz_oxide::deflate::compress_to_vec_zlib(raw, 1)), Err(Damaged));
        }
    }
}
