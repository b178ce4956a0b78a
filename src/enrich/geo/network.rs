//! What kind of network an address belongs to: a hint for judging hits, never a place.
//!
//! Asked in this order: Apple's list of the addresses that its relays leave from, where the settings name one, and the
//! table embedded in the program, which knows the autonomous systems of some forty companies (`geoip/README.md` says
//! whose data it is). An address of which nothing is known is nobody's in particular.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::packed::Coded;
use super::{GeoError, address};
use crate::enrich::machine::Network;

/// The kinds of networks, unpacked on first use.
static EMBEDDED: LazyLock<Coded> =
    LazyLock::new(|| Coded::unpack(include_bytes!("../../../geoip/networks.bin")).unwrap_or_default());

/// A larger list of relays is not read.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// The code of each kind in the table.
const CODES: [(&str, Network); 6] = [
    ("CL", Network::Cloud),
    ("SE", Network::Security),
    ("AP", Network::AppleRelay),
    ("GO", Network::Google),
    ("CO", Network::Corporate),
    ("MO", Network::Mobile),
];

/// The kind of network that `ip` belongs to, as far as the embedded table knows.
pub(super) fn embedded(ip: IpAddr) -> Option<Network> {
    let code = EMBEDDED.code(address::locatable(ip)?)?;
    CODES.iter().find(|(known, _)| *known == code).map(|(_, network)| *network)
}

/// The addresses that Apple's relays leave from: ranges by their first and last address, sorted.
#[derive(Debug, Default)]
pub(super) struct Relays {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Relays {
    /// Reads the list as Apple publishes it: a network, a comma, and what else is known of it. Lines that are nothing
    /// of the kind are passed over.
    ///
    /// # Errors
    /// The file cannot be read, is too large, or holds no network at all.
    pub(super) fn read(path: &Path) -> Result<Self, GeoError> {
        let unreadable = |source| GeoError::Unreadable { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > LIST_BYTES_MAX {
            return Err(unreadable(io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let relays = Self::parse(&text);
        if relays.v4.is_empty() && relays.v6.is_empty() {
            let (path, reason) = (PathBuf::from(path), "it lists no network".to_owned());
            return Err(GeoError::Invalid { path, reason });
        }
        Ok(relays)
    }

    fn parse(text: &str) -> Self {
        let mut relays = Self::default();
        for line in text.lines() {
            match range(line.split(',').next().unwrap_or_default().trim()) {
                Some((IpAddr::V4(_), first, last)) => relays.v4.push((first, last)),
                Some((IpAddr::V6(_), first, last)) => relays.v6.push((first, last)),
                None => {}
            }
        }
        relays.v4.sort_unstable();
        relays.v6.sort_unstable();
        relays
    }

    pub(super) fn has(&self, ip: IpAddr) -> bool {
        let (ranges, number) = match ip.to_canonical() {
            IpAddr::V4(v4) => (&self.v4, u128::from(v4.to_bits())),
            IpAddr::V6(v6) => (&self.v6, v6.to_bits()),
        };
        // Networks are nested or apart; the list has none within another.
        let after = ranges.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| number <= *last)
    }
}

/// First and last address of `192.0.2.0/24`.
fn range(network: &str) -> Option<(IpAddr, u128, u128)> {
    let (ip, prefix) = network.split_once('/')?;
    let (ip, prefix): (IpAddr, u32) = (ip.parse().ok()?, prefix.parse().ok()?);
    let (number, bits) = match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let host = 1u128.checked_shl(u32::checked_sub(bits, prefix)?).map_or(u128::MAX, |size| size - 1);
    Some((ip, number & !host, number | host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_networks() {
        let check = |ip: &str, network: Option<Network>| assert_eq!(embedded(ip.parse().unwrap()), network, "{ip}");
        check("52.94.236.248", Some(Network::Cloud));
        check("::ffff:52.94.236.248", Some(Network::Cloud));
        check("20.36.0.1", Some(Network::Cloud));
        check("66.102.8.1", Some(Network::Google));
        check("17.58.0.1", Some(Network::AppleRelay));
        check("104.28.0.1", Some(Network::AppleRelay));
        check("67.231.144.1", Some(Network::Security));
        check("165.225.0.1", Some(Network::Corporate));
        check("2600:1f18::1", Some(Network::Cloud));
        check("193.0.6.139", None);
        check("10.0.0.1", None);
        check("2001:db8::1", None);
    }

    #[test]
    fn apples_list() {
        let relays = Relays::parse(
            "172.224.224.0/27,GB,GB-EN,London,\n2a02:26f7:c8c4:4000::/64,DE,DE-HE,Frankfurt,\n\nnonsense,x\n1.2.3.4/33,,\n",
        );
        let check = |ip: &str, is_in: bool| assert_eq!(relays.has(ip.parse().unwrap()), is_in, "{ip}");
        check("172.224.224.0", true);
        check("172.224.224.31", true);
        check("::ffff:172.224.224.31", true);
        check("172.224.224.32", false);
        check("172.224.223.255", false);
        check("2a02:26f7:c8c4:4000:1::", true);
        check("2a02:26f7:c8c4:4001::", false);
        check("0.0.0.0", false);
    }

    #[test]
    fn a_list_without_networks_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relays.csv");
        assert!(matches!(Relays::read(&path), Err(GeoError::Unreadable { .. })));
        std::fs::write(&path, "<html>gone</html>").unwrap();
        assert!(matches!(Relays::read(&path), Err(GeoError::Invalid { .. })));
        std::fs::write(&path, "192.0.2.0/24,SE,,\n").unwrap();
        assert!(Relays::read(&path).unwrap().has("192.0.2.255".parse().unwrap()));
    }
}
