//! `cargo bench --bench micro`: what one mail, one user agent and one address cost, on one core of this machine.
//!
//! Each work is done for a while in rounds; printed are the median round's time for one and the best round's. Words
//! choose works: `cargo bench --bench micro -- rewrite`. `--city FILE` looks places up in a database of cities too. It
//! ends with status 1 when a median is above what we promise. *one more byte*, at the end, says what a byte costs in
//! input that is ten times as long: hostile input must cost no more a byte than ordinary input does.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on says so by panicking")]
#![allow(clippy::disallowed_methods, reason = "it measures the true time")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use postback::enrich::agent::client;
use postback::enrich::geo::{Files, Geo};
use postback::enrich::{Enricher, Seen};
use postback::mail::compose::{Parts, compose};
use postback::mail::preview::{Demonstration, WANTED};
use postback::mail::rewrite::{Wanted, rewrite};
use postback::model::address::Mailbox;
use postback::model::hit::{HitKind, HitRequest};
use postback::model::id::{DeliveryId, MessageId};
use postback::model::time::Timestamp;
use postback::model::token::{Key, KeyRing, Opener, Reference, Sealer};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(60);

const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Trident/7.0; Microsoft Outlook 16.0.5071; ms-office; MSOffice 16)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (compatible; Examplebot/2.1; +https://example.com/bot.html)",
];

struct Bench {
    wanted: Vec<String>,
    is_kept: bool,
}

impl Bench {
    /// Times `work`, which is handed a number that counts up; `promised` in microseconds.
    fn time(&mut self, name: &str, promised: Option<f64>, mut work: impl FnMut(u64)) -> Option<f64> {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|word| name.contains(word.as_str())) {
            return None;
        }
        let mut number = 0;
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let (began, first) = (Instant::now(), number);
                while began.elapsed() < ROUND {
                    // So that the clock costs next to nothing.
                    for _ in 0..8 {
                        work(number);
                        number += 1;
                    }
                }
                began.elapsed().as_secs_f64() * 1e6 / (number - first) as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let (median, best) = (rounds[ROUNDS / 2], rounds[0]);
        let is_kept = promised.is_none_or(|promised| median <= promised);
        self.is_kept &= is_kept;
        let promised = promised.map_or(String::new(), |promised| format!("{promised:.0}"));
        let mark = if is_kept { "" } else { "  <-- above" };
        println!("{name:44} {median:>10.2} {best:>10.2} {promised:>10}{mark}");
        Some(median)
    }
}

fn main() -> ExitCode {
    let mut bench = Bench { wanted: Vec::new(), is_kept: true };
    let mut city = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--city" => city = arguments.next(),
            word => bench.wanted.push(word.to_owned()),
        }
    }
    println!("{:44} {:>10} {:>10} {:>10}", "", "median µs", "best µs", "promised");
    mails(&mut bench);
    readers(&mut bench);
    places(&mut bench, city);
    tokens(&mut bench);
    hostile(&mut bench);
    if bench.is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A newsletter of this size: tables, styles, a link to every 500 bytes of it.
fn newsletter(bytes: usize, encoding: &str) -> Vec<u8> {
    let html = page(bytes);
    let body = match encoding {
        "quoted-printable" => html.replace('=', "=3D").replace("style=3D", "style=3D=\r\n"),
        _ => html,
    };
    format!("From: a@example.com\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}")
        .into_bytes()
}

fn page(bytes: usize) -> String {
    let mut html = String::from("<!doctype html><html><head><style>p{margin:0 0 1em}</style></head><body>\r\n");
    let filler =
        "<p style=\"font:16px/1.5 sans-serif;color:#222\">All that a customer should know of an order.</p>\r\n";
    let mut link = 0;
    while html.len() < bytes {
        html += &format!(
            "<table role=\"presentation\" width=\"100%\"><tr><td align=\"center\">\r\n\
             <a href=\"https://shop.example.com/orders/{link}?ref=mail&amp;id={link}\" class=\"button\">Show it</a>\r\n\
             </td></tr></table>\r\n"
        );
        (0..3).for_each(|_| html += filler);
        link += 1;
    }
    html += "</body></html>\r\n";
    html
}

fn mails(bench: &mut Bench) {
    for (kb, encoding, promised) in
        [(5, "7bit", 60.0), (50, "7bit", 500.0), (5, "quoted-printable", 60.0), (50, "quoted-printable", 500.0)]
    {
        let mail = newsletter(kb * 1024, encoding);
        assert!(rewrite(&mail, &WANTED, &mut Demonstration::default()).links.len() >= kb);
        let mut links = Demonstration::default();
        bench.time(&format!("rewrite {kb} KB, {encoding}"), Some(promised), |_| {
            black_box(rewrite(black_box(&mail), &WANTED, &mut links));
        });
    }
    for (name, text) in
        [("its text made of it", None), ("with a text", Some("Show it, at https://shop.example.com/.\n".repeat(12)))]
    {
        let to = vec![Mailbox::bare("reader@example.com")];
        let from = Mailbox::bare("a@example.com");
        let parts =
            Parts { from, to, subject: "Your order".into(), html: Some(page(5 * 1024)), text, ..Parts::default() };
        bench.time(&format!("compose HTML of 5 KB, {name}"), None, |_| {
            black_box(compose(black_box(&parts), Timestamp::from_millis(1_772_439_300_000), "1@example.com").unwrap());
        });
    }
}

fn request(user_agent: &str) -> HitRequest {
    let headers = [("accept", "text/html"), ("accept-language", "sv"), ("sec-fetch-mode", "navigate")];
    HitRequest {
        is_get: true,
        ip: Some(Ipv4Addr::new(193, 0, 6, 139).into()),
        user_agent: user_agent.to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        is_https: true,
    }
}

fn readers(bench: &mut Bench) {
    let enricher = Enricher::new(Geo::embedded());
    let delivered = Timestamp::from_millis(1_772_439_300_000);
    let seen = Seen::alone(HitKind::Click, 1, delivered + Duration::from_secs(9_000), Some(delivered));
    let requests = AGENTS.map(request);
    bench.time("a hit: user agent (cached), place, verdict", Some(20.0), |number| {
        black_box(enricher.visitor(&requests[number as usize % AGENTS.len()], &seen));
    });
    bench.time("user agent, not cached", Some(300.0), |number| {
        black_box(client(black_box(AGENTS[number as usize % AGENTS.len()])));
    });
}

/// Addresses all over the space, the same ones each time.
fn address(number: u64) -> IpAddr {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match number % 4 {
        0 => Ipv6Addr::from((0x2001_u128 << 112) | u128::from(mixed) << 32).into(),
        _ => Ipv4Addr::from((mixed >> 32) as u32).into(),
    }
}

fn places(bench: &mut Bench, city: Option<String>) {
    let embedded = Geo::embedded();
    // The table is unpacked on first use.
    embedded.place(address(1));
    bench.time("place, countries", Some(5.0), |number| {
        black_box(embedded.place(address(number)));
    });
    if let Some(file) = city {
        let geo = Geo::open(Files { databases: vec![file.into()], ..Files::default() }).unwrap();
        bench.time("place, cities", Some(5.0), |number| {
            black_box(geo.place(address(number)));
        });
    }
}

fn tokens(bench: &mut Bench) {
    let ring = KeyRing::new((0..4).map(|id| Key { id, secret: [id; 32] }).collect());
    let sealer = Sealer::new(&ring, 2, "t.example.com").unwrap();
    let opener = Opener::new(ring, "t.example.com");
    let delivery = DeliveryId { message: MessageId::from_bytes([7; 16]), recipient: 3 };
    let reference = Reference::Click { link: 3, target: "https://shop.example.com/orders/17?ref=mail".into() };
    let token = sealer.seal(delivery, &reference);
    bench.time("token sealed", None, |_| {
        black_box(sealer.seal(delivery, black_box(&reference)));
    });
    bench.time("token opened", None, |_| {
        black_box(opener.open("t.example.com", black_box(&token)).unwrap());
    });
}

/// What invites work that grows faster than the input.
fn hostile(bench: &mut Bench) {
    let wanted = Wanted { text_clicks: true, ..WANTED };
    let kinds: [(&str, &str, &str, &str); 6] = [
        ("links", "text/html", "<a href='https://a.example/'>x</a>", ""),
        ("one attribute", "text/html", "&amp;", "<a href=\"https://a.example/"),
        ("nested comments", "text/html", "<!--[if mso]>", ""),
        ("open tags", "text/html", "<a ", ""),
        ("soft breaks", "text/html", "=\r\n", "<a href=3D\"https://a.example/"),
        ("brackets in text", "text/plain", "(https://a.example/", ""),
    ];
    for (name, content_type, piece, start) in kinds {
        let encoding = if piece.starts_with('=') { "quoted-printable" } else { "8bit" };
        let mut per_byte = [0.0; 2];
        for (place, bytes) in [100_000, 1_000_000].into_iter().enumerate() {
            let body = format!("{start}{}", piece.repeat(bytes / piece.len()));
            let head = format!("Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
            let mail = (head + &body).into_bytes();
            let mut links = Demonstration::default();
            let took = bench.time(&format!("hostile: {name}, {} kB", bytes / 1000), None, |_| {
                black_box(rewrite(black_box(&mail), &wanted, &mut links));
            });
            per_byte[place] = took.unwrap_or_default() / bytes as f64;
        }
        let growth = per_byte[1] / per_byte[0];
        if growth.is_finite() {
            let is_linear = growth <= 2.0;
            bench.is_kept &= is_linear;
            println!(
                "{:44} {growth:>10.2} times{}",
                "  one more byte",
                if is_linear { "" } else { "  <-- not linear" }
            );
        }
    }
}
