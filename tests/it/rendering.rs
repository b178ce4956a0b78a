//! What a reader sees is the same before and after: pages in headless Chromium, at the widths of a desktop and a phone,
//! light and dark.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use postback::mail::preview::{Demonstration, WANTED};
use postback::mail::rewrite::{Wanted, rewrite};
use serde_json::{Value, json};

const HEAD: &[u8] = b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";

#[test]
fn pages_look_the_same_with_links_and_pixel() {
    let folder = tempfile::tempdir().unwrap();
    let mut pages = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/render")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "html") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let mail = [HEAD, &fs::read(&path).unwrap()].concat();
        for (place, pixel_on_top) in [("bottom", false), ("top", true)] {
            let wanted = Wanted { pixel_on_top, ..WANTED };
            let done = rewrite(&mail, &wanted, &mut Demonstration::default());
            assert!(done.pixel && !done.links.is_empty(), "{name}");
            let after = folder.path().join(format!("{name}-{place}.html"));
            fs::write(&after, &done.bytes[HEAD.len()..]).unwrap();
            pages.push(json!({"name": format!("{name}, pixel at the {place}"), "before": path, "after": after}));
        }
    }
    let list = folder.path().join("list.json");
    fs::write(&list, serde_json::to_vec(&pages).unwrap()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/render/compare.mjs");
    let run = Command::new("node").arg(script).arg(&list).stderr(Stdio::inherit()).output().unwrap();
    let told: Vec<Value> =
        String::from_utf8(run.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), 4 * pages.len(), "two widths, light and dark");
    let other: Vec<&Value> = told.iter().filter(|line| line["same"] != true).collect();
    assert!(other.is_empty(), "{other:#?}");
}
