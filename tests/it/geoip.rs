//! `postback geoip update` against providers on loopback: what is served, how it is wrapped, whom the key is shown to.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::agent::{Agent, get, printed, run};

/// A request: its target, and its `Authorization`.
type Asked = (String, String);

/// Answers requests, one a connection, by `answer`, until nobody asks any more.
fn provider(answer: impl Fn(&str) -> (String, Vec<u8>) + Send + 'static) -> (SocketAddr, mpsc::Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let target = head[0].split(' ').nth(1).unwrap().to_owned();
            let field = |line: &String| line.to_ascii_lowercase().starts_with("authorization: ");
            let key = head.iter().find(|line| field(line)).map_or(String::new(), |line| line[15..].to_owned());
            let (status, body) = answer(&target);
            let _ = tell.send((target, key));
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        }
    });
    (address, asked)
}

/// A database that knows one network, as DB-IP and MaxMind would wrap it.
fn city() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/geoip/city.mmdb")).unwrap()
}

fn stored_gzip(bytes: &[u8]) -> Vec<u8> {
    // Deflate without compression, in blocks of at most 65,535 bytes (RFC 1951 §3.2.4).
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut pieces = bytes.chunks(65_535).peekable();
    while let Some(piece) = pieces.next() {
        let length = u16::try_from(piece.len()).unwrap();
        gzip.push(u8::from(pieces.peek().is_none()));
        gzip.extend(length.to_le_bytes());
        gzip.extend((!length).to_le_bytes());
        gzip.extend_from_slice(piece);
    }
    gzip.extend(crc32(bytes).to_le_bytes());
    gzip.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    gzip
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

fn tape(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tape = vec![0; 512];
    tape[..name.len()].copy_from_slice(name.as_bytes());
    tape[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    tape[156] = b'0';
    tape[257..262].copy_from_slice(b"ustar");
    tape.extend_from_slice(content);
    tape.resize(tape.len().next_multiple_of(512) + 1024, 0);
    tape
}

/// Settings that send the update to `address`.
fn settings(folder: &Path, address: SocketAddr, more: &str) {
    let text = format!("[egress]\nallow = [\"127.0.0.0/8\"]\n[geoip.update]\nbase_url = \"http://{address}\"\n{more}");
    std::fs::write(folder.join("postback.toml"), text).unwrap();
}

#[test]
fn dbips_file_is_fetched_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let asked_before = std::sync::atomic::AtomicBool::new(false);
    // This month's is not there yet.
    let (address, asked) = provider(move |_| match asked_before.swap(true, std::sync::atomic::Ordering::Relaxed) {
        false => ("404 Not Found".into(), b"not yet".to_vec()),
        true => ("200 OK".into(), stored_gzip(&city())),
    });
    settings(folder.path(), address, "");
    let agent = Agent::start(folder.path(), &[]);
    let built = || {
        let page = get(agent.address("admin"), "/metrics");
        let line = page.lines().find(|line| line.starts_with("postback_geoip_db_build_timestamp_seconds ")).unwrap();
        line.split(' ').next_back().unwrap().to_owned()
    };
    assert_ne!(built(), "1772439300");
    let said = printed(folder.path(), &["geoip", "update"]);
    // A server that runs takes it into use, asked to or within the minute.
    agent.signal("HUP");
    while built() != "1772439300" {
        std::thread::yield_now();
    }
    assert!(agent.stop().success());
    assert!(said.contains("DBIP-City-Lite of 2026-03-02") && said.contains("https://db-ip.com"), "{said}");
    let (first, second) = (asked.recv().unwrap(), asked.recv().unwrap());
    assert!(first.0.starts_with("/free/dbip-city-lite-20") && first.0 != second.0 && second.1.is_empty());
    let place = printed(folder.path(), &["inspect", "ip", "89.160.20.1"]);
    assert!(place.contains("\"city\":\"Lund\""), "{place}");
    assert_eq!(printed(folder.path(), &["geoip", "show"]).trim(), said.trim());
}

#[test]
fn maxmind_asks_for_the_key_and_serves_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let archive = stored_gzip(&tape("GeoLite2-City_20260302/GeoLite2-City.mmdb", &city()));
    let (store, stored) = provider(move |_| ("200 OK".into(), archive.clone()));
    let (address, asked) =
        provider(move |_| (format!("302 Found\r\nLocation: http://{store}/object?sig=1"), Vec::new()));
    settings(folder.path(), address, "source = \"maxmind\"\n");
    let refused = run(folder.path(), &["geoip", "update"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("license_key"));
    settings(folder.path(), address, "source = \"maxmind\"\naccount_id = \"42\"\nlicense_key = \"secret\"\n");
    printed(folder.path(), &["geoip", "update"]);
    let basic = format!("Basic {}", STANDARD.encode("42:secret"));
    assert_eq!(asked.recv().unwrap(), ("/geoip/databases/GeoLite2-City/download?suffix=tar.gz".into(), basic));
    assert_eq!(stored.recv().unwrap(), ("/object?sig=1".into(), String::new()), "the key is for one host");
    assert!(folder.path().join("data/geoip/city.mmdb").exists());
    assert!(!printed(folder.path(), &["check-config"]).contains("secret"));
}

#[test]
fn a_bad_download_leaves_the_database_before() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("data/geoip/city.mmdb");
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    std::fs::write(&kept, city()).unwrap();
    let (address, _asked) = provider(|_| ("200 OK".into(), b"<html>maintenance</html>".to_vec()));
    settings(folder.path(), address, "");
    let refused = run(folder.path(), &["geoip", "update"]);
    assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
    assert_eq!(std::fs::read(&kept).unwrap(), city());
}
