//! The commands that open a transaction: MAIL, RCPT and DATA, with what a host offers of SIZE (RFC 1870), 8BITMIME
//! (6152), SMTPUTF8 (6531), DSN (3461) and REQUIRETLS (8689). Pure.
//!
//! Reports come back to our own return path, whoever is to be told in the end. So failures are always asked for, even
//! where the submitter wants to hear of none: what became of the mail, its owner's webhooks are told. A success is asked
//! for where its report is what counts.

use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{MailBodyParameter, MailParameter, RcptParameter};

use super::offers::Offers;
use super::transport::Mail;
use crate::mail::reply::Stage;
use crate::model::dsn::{Notify, Returned};

/// The commands up to DATA, each with the stage that its reply is of.
pub fn commands(offers: &Offers, mail: &Mail<'_>) -> [(Stage, String); 3] {
    let mut of_mail = Vec::new();
    if offers.size.is_some() {
        of_mail.push(MailParameter::Size(mail.bytes.len()));
    }
    if offers.eight_bit && !mail.bytes.is_ascii() {
        of_mail.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    if offers.utf8 && mail.needs_utf8() {
        of_mail.push(MailParameter::SmtpUtfEight);
    }
    if mail.requires_tls {
        of_mail.push(MailParameter::Other { keyword: "REQUIRETLS".to_owned(), value: None });
    }
    let mut of_rcpt = Vec::new();
    let of = |keyword: &str, value: String| (keyword.to_owned(), Some(value));
    let wishes = mail.wishes.filter(|_| offers.dsn);
    let wish = wishes.and_then(|wishes| wishes.request.recipients.get(&wishes.recipient));
    let wished = wish.and_then(|wish| wish.notify);
    let notify = match mail.awaits_report {
        // Who says one thing must say all: without the word, no delay would be told.
        true => Some(Notify { success: true, failure: true, delay: wished.is_none_or(|notify| notify.delay) }),
        false => wished,
    };
    if let Some(request) = wishes.map(|wishes| wishes.request) {
        let returned = match request.returned {
            Returned::Headers => "HDRS",
            Returned::Full => "FULL",
        };
        let (keyword, value) = of("RET", returned.to_owned());
        of_mail.push(MailParameter::Other { keyword, value });
        if !request.envelope_id.is_empty() {
            let (keyword, value) = of("ENVID", request.envelope_id.clone());
            of_mail.push(MailParameter::Other { keyword, value });
        }
    }
    if let Some(notify) = notify.filter(|_| offers.dsn) {
        let (keyword, value) = of("NOTIFY", words(notify));
        of_rcpt.push(RcptParameter::Other { keyword, value });
    }
    if let Some(original) = wish.map(|wish| &wish.original).filter(|original| !original.is_empty()) {
        let (keyword, value) = of("ORCPT", original.clone());
        of_rcpt.push(RcptParameter::Other { keyword, value });
    }
    // A report comes from nobody, so that none is written about it.
    let sender = (!mail.return_path.is_empty()).then(|| for_lettre(mail.return_path));
    let recipient = for_lettre(&mail.recipient.to_string());
    [
        (Stage::Mail, MailFrom::new(sender, of_mail).to_string()),
        (Stage::Rcpt, Rcpt::new(recipient, of_rcpt).to_string()),
        (Stage::Data, Data.to_string()),
    ]
}

fn words(notify: Notify) -> String {
    let wanted = [(notify.success, "SUCCESS"), (true, "FAILURE"), (notify.delay, "DELAY")];
    wanted.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, word)| word).collect::<Vec<_>>().join(",")
}

/// The address as lettre takes it. It was checked when it came in, by rules a little wider than lettre's.
fn for_lettre(address: &str) -> lettre::Address {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    lettre::Address::new_dangerous(local, domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::transport::Wishes;
    use crate::model::dsn::{DsnRequest, Wish};

    #[test]
    fn a_host_is_told_what_it_offers_to_hear() {
        let check = |offers: &Offers, change: fn(&mut Mail<'_>), expected: [&str; 2]| {
            let (recipient, to) = ("reader@example.com".parse().unwrap(), "app@example.com".parse().unwrap());
            let notify = Notify { success: true, failure: false, delay: false };
            let wish = Wish { notify: Some(notify), original: "rfc822;a+b c@example.com".into() };
            let request = DsnRequest {
                to,
                envelope_id: "Q 1".into(),
                returned: Returned::Full,
                unasked_failures: false,
                recipients: [(2, wish)].into(),
            };
            let wishes = Some(Wishes { request: &request, recipient: 2 });
            let return_path = "b@d.example";
            let (requires_tls, awaits_report) = (false, false);
            let mut mail =
                Mail { return_path, recipient: &recipient, bytes: b"x", wishes, requires_tls, awaits_report };
            change(&mut mail);
            let said = commands(offers, &mail).map(|(_, command)| command.trim_end().to_owned());
            assert_eq!(said[..2], expected);
        };
        let none = Offers::default();
        let all = Offers { size: Some(0), eight_bit: true, utf8: true, dsn: true, ..Offers::default() };
        let plain = ["MAIL FROM:<b@d.example>", "RCPT TO:<reader@example.com>"];
        check(&none, |_| {}, plain);
        check(
            &all,
            |_| {},
            [
                "MAIL FROM:<b@d.example> SIZE=1 RET=FULL ENVID=Q+201",
                "RCPT TO:<reader@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb+20c@example.com",
            ],
        );
        let elsewhere: fn(&mut Mail<'_>) = |mail| mail.wishes.as_mut().unwrap().recipient = 0;
        check(&all, elsewhere, ["MAIL FROM:<b@d.example> SIZE=1 RET=FULL ENVID=Q+201", plain[1]]);
        check(&all, |mail| mail.wishes = None, ["MAIL FROM:<b@d.example> SIZE=1", plain[1]]);
        let utf8: fn(&mut Mail<'_>) = |mail| (mail.bytes, mail.wishes) = ("a: ü".as_bytes(), None);
        check(&all, utf8, ["MAIL FROM:<b@d.example> SIZE=5 BODY=8BITMIME SMTPUTF8", plain[1]]);
        let asked = "RCPT TO:<reader@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb+20c@example.com";
        let awaited: fn(&mut Mail<'_>) = |mail| mail.awaits_report = true;
        check(&all, awaited, ["MAIL FROM:<b@d.example> SIZE=1 RET=FULL ENVID=Q+201", asked]);
        let unwished: fn(&mut Mail<'_>) = |mail| (mail.wishes, mail.awaits_report) = (None, true);
        let told = "RCPT TO:<reader@example.com> NOTIFY=SUCCESS,FAILURE,DELAY";
        check(&all, unwished, ["MAIL FROM:<b@d.example> SIZE=1", told]);
        check(&none, unwished, plain);
        check(&none, |mail| mail.requires_tls = true, ["MAIL FROM:<b@d.example> REQUIRETLS", plain[1]]);
    }
}
