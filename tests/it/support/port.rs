//! Ports for programs that have to be told one before they listen on it.

use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use postback::clock::Stopwatch;

/// Below what the kernel hands out by itself (from 32768): no connection of anybody's takes one of these meanwhile.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;
const PATIENCE_SECS: u64 = 60;

/// A port of 127.0.0.1 that nobody listens on, and no other test is given while this process lives.
pub fn free() -> u16 {
    let start = std::process::id().wrapping_mul(31);
    (0..COUNT)
        .map(|step| u16::try_from(FIRST + start.wrapping_add(step) % COUNT).unwrap())
        .find(|port| claim(*port) && TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// The claim is a name that one process can hold at a time; the kernel gives it back when the process ends.
fn claim(port: u16) -> bool {
    let name = SocketAddr::from_abstract_name(format!("postback-tests-port-{port}")).unwrap();
    UnixListener::bind_addr(&name).map(std::mem::forget).is_ok()
}

/// Returns when somebody listens on the port.
pub fn wait_for(port: u16) {
    let stopwatch = Stopwatch::start();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(stopwatch.elapsed().as_secs() < PATIENCE_SECS, "nobody listens on {port}");
        std::thread::yield_now();
    }
}
