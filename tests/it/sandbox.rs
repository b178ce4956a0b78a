//! A mail agent in the sandbox of an installation that does send; and a tenant's word for a domain, which is no proof.

use crate::support::agent::{Agent, post, printed};
use crate::support::dns::NameServer;
use crate::support::person::Person;

const SENDING: [&str; 6] = [
    "--set",
    "deliver.mode=mx",
    "--set",
    "hostname=mail.tests.example",
    "--set",
    "tracking.base_url=http://track.tests.example",
];

/// An installation that sends, with its names looked up at nobody else's.
fn start(folder: &std::path::Path, names: &NameServer) -> Agent {
    let servers = format!("[dns]\nservers = ['{}']\n", names.settings().servers[0]);
    std::fs::write(folder.join("postback.toml"), servers).unwrap();
    Agent::start(folder, &SENDING)
}

#[test]
fn mail_of_the_sandbox_never_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let names = NameServer::start("", "");
    let agent = start(folder, &names);
    let (http, key) = (agent.address("http"), agent.credential("API key"));
    printed(folder, &["domain", "add", "tests.example", "--without-keys"]);
    let ann = Person::join(http, &printed(folder, &["user", "invite"]), "ann");
    assert!(!ann.get("/console/default/messages").contains("/inbox"));
    // The key is used for the first time after that: what a key may do is remembered for some seconds.
    let settings = format!("{}/settings", ann.agent_pages("default"));
    let form = "sandbox=on&track_opens=on&track_clicks=on&privacy=full";
    assert!(ann.post(&settings, form).contains("name=\"sandbox\" checked"));
    let mail =
        r#"{"from":"app@tests.example","to":"kim@nowhere.invalid","subject":"Only a try","html":"<p>Hello</p>"}"#;
    let told = post(http, "/api/v1/emails", &key, mail).unwrap();
    let at = told.find("msg_").unwrap();
    let message = &told[at..at + 36];
    let look = || ann.get(&format!("/console/default/messages/{message}"));
    let mut page = look();
    while page.contains("state queued") {
        page = look();
    }
    assert!(page.contains("state delivered") && page.contains("by capture"), "{page}");
    assert!(page.contains("/inbox"), "the menu shows the inbox");
    let inbox = ann.get(&format!("/console/default/inbox?open={message}"));
    assert!(inbox.contains("Only a try") && inbox.contains("copies/0/html"), "{inbox}");
    let copy = ann.get(&format!("/console/default/messages/{message}/copies/0/html"));
    assert!(copy.contains("Hello") && copy.contains("img-src data: http"), "its pixel may be loaded: {copy}");
}

#[test]
fn a_tenants_word_is_no_proof_of_a_domain() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let names = NameServer::start("", "");
    let agent = start(folder, &names);
    let http = agent.address("http");
    let bob = Person::join(http, &printed(folder, &["user", "invite", "--tenant", "default"]), "bob");
    let ann = Person::join(http, &printed(folder, &["user", "invite"]), "ann");
    let domains = format!("{}/domains", bob.agent_pages("default"));
    let told = bob.post(&domains, "domain=shop.plain");
    assert!(
        told.contains("one of them shows that it is yours") && told.contains("not shown to be yours yet"),
        "{told}"
    );
    let told = bob.get(&format!("{domains}/shop.plain"));
    assert!(told.contains("_postback.shop.plain") && told.contains("postback-domain="), "{told}");
    let mail = r#"{"from":"app@shop.plain","to":"kim@nowhere.invalid","subject":"x","text":"x"}"#;
    assert!(post(http, "/api/v1/emails", &agent.credential("API key"), mail).is_err(), "it is not theirs yet");
    // Somebody who looks after the installation is believed.
    assert!(ann.post(&domains, "domain=other.plain").contains("Added other.plain.</p>"));
    assert!(!ann.get(&format!("{domains}/other.plain")).contains("_postback."));
}
