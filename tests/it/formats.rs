//! A report of each format, in our own words: `tests/reports/*.eml`, and in `labels.jsonl` what each must be read as.
//!
//! The labels have the form that `examples/bounces` measures. Each mail is read with line ends of all three kinds, cut
//! off at any line, and with its parts repeated: the first must make no difference, the others no fault.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use postback::mail::report::{self, Report};
use postback::mail::rules::Rules;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports")
}

fn labels() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("labels.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mail(label: &Value) -> Vec<u8> {
    std::fs::read(folder().join(label["file"].as_str().unwrap())).unwrap()
}

fn read(mail: &[u8]) -> Report {
    report::read(mail, &Rules::default())
}

/// The same with other line ends. One that is in no text, since those of ISO-2022-JP and base64 have none.
fn with_ends(mail: &[u8], end: &[u8]) -> Vec<u8> {
    mail.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(end)
}

#[test]
fn each_format_is_read_as_it_is_meant() {
    for label in labels() {
        let (file, mail) = (&label["file"], mail(&label));
        let report = read(&mail);
        assert_eq!(label["kind"], report.kind.as_str(), "{file}");
        if let Some(id) = label["original_message_id"].as_str() {
            assert_eq!(report.original_message_id.as_deref(), Some(id), "{file}");
        }
        let wanted = label["recipients"].as_array().unwrap();
        if !wanted.is_empty() {
            let found: Vec<&str> = report.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
            let named: Vec<&str> = wanted.iter().map(|recipient| recipient["address"].as_str().unwrap()).collect();
            assert_eq!(found, named, "{file}");
        }
        for (wanted, found) in wanted.iter().zip(&report.recipients) {
            let cause = &found.cause;
            for (what, found) in [
                ("status", cause.status.as_deref()),
                ("class", Some(cause.class.as_str())),
                ("reason", Some(cause.reason.as_str())),
            ] {
                if let Some(wanted) = wanted[what].as_str() {
                    assert_eq!(found, Some(wanted), "{what} of {file} by {}", cause.rule);
                }
            }
        }
        assert_eq!(read(&with_ends(&mail, b"\r\n")), report, "{file} with CRLF");
        assert_eq!(read(&with_ends(&mail, b"\r")), report, "{file} with CR");
    }
}

#[test]
fn each_mail_has_a_label() {
    let named: BTreeSet<String> = labels().iter().map(|label| label["file"].as_str().unwrap().to_owned()).collect();
    let there = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.filter(|name| name.ends_with(".eml")).collect::<BTreeSet<_>>(), named);
}

#[test]
fn what_is_cut_off_or_said_twice_is_read_as_far_as_it_goes() {
    for label in labels() {
        let mail = mail(&label);
        let lines: Vec<&[u8]> = mail.split_inclusive(|byte| *byte == b'\n').collect();
        for cut in 0..lines.len() {
            let (before, after) = lines.split_at(cut);
            for spoilt in [before.concat(), after.concat(), [before, before, after].concat().concat()] {
                let report = read(&spoilt);
                assert!(report.recipients.iter().all(|recipient| !recipient.address.is_empty()));
            }
        }
    }
}
