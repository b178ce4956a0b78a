//! Golden mails: `tests/rewrite/NAME.eml` as it came, `NAME.out` what the report says and, after an empty line, the mail
//! as it is sent. Each is played with both line ends. `BLESS=1` writes what comes out.

use std::fs;
use std::path::Path;

use postback::mail::preview::{Demonstration, WANTED, inspect_line};
use postback::mail::rewrite::rewrite;

#[test]
fn golden_mails() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rewrite");
    let mut played = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            play(&path);
            played += 1;
        }
    }
    assert!(played > 0, "no mails in {}", folder.display());
}

fn play(path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let message = fs::read(path).unwrap();
    let rewritten = rewrite(&message, &WANTED, &mut Demonstration::default());
    let report = serde_json::to_string_pretty(&inspect_line(name, &rewritten)).unwrap();
    let out = [report.as_bytes(), b"\n\n", &rewritten.bytes].concat();
    let golden = path.with_extension("out");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &out).unwrap();
    }
    let expected = fs::read(&golden).unwrap_or_default();
    assert!(expected == out, "{name}: {} differs; run with BLESS=1 and read the diff", golden.display());
    let crlf = with_crlf(&message);
    let rewritten_crlf = rewrite(&crlf, &WANTED, &mut Demonstration::default());
    assert!(*rewritten_crlf.bytes == *with_crlf(&rewritten.bytes), "{name}: CRLF makes a difference");
}

fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..])
}
