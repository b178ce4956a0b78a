//! What only DNS shows, by a true name server: names that lead inward, whichever way, are not connected to.

use std::sync::Arc;

use postback::dns::{Network, Resolver};
use postback::egress::{Failure, Guard, Policy, Refused, Rule};

use crate::support::dns::NameServer;

const BLOCKED: Failure = Failure::Refused(Refused { rule: Rule::Ip });

#[tokio::test]
async fn names_that_lead_inward_are_refused_by_their_last_address() {
    let many: String = (1..=200).map(|last| format!("row74 A 8.8.8.{last}\n")).collect();
    let zone = "good A 8.8.8.8\n\
                alias CNAME hop.plain.\n\
                hop CNAME good.plain.\n\
                row69 A 127.0.0.1\n\
                row70 A 8.8.8.8\n\
                row70 A 127.0.0.1\n\
                row71 A 8.8.8.8\n\
                row71 AAAA fe80::1\n\
                row73 CNAME internal.corp.plain.\n\
                internal.corp CNAME deep.corp.plain.\n\
                deep.corp A 10.0.0.5\n\
                metadata CNAME there.plain.\n\
                there A 169.254.169.254\n";
    let names = NameServer::start("", &format!("{zone}{many}"));
    let resolver: Arc<dyn Resolver> = Arc::new(Network::new(&names.settings()).unwrap());
    let guard = Guard::new(Policy::default(), resolver);
    let pinned = async |name: &str| {
        let vetted = guard.vet(&format!("https://{name}.plain/hook")).unwrap();
        guard.pin(&vetted).await.map(|pinned| pinned.addresses().iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    for good in ["good", "alias"] {
        assert_eq!(pinned(good).await, Ok(vec!["8.8.8.8:443".to_owned()]), "{good}");
    }
    for bad in ["row69", "row70", "row71", "row73", "row74", "internal.corp"] {
        assert_eq!(pinned(bad).await, Err(BLOCKED), "{bad}");
    }
    assert_eq!(pinned("metadata").await, Err(Failure::Refused(Refused { rule: Rule::Metadata })));
    assert_eq!(pinned("nobody").await, Err(Failure::NoSuchName));
}
