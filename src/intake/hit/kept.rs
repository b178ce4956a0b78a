//! How much of a reader is kept, by what the mail agent has set and by what the reader's browser asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::hit::{Client, HitKind, HitRequest, Place, Visitor};
use crate::model::tenant::Privacy;

/// As much of a visitor as the agent keeps. A reader who asks not to be tracked (`Sec-GPC`, `DNT`) is counted on
/// clicks and not described.
pub(super) fn kept(visitor: Visitor, request: &HitRequest, kind: HitKind, privacy: Privacy) -> Visitor {
    let objects =
        request.headers.iter().any(|(name, value)| matches!(name.as_str(), "sec-gpc" | "dnt") && value.trim() == "1");
    if privacy == Privacy::AggregateOnly || (objects && kind == HitKind::Click) {
        return Visitor {
            place: Place::default(),
            client: Client::default(),
            user_agent: String::new(),
            machine: visitor.machine,
        };
    }
    if privacy == Privacy::TruncatedAddress {
        let place = Place { ip_address: truncated(&visitor.place.ip_address), ..visitor.place };
        return Visitor { place, ..visitor };
    }
    visitor
}

/// The address cut to its /24 or /48.
fn truncated(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 0).to_string()
        }
        Ok(IpAddr::V6(v6)) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string()
        }
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut() {
        assert_eq!(truncated("81.2.69.142"), "81.2.69.0");
        assert_eq!(truncated("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
        assert_eq!(truncated(""), "");
    }

    #[test]
    fn a_reader_who_objects_is_counted_and_not_described() {
        let visitor = Visitor { user_agent: "x".into(), ..Visitor::default() };
        let check = |header: &str, kind, privacy, expected: &str| {
            let headers = vec![(header.to_owned(), "1".to_owned())];
            let request = HitRequest { is_get: true, ip: None, user_agent: "x".into(), headers, is_https: true };
            assert_eq!(kept(visitor.clone(), &request, kind, privacy).user_agent, expected, "{header}");
        };
        check("sec-gpc", HitKind::Click, Privacy::Full, "");
        check("dnt", HitKind::Click, Privacy::Full, "");
        check("dnt", HitKind::Click, Privacy::TruncatedAddress, "");
        check("accept", HitKind::Click, Privacy::Full, "x");
        check("sec-gpc", HitKind::Open, Privacy::Full, "x");
        check("sec-gpc", HitKind::Open, Privacy::AggregateOnly, "");
    }
}
