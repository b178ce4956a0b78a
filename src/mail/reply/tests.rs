//! Readings of codes and waits.

use super::*;

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
