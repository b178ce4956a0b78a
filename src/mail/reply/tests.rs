//! Every rule decides its examples; readings of codes and waits.

use super::*;

#[test]
fn every_rule_decides_its_examples() {
    let rules = Rules::read(&FILES).unwrap();
    let mut wrong = Vec::new();
    for rule in &rules.rules {
        assert!(!rule.examples.is_empty(), "{} has no example", rule.name);
        for example in &rule.examples {
            let cause = judge(None, example, Stage::Report);
            if (cause.rule.as_str(), cause.reason) != (rule.name.as_str(), rule.reason) {
                wrong.push(format!("{}: {example:?} is decided by {}", rule.name, cause.rule));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique() {
    let rules = Rules::read(&FILES).unwrap();
    let mut names: Vec<&str> = rules.rules.iter().map(|rule| rule.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rules.rules.len());
}

#[test]
fn a_bad_rule_is_named() {
    let bad = "[[rule]]\nname = 'x'\nreason = 'spam'\nany = ['-']\nexamples = []\n";
    assert_eq!(Rules::read(&[bad]).err().unwrap(), "rule x: no use can be made of \"-\"");
}

#[track_caller]
fn check(text: &str, reason: Reason, class: Class) {
    let cause = judge(None, text, Stage::Rcpt);
    assert_eq!((cause.reason, cause.class), (reason, class), "{text} by {}", cause.rule);
}

#[test]
fn later_is_never_hard() {
    check("550 5.1.1 user unknown", Reason::UserUnknown, Class::Hard);
    check("450 4.1.1 user unknown", Reason::UserUnknown, Class::Soft);
    check("450 5.1.1 user unknown", Reason::UserUnknown, Class::Soft);
    check("user unknown", Reason::UserUnknown, Class::Hard);
    check("552 5.2.2 full", Reason::MailboxFull, Class::Soft);
    check("421 greylisted", Reason::Greylisted, Class::Soft);
    check("550 no", Reason::Unknown, Class::Undetermined);
    check("", Reason::Unknown, Class::Undetermined);
}

#[test]
fn addresses_and_links_do_not_speak() {
    check(
        "550 5.1.1 <spam.quota@virus.example>: User unknown, see https://help.example/spam",
        Reason::UserUnknown,
        Class::Hard,
    );
}

#[track_caller]
fn check_codes(text: &str, code: Option<u16>, status: Option<&str>) {
    assert_eq!((reply_code(text), enhanced_code(text).as_deref()), (code, status), "{text}");
}

#[test]
fn codes_are_found_and_numbers_are_not() {
    check_codes("550 5.1.1 no", Some(550), Some("5.1.1"));
    check_codes("550-5.7.26 no\n550 5.7.26 no", Some(550), Some("5.7.26"));
    check_codes(
        "host mx.example[192.0.2.5] said: 452-4.2.2 full (in reply to RCPT TO command)",
        Some(452),
        Some("4.2.2"),
    );
    check_codes("Sorry, no mailbox here by that name. (#5.1.1)", None, Some("5.1.1"));
    check_codes("554 5.0.0 <x@y.example>... 550 5.1.1 unknown", Some(554), Some("5.1.1"));
    check_codes("Postfix 3.5.12 with 5.4.3.1 and 4.80.1 on 192.0.2.5 or v5.1.1", None, None);
    check_codes("waited 500 days, size 55012", None, None);
    check_codes("<<< 421 bye", Some(421), None);
    check_codes("550: 5.2.2 full", Some(550), Some("5.2.2"));
}

#[test]
fn a_reply_may_wish_for_time() {
    let check =
        |text: &str, seconds: Option<u64>| assert_eq!(wished_wait(text), seconds.map(Duration::from_secs), "{text}");
    check("450 4.7.1 Greylisted, try again in 5 minutes", Some(300));
    check("451 Please retry after 300 seconds", Some(300));
    check("450 come back in 1 hour", Some(3600));
    check("450 greylisted for 300s", Some(300));
    check("450 try again in 100000000 hours", Some(86_400));
    check("450 try again later", None);
    check("450 waited 3 days", None);
}

#[test]
fn a_diagnostic_is_kept_short_and_clean() {
    let cause = judge(Some(550), &format!("a\u{7}b {}", "x ".repeat(4000)), Stage::Data);
    assert!(cause.diagnostic.len() <= DIAGNOSTIC_BYTES_MAX);
    assert!(cause.diagnostic.starts_with("a\\u{7}b x x"), "{}", cause.diagnostic);
}
