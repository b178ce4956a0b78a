//! A certificate by ACME, from Debian's Pebble: ordered at the start, believed by a client, and in use without a session
//! being dropped. Pebble looks for its answer at our HTTP door; its helper tells it that every name is this machine.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use postback::clock::Stopwatch;

use crate::support::agent::{Agent, printed};
use crate::support::port::{free, wait_for};
use crate::support::submitter::Submitter;

const NAME: &str = "mail.tests.example";
const PATIENCE_SECS: u64 = 60;

/// Programs that end with the test.
struct Authority {
    children: Vec<Child>,
    api: u16,
    management: u16,
}

impl Authority {
    fn start(folder: &Path, our_http: u16) -> Self {
        let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
        write("authority.pem", pair.cert.pem());
        write("authority.key", pair.signing_key.serialize_pem());
        let [api, management, dns] = [free(), free(), free()];
        let path = |name: &str| folder.join(name).display().to_string();
        let settings = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{api}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": path("authority.pem"),
            "privateKey": path("authority.key"),
            "httpPort": our_http,
            "tlsPort": 1,
        }});
        write("pebble.json", settings.to_string());
        let run =
            |command: &mut Command| command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv6", "", "-defaultIPv4", "127.0.0.1", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-dns01", &format!("127.0.0.1:{dns}"), "-management", &format!("127.0.0.1:{}", free())]);
        let mut pebble = Command::new("pebble");
        pebble.args(["-config", &path("pebble.json"), "-dnsserver", &format!("127.0.0.1:{dns}")]);
        // It would wait for seconds before it looks, and refuse good numbers at random.
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        let children = vec![run(&mut names).unwrap(), run(&mut pebble).unwrap()];
        let authority = Self { children, api, management };
        wait_for(authority.api);
        wait_for(authority.management);
        authority
    }

    /// Its root certificate, into this file.
    fn root(&self, file: &Path) {
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let done = Command::new("curl").args(["--silent", "--fail", "--insecure", &url, "--output"]).arg(file).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a client that believes this root hands a mail in under [`NAME`], over STARTTLS.
fn hands_in(root: &Path, door: SocketAddr, key: &str, mail: &Path) -> bool {
    let port = door.port();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--ssl-reqd", "--mail-from", "app@tests.example", "--mail-rcpt", "kim@there.example"]);
    curl.args(["--resolve", &format!("{NAME}:{port}:127.0.0.1"), "--user", &format!("emailapikey:{key}")]);
    curl.arg("--cacert").arg(root).arg("--upload-file").arg(mail).arg(format!("smtp://{NAME}:{port}"));
    curl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Whether a client that believes this root is answered by this host over https.
fn is_believed(root: &Path, host: &str) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--resolve", &format!("{host}:127.0.0.1"), "--cacert"]).arg(root);
    curl.arg(format!("https://{host}/robots.txt"));
    curl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn a_certificate_is_ordered_and_taken_into_use_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let our_http = free();
    let authority = Authority::start(folder, our_http);
    let settings = format!(
        "hostname = \"{NAME}\"\nhttp.address = \"127.0.0.1:{our_http}\"\nhttp.tls_address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\n\
         [egress]\nallow = [\"127.0.0.1\"]\nca_file = \"authority.pem\"\n\
         [tls.acme]\ndirectory = \"https://127.0.0.1:{}/dir\"\nagree_to_terms = true\ncontact = \"app@tests.example\"\n\
         [[smtp.listeners]]\naddress = \"127.0.0.1:0\"\nkind = \"submission\"\nauth_without_tls = \"loopback\"\n",
        authority.api
    );
    std::fs::write(folder.join("postback.toml"), settings).unwrap();
    std::fs::write(folder.join("mail.eml"), "From: app@tests.example\r\nSubject: Hello\r\n\r\nHello\r\n").unwrap();
    let agent = Agent::start_as_set(folder);
    printed(folder, &["domain", "add", "tests.example"]);
    let key = printed(folder, &["key", "add"]).trim().to_owned();
    let mut before = Submitter::sign_in(agent.address("smtp"), &key).unwrap();
    let root = folder.join("root.pem");
    authority.root(&root);
    let stopwatch = Stopwatch::start();
    while !hands_in(&root, agent.address("smtp"), &key, &folder.join("mail.eml")) {
        assert!(stopwatch.elapsed().as_secs() < PATIENCE_SECS, "{}", agent.log());
    }
    before.say("NOOP").unwrap();
    // A tracking host gets a certificate of its own.
    let links = format!("links.tests.example:{}", agent.address("https").port());
    printed(folder, &["tracking", "add-host", &links, "--domain", "tests.example"]);
    while !is_believed(&root, &links) {
        assert!(stopwatch.elapsed().as_secs() < 2 * PATIENCE_SECS, "{}", agent.log());
    }
    assert!(folder.join("data/tls/acme.json").exists());
    assert!(agent.stop().success());
    // The next start has it already, and needs no authority.
    drop(authority);
    let agent = Agent::start_as_set(folder);
    assert!(hands_in(&root, agent.address("smtp"), &key, &folder.join("mail.eml")), "{}", agent.log());
    assert!(agent.stop().success());
}
