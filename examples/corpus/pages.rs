//! HTML: links of templates and of small cases, and whether pages look the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postback::mail::preview::{Demonstration, WANTED};
use postback::mail::rewrite::{Rewritten, rewrite};
use serde_json::{Value, json};

use super::{Line, files, json_lines, text};

/// How the templates are sent.
const ENCODINGS: [&str; 3] = ["8bit", "quoted-printable", "base64"];

fn mail(html: &[u8]) -> Vec<u8> {
    encoded(html, ENCODINGS[0])
}

fn encoded(html: &[u8], encoding: &str) -> Vec<u8> {
    let head = format!("Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
    let mut mail = head.into_bytes();
    match encoding {
        "base64" => {
            for line in STANDARD.encode(html).as_bytes().chunks(76) {
                mail.extend_from_slice(line);
                mail.extend_from_slice(b"\r\n");
            }
        }
        "quoted-printable" => {
            for line in html.split_inclusive(|byte| *byte == b'\n') {
                for (place, byte) in line.iter().enumerate() {
                    if place % 24 == 23 {
                        mail.extend_from_slice(b"=\r\n");
                    }
                    match byte {
                        b'\n' | b'\r' | b' '..=b'<' | b'>'..=b'~' => mail.push(*byte),
                        byte => mail.extend_from_slice(format!("={byte:02X}").as_bytes()),
                    }
                }
            }
        }
        _ => mail.extend_from_slice(html),
    }
    mail
}

fn rewritten(mail: &[u8]) -> Rewritten<'_> {
    rewrite(mail, &WANTED, &mut Demonstration::default())
}

/// Links of templates: each where the list says, with its target, and no other.
pub(super) fn links(folder: &Path) -> anyhow::Result<Vec<Line>> {
    let folder = folder.join("html");
    let mut truth = Truth::new();
    for list in files(&folder, "jsonl") {
        for line in json_lines(&list)? {
            let start = line["start"].as_u64().and_then(|start| usize::try_from(start).ok());
            let start = start.with_context(|| format!("{}: no start in {line}", list.display()))?;
            truth.entry(text(&line, "f").to_owned()).or_default().insert(start, text(&line, "url").to_owned());
        }
    }
    let mut lines = Vec::new();
    for encoding in ENCODINGS.into_iter().filter(|_| !truth.is_empty()) {
        lines.extend(links_as(encoding, &folder, &truth)?);
    }
    Ok(lines)
}

/// Where the links of each template stand, and where they lead.
type Truth = BTreeMap<String, BTreeMap<usize, String>>;

fn links_as(encoding: &str, folder: &Path, truth: &Truth) -> anyhow::Result<[Line; 4]> {
    let (mut right, mut wrong, mut extra, mut all, mut unharmed) = (0, 0, 0, 0, 0);
    for (file, targets) in truth {
        let mail = encoded(&fs::read(folder.join(file)).with_context(|| format!("read {file}"))?, encoding);
        let done = rewritten(&mail);
        all += targets.len();
        let places = match super::unharmed::unharmed(&mail, &done) {
            Ok(places) => places,
            Err(harm) => {
                eprintln!("{file}, {encoding}: {harm}");
                continue;
            }
        };
        unharmed += 1;
        for (place, link) in places.iter().zip(&done.links) {
            match targets.get(&place.start) {
                Some(target) if *target == link.target => right += 1,
                Some(_) => wrong += 1,
                None => extra += 1,
            }
        }
    }
    let what = |what: &str| format!("links of templates, {encoding}: {what}");
    Ok([
        Line::new(&what("right target"), right, all, 100.0),
        Line::none_of(&what("wrong target"), wrong, all),
        Line::none_of(&what("extra"), extra, all),
        Line::new(&what("all other bytes identical"), unharmed, truth.len(), 100.0),
    ])
}

pub(super) fn cases(folder: &Path) -> anyhow::Result<Vec<Line>> {
    let path = folder.join("html-cases.jsonl");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let cases = json_lines(&path)?;
    let is_right = |case: &&Value| {
        let mail = mail(text(case, "html").as_bytes());
        let found = rewritten(&mail).links.into_iter().map(|link| Value::from(link.target));
        found.collect::<Vec<_>>() == *case["links"].as_array().unwrap_or(&Vec::new())
    };
    for case in cases.iter().filter(|case| !is_right(case)) {
        eprintln!("case {} is wrong", case["name"]);
    }
    let right = cases.iter().filter(is_right).count();
    Ok(vec![Line::new("micro cases", right, cases.len(), 100.0)])
}

pub(super) fn rendering(folder: &Path) -> anyhow::Result<Vec<Line>> {
    let kept = std::env::temp_dir().join(format!("postback-render-{}", std::process::id()));
    fs::create_dir_all(&kept)?;
    let mut list = Vec::new();
    for (number, page) in files(&folder.join("html"), "html").into_iter().enumerate() {
        let mail = mail(&fs::read(&page)?);
        let done = rewritten(&mail);
        let file = |side: &str, mail: &[u8]| {
            let path = kept.join(format!("{number}-{side}.html"));
            let head = memchr::memmem::find(mail, b"\r\n\r\n").map_or(0, |at| at + 4);
            fs::write(&path, &mail[head..]).map(|()| path)
        };
        let (before, after) = (file("before", &mail)?, file("after", &done.bytes)?);
        list.push(
            json!({"name": page.file_name().map(|name| name.to_string_lossy()), "before": before, "after": after}),
        );
    }
    let (names, script) = (kept.join("list.json"), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/render/compare.mjs"));
    fs::write(&names, serde_json::to_vec(&list)?)?;
    let run = Command::new("node").arg(script).arg(&names).stderr(Stdio::inherit()).output().context("run node")?;
    fs::remove_dir_all(&kept)?;
    if !run.status.success() {
        bail!("the comparison in Chromium failed");
    }
    let told: Vec<Value> =
        String::from_utf8(run.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let is_same = |line: &&Value| line["same"] == true;
    for line in told.iter().filter(|line| !is_same(line)) {
        eprintln!("{line}");
    }
    let what = "pages that look the same (600 and 320 px, light and dark)";
    Ok(vec![Line::new(what, told.iter().filter(is_same).count(), told.len(), 100.0)])
}
