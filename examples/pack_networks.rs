//! Makes `geoip/networks.bin`, the table of the kinds of networks inside the program, from two lists of ranges.
//!
//! ```text
//! cargo run --release --example pack_networks -- ASN-IPV4.csv ASN-IPV6.csv BUILT_SECS geoip/networks.bin
//! ```
//!
//! A line is `first,last,number of the autonomous system,name`; `geoip/README.md` says where ours came from. Which
//! system is of which kind is the table below: hosts where scanners run, vendors of mail security, Apple and those who
//! carry its relays, Google itself, gateways that whole companies share, and operators whose customers share addresses.

use std::net::IpAddr;

use anyhow::{Context, bail};
use postback::enrich::geo::Coded;

type Range = (u64, u64, [u8; 2]);

/// Autonomous systems by kind: the code in the table, and their numbers, a company a line.
const KINDS: &[(&[u8; 2], &[u32])] = &[
    (
        b"CL",
        &[
            // Microsoft
            8075, 8069, 8068, 8070, 3598, 35106, 17144, 12076, 46182, 45139, 30520, 63314, 200517, 8071, 8072, 8073,
            // Google Cloud
            396982, // Amazon
            16509, 14618, 8987, 7224, 801, 38895, 214101, 21664, 400098, // Oracle
            31898, 54253, 33517, 6142, 46558, 11049, 1218, 14544, 11506, 20037, 15135, 20054, 64102,
            // DigitalOcean, OVH, Hetzner, Vultr
            14061, 393406, 46652, 16276, 35540, 24940, 213230, 212317, 215859, 20473, 46407, 11508, 54094,
            // Alibaba, Tencent, IBM
            45102, 134963, 37963, 34947, 132203, 45090, 133478, 132591, 137876, 36351, // Linode
            63949, 48337, // Contabo, Scaleway
            51167, 40021, 141995, 12876, 29447, 202023, 54265, // LeaseWeb
            60781, 395954, 28753, 30633, 27411, 7203, 396190, 396362, 59253, 205544, 32613, 134351, 394380, 19148,
            // M247
            9009, 16247, 42973, 33970, 51332,
        ],
    ),
    (
        b"SE",
        &[
            // Proofpoint, Mimecast, Barracuda
            13916, 22843, 26211, 52129, 30031, 33538, 37235, 39588, 42427, 60492, 136792, 208638, 397726, 15324,
            // Forcepoint, Trend Micro, Hornetsecurity, Trellix
            13448, 42465, 43251, 44444, 7598, 16880, 132229, 401943, 17330, 46484, 203724, 205272, 7754, 17370,
            // Fortinet, Check Point
            40934, 53928, 200589, 31997, 398391, 213176, 25046, 30343, 153913, 40344, 32106, 400883,
            // IronPort, MessageLabs, Sophos, Abnormal
            16417, 30238, 30215, 40427, 7583, 58976, 399342, 20317,
        ],
    ),
    // Apple; Akamai, Cloudflare and Fastly carry its relays.
    (b"AP", &[714, 6185, 36183, 20940, 13335, 54113]),
    (b"GO", &[15169, 36040, 43515, 36384, 394089, 395973, 36492, 19527, 36411, 41264, 45566, 36383]),
    // Zscaler, Netskope, Cisco Umbrella, Palo Alto Networks
    (b"CO", &[22616, 62044, 53813, 53444, 62907, 55256, 36692, 25605, 54538, 396421]),
    (
        b"MO",
        &[
            // T-Mobile, Verizon Wireless, AT&T Mobility
            21928, 6167, 22394, 20057, // Vodafone, O2, Orange, EE, Three
            3209, 25135, 6805, 35228, 12576, 206067, // T-Mobile in Austria, Czechia, Poland; Telia, Telenor
            8412, 13036, 5588, 12912, 3308, // China Mobile, Jio, NTT Docomo, KDDI, SoftBank, Taiwan Mobile
            9808, 56040, 56046, 24400, 55836, 9605, 2516, 17676, 24158,
        ],
    ),
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [v4, v6, built_secs, out] = arguments.as_slice() else {
        bail!("usage: pack_networks ASN-IPV4.csv ASN-IPV6.csv BUILT_SECS OUT")
    };
    let packed = Coded::pack(built_secs.parse()?, &ranges(v4)?, &ranges(v6)?);
    std::fs::write(out, packed).with_context(|| format!("write {out}"))
}

/// The ranges of the systems that have a kind, in order; of IPv6 addresses the upper halves.
fn ranges(file: &str) -> anyhow::Result<Vec<Range>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    let mut ranges = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(',');
        let (Some(first), Some(last), Some(number)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let number: u32 = number.parse().with_context(|| format!("{file}: {line:?}"))?;
        let Some((code, _)) = KINDS.iter().find(|(_, numbers)| numbers.contains(&number)) else { continue };
        let half = |address: &str| -> anyhow::Result<u64> {
            Ok(match address.parse()? {
                IpAddr::V4(v4) => u64::from(v4.to_bits()),
                IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 64)?,
            })
        };
        ranges.push((half(first)?, half(last)?, **code));
    }
    ranges.sort_unstable();
    // A /64 that two systems share is the first one's.
    ranges.dedup_by(|next, before| {
        next.0 = next.0.max(before.1.saturating_add(1));
        next.0 > next.1
    });
    Ok(ranges)
}
