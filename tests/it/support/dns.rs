//! A true name server (Debian's knot) on loopback: a signed root with what a test wants in it, and an unsigned zone
//! `plain.` below it. Killed when it is dropped.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use postback::dns::Settings;
use tempfile::TempDir;

/// Administrators' programs, which are not on everybody's path.
const KNOT: &str = "/usr/sbin/knotd";
const KEYS: &str = "/usr/sbin/keymgr";

/// A running name server.
pub struct NameServer {
    child: Child,
    address: SocketAddr,
    trust_anchor: PathBuf,
    _folder: TempDir,
}

impl NameServer {
    /// Starts one that serves these records: of the root, and of `plain.`.
    pub fn start(root: &str, plain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // Knot wants a number that is free for UDP and TCP: on an address of this process's own nobody else takes one.
        let address = std::net::UdpSocket::bind((own_address(), 0)).unwrap().local_addr().unwrap();
        let shown = path.display();
        let configuration = format!(
            "server:\n    rundir: \"{shown}\"\n    listen: {}@{}\nlog:\n  - target: stdout\n    any: info\n\
             database:\n    storage: \"{shown}\"\n\
             policy:\n  - id: test\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n    nsec3: off\n\
             template:\n  - id: default\n    storage: \"{shown}\"\n\
             zone:\n  - domain: .\n    file: root.zone\n    dnssec-signing: on\n    dnssec-policy: test\n\
             \x20 - domain: plain\n    file: plain.zone\n",
            address.ip(),
            address.port()
        );
        std::fs::write(path.join("knot.conf"), configuration).unwrap();
        let head = |zone: &str, server: &str| {
            let start = format!("$TTL 60\n{zone} SOA {server} h.{server} 1 3600 600 86400 60\n");
            format!("{start}{zone} NS {server}\n{server} A 127.0.0.1\n")
        };
        let root = format!("{}plain. NS ns.plain.\nns.plain. A 127.0.0.1\n{root}", head(".", "ns."));
        std::fs::write(path.join("root.zone"), root).unwrap();
        std::fs::write(path.join("plain.zone"), head("plain.", "ns.plain.") + plain).unwrap();
        let mut command = Command::new(KNOT);
        let mut child = command.arg("-c").arg(path.join("knot.conf")).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut waiting = vec!["[.] loaded", "[plain.] loaded", "server started"];
        let mut log = String::new();
        while !waiting.is_empty() {
            let Some(line) = lines.next() else { panic!("knotd does not start: {log}") };
            waiting.retain(|wanted| !line.contains(wanted));
            log = log + &line + "\n";
            assert!(!line.contains("error:"), "{log}");
        }
        // Read on, or it would wait for room to write.
        std::thread::spawn(move || lines.for_each(drop));
        let keys = Command::new(KEYS).arg("-c").arg(path.join("knot.conf")).args([".", "dnskey"]).output().unwrap();
        let trust_anchor = path.join("anchor");
        std::fs::write(&trust_anchor, String::from_utf8(keys.stdout).unwrap().replace(" DNSKEY", " IN DNSKEY"))
            .unwrap();
        Self { child, address, trust_anchor, _folder: folder }
    }

    /// How to ask it.
    pub fn settings(&self) -> Settings {
        Settings { servers: vec![self.address], dnssec: true, trust_anchor: Some(self.trust_anchor.clone()) }
    }
}

/// A loopback address that no other process of these tests uses.
fn own_address() -> Ipv4Addr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | a & 0x3f, b, c)
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
