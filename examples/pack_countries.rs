//! Makes `geoip/countries.bin`, the country table inside the program, from two files in MaxMind's format.
//!
//! ```text
//! cargo run --release --example pack_countries -- COUNTRY-IPV4.mmdb COUNTRY-IPV6.mmdb geoip/countries.bin
//! ```
//!
//! The files must be flat (`country_code` at the top of each record); `geoip/README.md` says where ours came from.
//! Codes that are no country's (`AP`, `EU`) are left out: such an address has no country.

use std::net::IpAddr;

use anyhow::{Context, bail};
use maxminddb::{Reader, WithinOptions, path};
use postback::enrich::geo::{Coded, is_country};

type Range = (u64, u64, [u8; 2]);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [v4, v6, out] = arguments.as_slice() else { bail!("usage: pack_countries IPV4.mmdb IPV6.mmdb OUT") };
    let (built_v4, v4) = ranges(v4)?;
    let (built_v6, v6) = ranges(v6)?;
    std::fs::write(out, Coded::pack(built_v4.min(built_v6), &v4, &v6)).with_context(|| format!("write {out}"))
}

/// When the file was built, and its networks in order; of IPv6 addresses the upper halves.
fn ranges(file: &str) -> anyhow::Result<(u64, Vec<Range>)> {
    let reader = Reader::open_readfile(file).with_context(|| format!("open {file}"))?;
    let mut ranges = Vec::new();
    for found in reader.networks(WithinOptions::default())? {
        let found = found?;
        let network = found.network()?;
        let Some(code) = found.decode_path::<String>(&path!["country_code"])?.filter(|code| is_country(code)) else {
            continue;
        };
        let (first, bits): (u64, u32) = match network.ip() {
            IpAddr::V4(first) => (u64::from(u32::from(first)), 32),
            IpAddr::V6(first) => (u64::try_from(u128::from(first) >> 64)?, 64),
        };
        let Some(free) = bits.checked_sub(u32::from(network.prefix())) else { continue };
        let last = first | 1_u64.checked_shl(free).unwrap_or(0).wrapping_sub(1);
        ranges.push((first, last, code.as_bytes().try_into()?));
    }
    Ok((reader.metadata().build_epoch, ranges))
}
