//! Mails as they come back, in our own words: one table of kinds, one of recipients, and what must hold for any bytes.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::model::reason::Class;

mod odd;
mod tongues;

/// A report in fields, around one group.
fn notification(prose: &str, group: &str) -> String {
    format!(
        "Return-Path: <>\nFrom: Mail Delivery System <MAILER-DAEMON@mx.there.example>\nTo: <news@here.example>\n\
         Subject: Undelivered Mail Returned to Sender\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"edge\"\n\n\
         --edge\nContent-Type: text/plain; charset=utf-8\n\n{prose}\n\
         --edge\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.there.example\n\n{group}\n\
         --edge\nContent-Type: message/rfc822\n\nMessage-ID: <one@here.example>\nX-Postback-Ref: sealed\nTo: kim@there.example\n\
         Subject: Hello\n\nText\n\n--edge--\n"
    )
}

/// A report in prose.
fn prose(subject: &str, text: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.there.example\nTo: news@here.example\nSubject: {subject}\n\n{text}\n\
         --- Below this line is a copy of the message.\n\nReturn-Path: <news@here.example>\nMessage-ID: <one@here.example>\n\
         To: kim@there.example\nSubject: Hello\n\nText\n"
    )
}

fn read(mail: &[u8]) -> Report {
    super::read(mail, &Rules::default())
}

/// One line for each recipient: address, action, status, reason, class.
fn told(report: &Report) -> String {
    let mut told = report.kind.as_str().to_owned();
    for recipient in &report.recipients {
        let cause = &recipient.cause;
        let status = cause.status.as_deref().unwrap_or("-");
        let (action, reason, class) = (recipient.action.as_str(), cause.reason.as_str(), cause.class.as_str());
        write!(told, "\n{} {action} {status} {reason} {class}", recipient.address).unwrap();
    }
    told
}

/// The same for LF, CRLF and CR.
#[track_caller]
fn check(mail: &str, expected: &str) -> Report {
    let report = read(mail.as_bytes());
    assert_eq!(told(&report), expected, "{mail}");
    assert_eq!(read(mail.replace('\n', "\r\n").as_bytes()), report, "with CRLF: {mail}");
    assert_eq!(read(mail.replace('\n', "\r").as_bytes()), report, "with CR: {mail}");
    report
}

#[test]
fn fields_are_believed() {
    let group = "Original-Recipient: rfc822;kim@there.example\nFinal-Recipient: rfc822; k.m@mx.there.example\n\
                 Action: failed\nStatus: 5.0.0\nRemote-MTA: dns; mx.there.example\n\
                 Diagnostic-Code: smtp; 550-5.1.1 <kim@there.example>:\n    No such\n 550 5.1.1 user";
    let report = check(&notification("I am sorry.", group), "bounce\nkim@there.example failed 5.1.1 user_unknown hard");
    assert_eq!(report.original_message_id.as_deref(), Some("<one@here.example>"));
    assert_eq!(report.reporting_mta.as_deref(), Some("mx.there.example"));
    assert_eq!(report.references, ["sealed"]);
    assert_eq!(report.recipients[0].cause.rule, "user-unknown");
}

#[test]
fn actions_make_the_kind() {
    let group = |action: &str, status: &str| {
        let group = format!("Final-Recipient: rfc822; kim@there.example\nAction: {action}\nStatus: {status}");
        notification("This is a report.", &group)
    };
    check(&group("failed", "4.4.7"), "bounce\nkim@there.example failed 4.4.7 expired soft");
    check(&group("delayed", "4.1.1"), "delayed\nkim@there.example delayed 4.1.1 user_unknown soft");
    check(&group("delayed", "4.0.0"), "delayed\nkim@there.example delayed 4.0.0 expired soft");
    check(&group("delivered", "2.0.0"), "success\nkim@there.example delivered 2.0.0 unknown undetermined");
    check(&group("expanded", "2.0.0"), "success\nkim@there.example expanded 2.0.0 unknown undetermined");
    check(&group("relayed", "2.0.0"), "relayed\nkim@there.example relayed 2.0.0 unknown undetermined");
    check(&group("expired", "5.4.7"), "bounce\nkim@there.example failed 5.4.7 expired soft");
}

#[test]
fn words_that_nobody_knows_are_not_about_the_address() {
    let group = |diagnostic: &str| {
        let group = format!("Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.0.0{diagnostic}");
        notification("Sorry.", &group)
    };
    let unknown = |class: &str| format!("bounce\nkim@there.example failed 5.0.0 unknown {class}");
    check(&group("\nDiagnostic-Code: smtp; 550 the tea is cold today"), &unknown("soft"));
    check(&group("\nDiagnostic-Code: x-local; the tea is cold today"), &unknown("soft"));
    check(&group("\nDiagnostic-Code: smtp; 550 no"), &unknown("undetermined"));
    check(&group(""), &unknown("undetermined"));
}

/// What a report says to everybody is not about the recipient when a reply of his own says something else.
#[test]
fn an_unknown_reply_is_not_read_as_the_report_s_own_words() {
    let advice = "We look for users that do not exist: if the user is unknown, remove it.";
    let group = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.0.0\n\
                 Diagnostic-Code: smtp; 554 the tea is cold today";
    check(&notification(advice, group), "bounce\nkim@there.example failed 5.0.0 unknown soft");
    let reply = format!(
        "{advice}\n\nYour message was not delivered to:\n  kim@there.example\n  said: \"554 the tea is cold today\"\n"
    );
    check(&prose("failure notice", &reply), "bounce\nkim@there.example failed - unknown soft");
    let silent = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.0.0";
    check(&notification(advice, silent), "bounce\nkim@there.example failed 5.0.0 user_unknown hard");
}

#[test]
fn several_recipients_are_told_apart() {
    let groups = "Final-Recipient: rfc822; a@there.example\nAction: failed\nStatus: 5.2.2\n\n\
                  Final-Recipient: rfc822; b@there.example\nAction: delivered\nStatus: 2.0.0\n\n\
                  Final-Recipient: rfc822; c@there.example\nAction: failed\nStatus: 5.1.1";
    check(
        &notification("Some got it.", groups),
        "bounce\na@there.example failed 5.2.2 mailbox_full soft\nb@there.example delivered 2.0.0 unknown undetermined\n\
         c@there.example failed 5.1.1 user_unknown hard",
    );
}

#[test]
fn prose_tells_what_fields_leave_out() {
    let group = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.0.0";
    check(
        &notification("<kim@there.example>: the mailbox is over quota", group),
        "bounce\nkim@there.example failed 5.0.0 mailbox_full soft",
    );
    let local = "Final-Recipient: LOCAL;<kim>\nAction: failed\nStatus: 5.1.1";
    check(&notification("Nobody.", local), "bounce\nkim@there.example failed 5.1.1 user_unknown hard");
}

#[test]
fn a_refusal_after_the_content_may_be_a_filters() {
    let group = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.0.0\n\
                 Diagnostic-Code: smtp; 550 Unknown user kim@there.example";
    let filtered = "bounce\nkim@there.example failed 5.0.0 recipient_filtered soft";
    let unknown = "bounce\nkim@there.example failed 5.0.0 user_unknown hard";
    let said = "<kim@there.example>: host mx.there.example said: 550 Unknown user";
    check(&notification(&format!("{said} (in reply to end of DATA command)"), group), filtered);
    check(&notification(&format!("{said} (in reply to RCPT TO command)"), group), unknown);
    check(&notification(">>> DATA\n<<< 550 Unknown user kim@there.example", group), filtered);
    check(&notification(">>> RCPT To:<kim@there.example>\n<<< 550 Unknown user kim@there.example", group), unknown);
    // Who sends RCPT and DATA at once reads the answer to RCPT after DATA.
    let at_once = ">>> DATA\n<<< 550 Unknown user kim@there.example\n<<< 503 Need RCPT (recipient)";
    check(&notification(at_once, group), unknown);
    let coded = group.replace("550 Unknown", "550 5.1.1 Unknown");
    let told = "bounce\nkim@there.example failed 5.1.1 user_unknown hard";
    check(&notification(&format!("{said} (in reply to end of DATA command)"), &coded), told);
}

#[test]
fn when_it_was_refused_tells_what_was() {
    let group = |words: &str| {
        format!(
            "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 {words}"
        )
    };
    let said = |at: &str| format!("<kim@there.example>: host mx.there.example said: 550 no (in reply to {at})");
    for (at, words, reason) in [
        ("MAIL FROM command", "Access denied", "sender_rejected"),
        ("MAIL FROM command", "hic sunt dracones", "sender_rejected"),
        ("end of DATA command", "hic sunt dracones", "recipient_filtered"),
        ("RCPT TO command", "hic sunt dracones", "unknown"),
        ("MAIL FROM command", "mailbox full", "mailbox_full"),
    ] {
        let expected = format!("bounce\nkim@there.example failed 5.0.0 {reason} soft");
        check(&notification(&said(at), &group(words)), &expected);
    }
}

#[test]
fn a_program_of_the_host_is_no_host() {
    let group = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 4.3.0\nDiagnostic-Code: x-unix; ";
    let failed = "bounce\nkim@there.example failed 4.3.0 mailer_error soft";
    check(&notification("Sorry.", &format!("{group}71")), failed);
    check(&notification("Sorry.", &format!("{group}temporary failure")), failed);
    let full = failed.replace("mailer_error", "mailbox_full");
    check(&notification("Sorry.", &format!("{group}the mailbox is full")), &full);
}

#[test]
fn who_asks_for_proof_is_no_daemon() {
    let group = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 4.7.0";
    let mail = notification("I got your mail, and it has to wait until I know you.", group);
    let mail = mail.replace("Mail Delivery System <MAILER-DAEMON@mx.there.example>", "Kim <kim@there.example>");
    check(&mail.replace("Undelivered Mail Returned to Sender", "Re: Hello"), "autoreply");
}

#[test]
fn a_refusal_of_the_sender_is_not_the_recipients() {
    let group = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.1.1\n\
                 Diagnostic-Code: smtp; 550 5.1.1 <news@here.example>: user unknown";
    check(&notification("Sorry.", group), "bounce\nkim@there.example failed 5.1.1 sender_rejected soft");
    let both = group.replace("user unknown", "mail to <kim@there.example> refused: user unknown");
    check(&notification("Sorry.", &both), "bounce\nkim@there.example failed 5.1.1 user_unknown hard");
}

#[test]
fn prose_is_enough() {
    let unknown = "bounce\nkim@there.example failed 5.1.1 user_unknown hard";
    for text in [
        "I'm afraid that I wasn't able to deliver your message to the following addresses.\n\n\
         <kim@there.example>:\n192.0.2.1 does not like recipient.\nRemote host said: 550 5.1.1 User unknown\n",
        "A message that you sent could not be delivered to all of its recipients. The following address(es) failed:\n\n\
         \x20 kim@there.example\n    host mx.there.example [192.0.2.1]: 550 5.1.1 unknown user\n",
        "Your message was not delivered to:\n  kim@there.example\nbecause:\n  550 5.1.1 no such user here\n",
        "Could not deliver message to the following recipient(s):\n\n\tFailed Recipient: kim@there.example\n\
         \tReason: Remote host said: 550 5.1.1 unknown user <kim@there.example>\n",
        "   ----- Transcript of session follows -----\n>>> RCPT To:<kim@there.example>\n\
         <<< 550 5.1.1 <kim@there.example>... User unknown\n",
        "Ihre Nachricht konnte nicht zugestellt werden.\n\nkim@there.example\n  550 5.1.1 Empfänger unbekannt\n",
        "次のアドレスに配信できませんでした。\n\n<kim@there.example>: 550 5.1.1 ユーザーが見つかりません\n",
    ] {
        let report = check(&prose("failure notice", text), unknown);
        assert_eq!(report.original_message_id.as_deref(), Some("<one@here.example>"), "{text}");
    }
    check(
        &prose(
            "Warning: message delayed 24 hours",
            "Your message has not yet been delivered to:\n\n  kim@there.example\n\nDelivery attempts will continue.\n",
        ),
        "delayed\nkim@there.example delayed - expired soft",
    );
}

#[test]
fn prose_may_tell_of_success() {
    check(
        &prose(
            "Delivered: Hello",
            "Your message was successfully delivered to the following recipient:\n\n  kim@there.example\n",
        ),
        "success\nkim@there.example delivered - unknown undetermined",
    );
}

#[test]
fn mail_from_people_and_programs_is_no_bounce() {
    let letter = |head: &str, text: &str| format!("To: news@here.example\n{head}\n\n{text}\n");
    let ordinary = [
        (
            "From: Kim <kim@there.example>\nSubject: Re: Delivery Status Notification (Failure)\nIn-Reply-To: <x@y.example>",
            "My old address kim.old@there.example does not exist any more (550 5.1.1). Use this one.",
        ),
        (
            "From: News <news@there.example>\nSubject: Why mail bounces\nList-Unsubscribe: <mailto:out@there.example>",
            "If mail could not be delivered to kim@there.example because the user is unknown, remove the address.",
        ),
        (
            "From: Mail Delivery Subsystem <x@lure.example>\nSubject: Undeliverable: messages held",
            "Messages could not be delivered to your mailbox news@here.example, quota exceeded. Release messages here.",
        ),
        (
            "From: MAILER-DAEMON <mailer-daemon@lure.example>\nSubject: Delivery Status Notification (Failure)",
            "Your message to news@here.example was blocked. See http://lure.example/",
        ),
        (
            "From: list@there.example\nSubject: Your message awaits moderator approval\nAuto-Submitted: auto-replied",
            "Is being held until the moderator can review it.",
        ),
        ("From: Kim <kim@there.example>\nSubject: Lunch", "On Friday?"),
        ("", ""),
    ];
    for (head, text) in ordinary {
        check(&letter(head, text), "ordinary");
    }
    let automatic = [
        ("From: Kim <kim@there.example>\nSubject: Out of Office: Hello", "Back on Monday."),
        ("From: Kim <kim@there.example>\nSubject: =?utf-8?Q?R=C3=A9ponse_automatique?= : Hello", "En congé."),
        ("From: Kim <kim@there.example>\nSubject: Hello\nAuto-Submitted: auto-replied (vacation)", "Back soon."),
        (
            "From: Desk <desk@there.example>\nSubject: [Request received] Hello\nAuto-Submitted: auto-generated",
            "Thanks.",
        ),
        ("From: Guard <guard@there.example>\nSubject: Please confirm your message\nPrecedence: junk", "Click here."),
    ];
    for (head, text) in automatic {
        check(&letter(head, text), "autoreply");
    }
}

#[test]
fn receipts_are_ordinary_and_refusals_are_not() {
    let receipt = |disposition: &str, subject: &str, text: &str| {
        format!(
            "From: kim@there.example\nSubject: {subject}\n\
             Content-Type: multipart/report; report-type=disposition-notification; boundary=edge\n\n\
             --edge\nContent-Type: text/plain\n\n{text}\n--edge\nContent-Type: message/disposition-notification\n\n\
             Final-Recipient: rfc822; kim@there.example\nOriginal-Message-ID: <one@here.example>\n\
             Disposition: {disposition}\n\n--edge--\n"
        )
    };
    check(&receipt("manual-action/MDN-sent-manually; displayed", "Read: Hello", "It was read."), "ordinary");
    check(&receipt("manual-action/MDN-sent-manually; deleted", "Not read: Hello", "It was deleted."), "ordinary");
    check(
        &receipt(
            "automatic-action/MDN-sent-automatically; deleted",
            "Rejected: Hello",
            "Your message was automatically rejected: mailbox full",
        ),
        "bounce\nkim@there.example failed - mailbox_full soft",
    );
}

#[test]
fn complaints_are_known_in_all_forms() {
    let report = check(
        "From: loop@there.example\nSubject: FW: Hello\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=edge\n\n\
         --edge\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: Loop/1\nVersion: 1\n\
         Original-Rcpt-To: kim@there.example\n\n--edge\nContent-Type: message/rfc822\n\n\
         Message-ID: <one@here.example>\nTo: redacted@there.example\n\nText\n\n--edge--\n",
        "complaint\nkim@there.example delivered - complaint undetermined",
    );
    assert_eq!(report.original_message_id.as_deref(), Some("<one@here.example>"));
    assert_eq!(report.complaint.unwrap().feedback_type, "abuse");
    check(
        "From: staff@there.example\nSubject: complaint about message from 192.0.2.1\n\
         Content-Type: multipart/mixed; boundary=edge\n\n--edge\nContent-Type: message/rfc822\n\n\
         X-HmXmrOriginalRecipient: kim@there.example\nMessage-ID: <one@here.example>\n\nText\n--edge--\n",
        "complaint\nkim@there.example delivered - complaint undetermined",
    );
    check(
        "From: Kim <kim@there.example>\nSubject: unsubscribe\nContent-Type: text/plain\n\nSent to leave the list.\n",
        "complaint\nkim@there.example delivered - complaint undetermined",
    );
}

#[test]
fn notifications_as_json_are_read() {
    let bounce = r#"{"notificationType":"Bounce","bounce":{"bounceSubType":"General","reportingMTA":"dns; out.there.example",
        "bouncedRecipients":[{"emailAddress":"kim@there.example","status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 user unknown"}]},
        "mail":{"headers":[{"name":"Message-ID","value":"<one@here.example>"}]}}"#;
    let wrapped = serde_json::json!({ "Type": "Notification", "Message": bounce }).to_string();
    for text in [bounce.replace('\n', " "), wrapped] {
        let mail = format!("From: no-reply@there.example\nSubject: Notification\n\n{text}\n");
        let report = check(&mail, "bounce\nkim@there.example failed 5.1.1 user_unknown hard");
        assert_eq!(report.original_message_id.as_deref(), Some("<one@here.example>"));
    }
}

#[test]
fn broken_mail_is_read_as_far_as_it_goes() {
    let mail = notification("Sorry.", "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.1.1");
    let whole = "bounce\nkim@there.example failed 5.1.1 user_unknown hard";
    check(&mail.replace("--edge--\n", ""), whole);
    check(&mail.replace("boundary=\"edge\"", "charset=utf-8"), whole);
    check(&mail.replace("multipart/report", "multipart/mixed"), whole);
    check(&mail.replace("dns; mx.there.example\n\n", "dns; mx.there.example\n"), whole);
    check(&format!("From sender Mon Jan  1 00:00:00 2024\n{mail}"), whole);
    let wrapped = format!(
        "From: postmaster@there.example\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\n\
         Content-Type: message/rfc822\n\n{mail}\n--outer--\n"
    );
    check(&wrapped, whole);
}

#[test]
fn our_own_return_path_is_found() {
    let sealed = format!("b+{}", "abcdefgh".repeat(7));
    let mail = format!("From: kim@there.example\nTo: <{}@bounces.here.example>\n\nHello\n", sealed.to_uppercase());
    assert_eq!(check(&mail, "ordinary").references, [sealed]);
}

#[test]
fn the_inspect_line_is_stable() {
    let group = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 552 5.2.2 Full";
    let line = inspect_line("a.eml", &read(notification("Sorry.", group).as_bytes())).to_string();
    assert_eq!(
        line,
        "{\"file\":\"a.eml\",\"kind\":\"bounce\",\"recipients\":[{\"address\":\"kim@there.example\",\"action\":\"failed\",\
         \"status\":\"5.2.2\",\"diagnostic\":\"552 5.2.2 Full\",\"class\":\"soft\",\"reason\":\"mailbox_full\"}],\
         \"original_message_id\":\"<one@here.example>\",\"reporting_mta\":\"mx.there.example\"}"
    );
}

#[test]
fn hostile_sizes_are_cut() {
    let deep: String =
        (0..2000).map(|at| format!("--b{at}\nContent-Type: multipart/mixed; boundary=b{}\n\n", at + 1)).collect();
    let deep = format!("Content-Type: multipart/mixed; boundary=b0\n\n{deep}");
    let long = format!("From: MAILER-DAEMON@x.example\n\n{}", "=@<>: 5.5.5 \n".repeat(100_000));
    let many = notification("Sorry.", &"Final-Recipient: rfc822; kim@there.example\nAction: failed\n\n".repeat(500));
    // One line of nothing but addresses.
    let line = format!(
        "{}\n\n{}",
        "From: MAILER-DAEMON@x.example\nSubject: failure notice",
        "no mailbox kim@there.example ".repeat(30_000)
    );
    assert_eq!(read(line.as_bytes()).kind, Kind::Bounce);
    assert!(!read(deep.as_bytes()).cut);
    assert!(read(long.as_bytes()).cut);
    assert!(read(many.as_bytes()).cut);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let report = read(&bytes);
        prop_assert!(report.recipients.iter().all(|recipient| !recipient.address.is_empty()));
    }

    #[test]
    fn mutated_reports_are_read(cut in 0usize..1200, noise in "[\\x00-\\xff]{0,40}", at in 0usize..1200) {
        let group = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 4.2.2\nDiagnostic-Code: smtp; 450 4.2.2 later";
        let mut mail = notification("Sorry, <kim@there.example> is not here.", group).into_bytes();
        mail.truncate(cut.max(10));
        let at = at.min(mail.len());
        mail.splice(at..at, noise.bytes());
        let _ = read(&mail);
    }

    #[test]
    fn any_report_is_the_same_with_any_line_ends(
        prose in "[ -~\\n]{0,200}", diagnostic in "[ -~\u{e0}-\u{ff}]{0,120}", status in "[245]\\.[0-7]\\.[0-9]{1,2}",
    ) {
        let group = format!("Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: {status}\nDiagnostic-Code: smtp; {diagnostic}");
        let mail = notification(&prose, &group);
        let report = read(mail.as_bytes());
        prop_assert_eq!(&read(mail.replace('\n', "\r\n").as_bytes()), &report);
        prop_assert_eq!(&read(mail.replace('\n', "\r").as_bytes()), &report);
        prop_assert!(report.recipients.len() <= super::super::dsn::RECIPIENTS_MAX);
        for recipient in &report.recipients {
            prop_assert!(recipient.cause.diagnostic.len() <= crate::mail::reply::DIAGNOSTIC_BYTES_MAX);
            prop_assert!(!recipient.cause.diagnostic.contains(char::is_control));
        }
    }

    #[test]
    fn a_transient_reply_is_never_hard(text in "[ -~]{0,60}", code in 400u16..500) {
        let cause = Rules::default().judge(Some(code), &text, crate::mail::reply::Stage::Rcpt);
        prop_assert_ne!(cause.class, Class::Hard);
    }
}
