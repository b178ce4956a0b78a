//! Reports that are built as none should be, and mail that only looks like one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

const UNKNOWN: &str = "Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.1.1\n\
                       Diagnostic-Code: smtp; 550 5.1.1 <kim@there.example>: no such user";
const READ: &str = "bounce\nkim@there.example failed 5.1.1 user_unknown hard";

#[test]
fn broken_structures_are_read() {
    let whole = notification("Sorry.", UNKNOWN);
    check(&whole.replace("boundary=\"edge\"", "boundary=\"ridge\""), READ);
    check(&whole.replace("\n--edge--\n", ""), READ);
    check(&whole.replace("mx.there.example\n\nFinal", "mx.there.example\nFinal"), READ);
    check(&whole.replace("smtp; 550", "smtp;\n\t550"), READ);
    check(
        &whole.replace(
            "Final-Recipient: rfc822; kim@there.example\nAction",
            "final-recipient : RFC822;kim@there.example\naction",
        ),
        READ,
    );
    check(&notification("Sorry.", &[UNKNOWN; 10].join("\n\n")), READ);
    let x400 = UNKNOWN.replace("rfc822; kim@there.example", "x400; /G=Kim/PRMD=there/C=de/");
    check(&notification("Sorry.", &format!("Original-Recipient: rfc822;kim@there.example\n{x400}")), READ);
    let alone = "From: MAILER-DAEMON@mx.there.example\nSubject: Returned mail\nMIME-Version: 1.0\n\
                 Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.there.example\n\n";
    check(&format!("{alone}{UNKNOWN}\n"), READ);
}

#[test]
fn parts_in_parts_and_encodings_are_opened() {
    let in_base64 = |text: &str| STANDARD.encode(text);
    let fields = in_base64(&format!("Reporting-MTA: dns; mx.there.example\n\n{UNKNOWN}\n"));
    let returned = in_base64("Message-ID: <one@here.example>\nTo: kim@there.example\n\nText\n");
    let mail = format!(
        "From: MAILER-DAEMON@mx.there.example\nSubject: Undelivered\nContent-Type: multipart/mixed; boundary=outer\n\n\
         --outer\nContent-Type: text/plain\n\nA gateway passes this on.\n--outer\n\
         Content-Type: multipart/report; boundary=inner\n\n--inner\nContent-Type: multipart/alternative; boundary=alt\n\n\
         --alt\nContent-Type: text/plain\n\nSorry.\n--alt\nContent-Type: text/html\n\n<p>Sorry.</p>\n--alt--\n\
         --inner\nContent-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n{fields}\n\
         --inner\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{returned}\n--inner--\n--outer--\n"
    );
    let report = check(&mail, READ);
    assert_eq!(report.original_message_id.as_deref(), Some("<one@here.example>"));
}

#[test]
fn the_code_may_stand_far_from_the_words() {
    let mail = "From: MAILER-DAEMON@there.example\nTo: news@here.example\nSubject: Undeliverable: Hello\n\
                Content-Type: text/html\n\n<html><body><p><b>Delivery has failed to these recipients:</b></p>\
                <p><a href=\"mailto:kim@there.example\">kim@there.example</a><br>The address couldn't be found.</p>\
                <p><b>For administrators:</b></p><p>kim@there.example<br>#550 5.1.1 RESOLVER.ADR.RecipNotFound</p></body></html>\n";
    check(mail, READ);
}

#[test]
fn what_only_looks_like_a_report_is_none() {
    let check = |head: &str, text: &str| {
        check(&format!("To: news@here.example\nMIME-Version: 1.0\n{head}\n\n{text}\n"), "ordinary");
    };
    let receipt = "From: kim@there.example\nSubject: Not read: Hello\n\
                   Content-Type: multipart/report; report-type=disposition-notification; boundary=b";
    let deleted = "--b\nContent-Type: text/plain\n\nYour message was deleted without being read.\n--b\n\
                   Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822;kim@there.example\n\
                   Disposition: automatic-action/MDN-sent-automatically; deleted\n\n--b--";
    check(receipt, deleted);
    let list = "From: club-owner@lists.example\nPrecedence: bulk\nSubject: Request to mailing list \"Club\" rejected";
    check(list, "Your request to the Club list, posting of your message, has been rejected by the moderator.");
    let person = "From: Kim <kim@there.example>\nSubject: Re: mail not delivered?\nIn-Reply-To: <one@here.example>";
    check(person, "Did my message to lou@there.example bounce? I got \"user unknown\" and could not deliver it.");
}
