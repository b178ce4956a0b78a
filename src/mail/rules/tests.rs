//! Every rule decides its examples; an operator's rules come first, and are told when they make no sense.

use super::*;
use crate::mail::reply::DIAGNOSTIC_BYTES_MAX;

#[test]
fn every_rule_decides_its_examples() {
    let rules = Rules::default();
    let mut wrong = Vec::new();
    for rule in &rules.0.rules {
        assert!(!rule.examples.is_empty(), "{} has no example", rule.name);
        for example in &rule.examples {
            let cause = Rules::default().judge(None, example, Stage::Report);
            if (cause.rule.as_str(), cause.reason) != (rule.name.as_str(), rule.reason) {
                wrong.push(format!("{}: {example:?} is decided by {}", rule.name, cause.rule));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with an operator's file.
#[track_caller]
fn check_bad(text: &str, expected: &str) {
    assert_eq!(Rules::with_own(text).err().unwrap().to_string(), expected, "{text}");
}

#[test]
fn a_bad_rule_is_named() {
    let rule = |rest: &str| format!("[[rule]]\nname = 'x'\nreason = 'spam'\n{rest}\n");
    check_bad(&rule("any = ['-']"), "rule x: no use can be made of \"-\"");
    check_bad(&rule(""), "rule x: it asks for nothing; give it any, near, url, status, code or stage");
    check_bad(&format!("{0}{0}", rule("code = [550]")), "rule x: there is another of this name");
    check_bad(&rule("code = [550]").replace('x', "spam"), "rule spam: there is another of this name");
    let example = rule("any = ['tea is cold']\nexamples = ['550 the coffee is cold']");
    check_bad(&example, "rule x: its example \"550 the coffee is cold\" is decided by rule none");
    for (rest, word) in [("any = 'one'", "sequence"), ("status = ['5.1']", "pattern"), ("anny = ['one two']", "anny")] {
        let told = Rules::with_own(&rule(rest)).err().unwrap().to_string();
        assert!(told.contains(word), "{told}");
    }
    check_bad(&" ".repeat(OWN_BYTES_MAX + 1), "the file is larger than 1048576 bytes");
}

#[test]
fn own_rules_come_first() {
    let text = "550 5.1.1 no such user; the tea is cold";
    assert_eq!(Rules::default().judge(None, text, Stage::Rcpt).rule, "user-unknown");
    let own = "[[rule]]\nname = 'tea'\nreason = 'greylisted'\nany = ['tea is cold']\n";
    let cause = Rules::with_own(own).unwrap().judge(None, text, Stage::Rcpt);
    assert_eq!((cause.rule.as_str(), cause.reason, cause.class), ("tea", Reason::Greylisted, Class::Soft));
    assert_eq!(Rules::with_own("").unwrap().judge(None, text, Stage::Rcpt).rule, "user-unknown");
}

#[test]
fn what_stands_near_counts_in_either_order() {
    let own =
        "[[rule]]\nname = 'tea'\nreason = 'policy'\nnear = [['(tea|coffee)$'], ['cold', 'stale']]\nunless = ['ice']\n";
    let rules = Rules::with_own(own).unwrap();
    let check = |text: &str, rule: &str| assert_eq!(rules.judge(None, text, Stage::Rcpt).rule, rule, "{text}");
    check("550 the tea has gone quite cold", "tea");
    check("550 cold, alas, is the coffee", "tea");
    check("550 the tea is warm, and the long and windy way to the kitchen is cold", "none");
    check("550 the tea, and the tea that is after it, and the rest of the tea: stale", "tea");
    check("550 the team is cold", "none");
    check("550 tea is cold with ice", "none");
    check("550 tea, coffee", "none");
}

#[test]
fn a_stage_may_be_all_that_speaks() {
    let check = |stage: Stage, reason: Reason| {
        let cause = Rules::default().judge(Some(550), "550 hic sunt dracones", stage);
        assert_eq!((cause.reason, cause.class), (reason, Class::Soft), "{stage:?} by {}", cause.rule);
    };
    check(Stage::Connect, Reason::IpBlocked);
    check(Stage::Hello, Reason::IpBlocked);
    check(Stage::Mail, Reason::SenderRejected);
    check(Stage::Rcpt, Reason::Unknown);
    check(Stage::Data, Reason::RecipientFiltered);
}

#[test]
fn phrases_can_be_left_out() {
    let text = "550 no such alias";
    let heard = Vocabulary::default();
    let named: HashSet<String> = heard.heard_in(text).into_iter().map(str::to_owned).collect();
    assert!(named.contains("user-unknown: no such alias"), "{named:?}");
    assert_eq!(Rules::without(&named).judge(None, text, Stage::Rcpt).reason, Reason::Unknown);
}

#[track_caller]
fn check(text: &str, reason: Reason, class: Class) {
    let cause = Rules::default().judge(None, text, Stage::Rcpt);
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

#[test]
fn a_diagnostic_is_kept_short_and_clean() {
    let cause = Rules::default().judge(Some(550), &format!("a\u{7}b {}", "x ".repeat(4000)), Stage::Data);
    assert!(cause.diagnostic.len() <= DIAGNOSTIC_BYTES_MAX);
    assert!(cause.diagnostic.starts_with("a\\u{7}b x x"), "{}", cause.diagnostic);
}
