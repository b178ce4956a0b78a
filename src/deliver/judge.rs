//! What a conversation came to, and what becomes of the delivery. Pure.
//!
//! | the conversation ended with | outcome |
//! |---|---|
//! | 2yz to the final dot | delivered; handed over, where the host's report of success is what counts |
//! | 4yz anywhere; anything negative before MAIL | deferred |
//! | 5yz to MAIL, RCPT, DATA or the final dot | refused |
//! | 530 to MAIL: the host wants a password | deferred |
//! | a host that cannot take this mail | refused |
//! | network, TLS, time limit, nonsense | deferred |
//! | the same after the final dot | deferred, and may be a duplicate |
//! | a domain that takes no mail, or mail that would come back to us | refused |
//! | a domain that does not exist | deferred once, then refused: name servers err |
//! | the DNS does not tell | deferred |
//! | every host of the way rests | deferred until the first may be tried |
//!
//! Before MAIL nothing was said about this mail: a smarthost that refuses us altogether is for a person to repair, and
//! costs no mail meanwhile. Another host of the way may take it: [`is_about_the_host`].

use std::time::Duration;

use super::dialogue::{TEXT_BYTES_MAX, escaped};
use super::exchangers::Nowhere;
use super::pace::Signal;
use super::reply::Reply;
use super::transport::{Failure, Unfit};
use super::wire::Fault;
use crate::mail::reply::{Stage, wished_wait};
use crate::mail::rules::Rules;
use crate::model::bearing::{Bearing, Naming, Policy};
use crate::model::delivery::{self, Delivery, Next, Outcome};
use crate::model::event::{Detail, Event};
use crate::model::id::EventId;
use crate::model::reason::{Cause, Class, Reason};
use crate::model::time::Timestamp;

/// The reply that means: authenticate first (RFC 4954 §6).
const AUTHENTICATION_REQUIRED: u16 = 530;

/// How long it takes until a domain that seems not to exist is looked up once more, before that is believed.
pub const SECOND_LOOK: Duration = Duration::from_secs(15 * 60);

/// Whether a conversation ended for a cause that is the host's, so that another may take the mail.
pub fn is_about_the_host(ended: &Result<Reply, Failure>) -> bool {
    match ended {
        Err(Failure::Broke(stage, _)) => is_before_mail(*stage),
        Err(Failure::Said(stage, reply)) => is_before_mail(*stage) || (*stage == Stage::Mail && reply.code == 421),
        Ok(_) | Err(Failure::Unclear(_) | Failure::Unfit(_)) => false,
    }
}

fn is_before_mail(stage: Stage) -> bool {
    matches!(stage, Stage::Connect | Stage::Hello | Stage::StartTls | Stage::Auth)
}

/// What it means that there is nowhere to go with a mail that is tried for the `attempt`th time.
pub fn nowhere(nowhere: &Nowhere, attempt: u32) -> Outcome {
    let (reason, status, rule) = match nowhere {
        Nowhere::NullMx(_) => (Reason::NoMailHost, "5.1.10", "deliver.null_mx"),
        Nowhere::NoSuchDomain(_) => (Reason::DomainUnknown, "5.1.2", "deliver.no_such_domain"),
        Nowhere::NoHost(_) => (Reason::NoMailHost, "5.4.4", "deliver.no_host"),
        Nowhere::NotPublic(_) => (Reason::Security, "5.4.4", "deliver.not_public"),
        Nowhere::Loop(_) => (Reason::RoutingLoop, "5.4.6", "deliver.loop"),
        Nowhere::Dns { .. } => (Reason::NetworkError, "4.4.3", "deliver.dns"),
    };
    let cause = own(reason, status, &nowhere.to_string(), rule);
    match nowhere {
        Nowhere::Dns { .. } => Outcome::Deferred { cause, wait: None },
        Nowhere::NoSuchDomain(_) | Nowhere::NoHost(_) if attempt <= 1 => {
            let cause = Cause { status: Some(status.replacen('5', "4", 1)), ..cause };
            Outcome::Deferred { cause, wait: Some(SECOND_LOOK) }
        }
        _ => Outcome::Refused { cause: Cause { class: reason.class(), ..cause } },
    }
}

/// What it means that each host of the way rests, the first of them for this long yet.
pub fn resting(rest: Duration) -> Outcome {
    let text = format!("no host of its way answers; the next try is in {} s", rest.as_secs());
    Outcome::Deferred { cause: own(Reason::NetworkError, "4.4.1", &text, "deliver.resting"), wait: Some(rest) }
}

/// What a conversation came to.
pub fn outcome(ended: &Result<Reply, Failure>, rules: &Rules) -> Outcome {
    match ended {
        Ok(reply) => Outcome::Delivered { reply: escaped(&reply.in_one_line(), TEXT_BYTES_MAX), next_hop_tells: false },
        Err(Failure::Said(stage, reply)) => said(*stage, reply, rules),
        Err(Failure::Broke(stage, fault)) => {
            let (reason, status) = meaning(*stage, fault);
            deferred(reason, status, &format!("{}: {fault}", word(*stage)), fault_rule(fault))
        }
        Err(Failure::Unclear(fault)) => {
            let text = format!("after the final dot: {fault}; the mail may have been taken, and will be sent again");
            deferred(Reason::NetworkError, "4.4.2", &text, "deliver.unclear")
        }
        Err(Failure::Unfit(unfit)) => refused(*unfit),
    }
}

fn said(stage: Stage, reply: &Reply, rules: &Rules) -> Outcome {
    let text = reply.in_one_line();
    let cause = rules.judge(Some(reply.code), &text, stage);
    let is_about_the_mail = matches!(stage, Stage::Mail | Stage::Rcpt | Stage::Data);
    let is_about_us = stage == Stage::Mail && reply.code == AUTHENTICATION_REQUIRED;
    match reply.code / 100 {
        5 if is_about_the_mail && !is_about_us => Outcome::Refused { cause },
        4 | 5 => Outcome::Deferred { cause: Cause { class: Class::Soft, ..cause }, wait: wished_wait(&text) },
        _ => deferred(Reason::ProtocolError, "4.5.0", &format!("{}: {text}", word(stage)), "deliver.out_of_step"),
    }
}

fn refused(unfit: Unfit) -> Outcome {
    let (reason, status, text) = match unfit {
        Unfit::TooLarge { limit } => {
            (Reason::MessageTooLarge, "5.3.4", format!("the host takes mails of at most {limit} bytes"))
        }
        Unfit::EightBit => {
            (Reason::ContentError, "5.6.3", "the host takes ASCII only, and the mail cannot be written in it".into())
        }
        Unfit::NonAsciiAddress => {
            (Reason::ProtocolError, "5.6.7", "the host does not offer SMTPUTF8, and the address is not ASCII".into())
        }
        Unfit::TlsNotPromised => (
            Reason::TlsFailed,
            "5.7.30",
            "the mail requires TLS on every leg, and the host does not offer REQUIRETLS or does not prove who it is"
                .into(),
        ),
    };
    Outcome::Refused { cause: own(reason, status, &text, "deliver.unfit") }
}

fn deferred(reason: Reason, status: &str, text: &str, rule: &str) -> Outcome {
    Outcome::Deferred { cause: own(reason, status, text, rule), wait: None }
}

/// A cause that we found ourselves.
pub fn own(reason: Reason, status: &str, text: &str, rule: &str) -> Cause {
    Cause {
        reason,
        class: Class::Soft,
        code: None,
        status: Some(status.to_owned()),
        diagnostic: escaped(text, TEXT_BYTES_MAX),
        rule: rule.to_owned(),
    }
}

fn meaning(stage: Stage, fault: &Fault) -> (Reason, &'static str) {
    match fault {
        Fault::Closed | Fault::Network(_) | Fault::TimedOut(_) if stage == Stage::Connect => {
            (Reason::NetworkError, "4.4.1")
        }
        Fault::Closed | Fault::Network(_) | Fault::TimedOut(_) => (Reason::NetworkError, "4.4.2"),
        Fault::Dns { .. } => (Reason::NetworkError, "4.4.3"),
        Fault::BadReply(_) | Fault::OutOfStep => (Reason::ProtocolError, "4.5.0"),
        Fault::Tls(_) => (Reason::TlsFailed, "4.7.5"),
        Fault::NotPublic => (Reason::Security, "4.4.4"),
        Fault::Unwilling(_) => (Reason::Security, "4.7.0"),
    }
}

fn fault_rule(fault: &Fault) -> &'static str {
    match fault {
        Fault::Closed | Fault::Network(_) => "deliver.network",
        Fault::TimedOut(_) => "deliver.timeout",
        Fault::Dns { .. } => "deliver.dns",
        Fault::BadReply(_) => "deliver.bad_reply",
        Fault::OutOfStep => "deliver.out_of_step",
        Fault::Tls(_) => "deliver.tls",
        Fault::NotPublic => "deliver.not_public",
        Fault::Unwilling(_) => "deliver.unwilling",
    }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "connect",
        Stage::Hello => "EHLO",
        Stage::StartTls => "STARTTLS",
        Stage::Auth => "AUTH",
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        Stage::Data => "DATA",
        Stage::Report => "report",
    }
}

/// What the end of a conversation says about whether the host takes as much as we send it. A connection that broke after
/// the host had begun to listen says nothing.
pub fn signal(ended: &Result<Reply, Failure>, rules: &Rules) -> Option<Signal> {
    let is_before_mail =
        |stage| matches!(stage, Stage::Connect | Stage::Hello | Stage::StartTls | Stage::Auth | Stage::Report);
    match ended {
        Ok(_) | Err(Failure::Unfit(_)) => Some(Signal::Heard),
        Err(Failure::Said(_, reply)) if asks_for_less(reply, rules) => Some(Signal::Slower),
        Err(Failure::Broke(_, Fault::NotPublic)) => None,
        Err(Failure::Said(stage, _) | Failure::Broke(stage, _)) if is_before_mail(*stage) => Some(Signal::Nobody),
        Err(Failure::Said(..)) => Some(Signal::Heard),
        Err(Failure::Broke(..) | Failure::Unclear(_)) => None,
    }
}

/// 421, 4.7.z, or words for "too many" in a reply that is not final.
fn asks_for_less(reply: &Reply, rules: &Rules) -> bool {
    let text = reply.in_one_line();
    let cause = rules.judge(Some(reply.code), &text, Stage::Rcpt);
    let is_about_trust = cause.status.is_some_and(|status| status.starts_with("4.7."));
    let is_greylisting = cause.reason == Reason::Greylisted;
    reply.code == 421
        || reply.code / 100 == 4
            && !is_greylisting
            && (is_about_trust
                || matches!(cause.reason, Reason::RateLimited | Reason::IpBlocked | Reason::BadReputation))
}

/// What an outcome makes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consequence {
    /// What becomes of it.
    pub next: Next,
    /// Why, unless it was delivered.
    pub reason: Option<Reason>,
    /// What to tell, if anything.
    pub event: Option<Event>,
    /// What it means for the address.
    pub bearing: Bearing,
}

/// What `outcome` makes of `delivery` at `now`; the event gets the name `event`, and `schedule` has the waits.
pub fn consequence(
    delivery: &Delivery,
    outcome: &Outcome,
    policy: &Policy,
    now: Timestamp,
    event: EventId,
    schedule: &[Duration],
) -> Consequence {
    let (next, told) = delivery::after(delivery, outcome, now, schedule);
    let reason = cause(outcome).map(|cause| cause.reason);
    let Some((kind, detail)) = told else {
        return Consequence { next, reason, event: None, bearing: Bearing::Nothing };
    };
    let bearing = match &detail {
        Detail::Bounced { cause } => policy.bearing(delivery, cause, Naming::Ours, now),
        Detail::Delivered { .. } => Policy::success(delivery, now),
        Detail::Sent
        | Detail::Deferred { .. }
        | Detail::Failed { .. }
        | Detail::Opened { .. }
        | Detail::Clicked { .. }
        | Detail::Complained { .. }
        | Detail::Webhook { .. }
        | Detail::DailyWarning { .. } => Bearing::Nothing,
    };
    Consequence { next, reason, event: Some(delivery.tells(event, kind, detail, now)), bearing }
}

/// Why an attempt did not deliver.
pub fn cause(outcome: &Outcome) -> Option<&Cause> {
    match outcome {
        Outcome::Delivered { .. } | Outcome::HandedOver { .. } => None,
        Outcome::Deferred { cause, .. }
        | Outcome::Refused { cause }
        | Outcome::Unsendable { cause }
        | Outcome::Suppressed { cause } => Some(cause),
    }
}

/// The outcome's word, as attempts and logs have it.
pub fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::HandedOver { .. } => "handed_over",
        Outcome::Deferred { .. } => "deferred",
        Outcome::Refused { .. } => "refused",
        Outcome::Unsendable { .. } => "unsendable",
        Outcome::Suppressed { .. } => "suppressed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::encryption::Flaw;
    use crate::deliver::reply::BadReply;
    use crate::dns::DnsError;
    use crate::model::tls_session::ResultType;

    fn check(ended: Result<Reply, Failure>, word: &str, reason: Option<Reason>) {
        let outcome = outcome(&ended, &Rules::default());
        let told = (outcome_word(&outcome), cause(&outcome).map(|cause| cause.reason));
        assert_eq!(told, (word, reason), "{ended:?}");
        if let Outcome::Deferred { cause, .. } = &outcome {
            assert_eq!(cause.class, Class::Soft, "{ended:?}");
        }
    }

    fn reply(text: &str) -> Reply {
        Reply { code: text[..3].parse().unwrap(), text: text.into() }
    }

    fn said(stage: Stage, text: &str, word: &str, reason: Reason) {
        check(Err(Failure::Said(stage, reply(text))), word, Some(reason));
    }

    fn flaw() -> Flaw {
        Flaw::new(ResultType::ValidationFailure, "", "no")
    }

    fn broke(stage: Stage, fault: Fault, reason: Reason) {
        check(Err(Failure::Broke(stage, fault)), "deferred", Some(reason));
    }

    #[test]
    fn what_replies_mean() {
        check(Ok(reply("250 2.0.0 queued")), "delivered", None);
        for stage in [Stage::Rcpt, Stage::Data] {
            said(stage, "550 5.1.1 no such user", "refused", Reason::UserUnknown);
            said(stage, "452 4.2.2 mailbox full", "deferred", Reason::MailboxFull);
        }
        // Nobody has been named yet but the sender.
        said(Stage::Mail, "550 5.1.1 no such user", "refused", Reason::SenderRejected);
        for stage in [Stage::Connect, Stage::Hello, Stage::StartTls, Stage::Auth] {
            let ended = Err(Failure::Said(stage, reply("554 5.7.1 not you")));
            assert_eq!(
                outcome_word(&outcome(&ended, &Rules::default())),
                "deferred",
                "{stage:?}: nothing was said about this mail"
            );
        }
        let unauthenticated = Err(Failure::Said(Stage::Mail, reply("530 5.7.0 who are you?")));
        assert_eq!(outcome_word(&outcome(&unauthenticated, &Rules::default())), "deferred");
        said(Stage::Rcpt, "354 what?", "deferred", Reason::ProtocolError);
    }

    #[test]
    fn what_a_host_says_about_how_much_it_takes() {
        let signal = |ended: &Result<Reply, Failure>| signal(ended, &Rules::default());
        let said = |stage, text: &str| signal(&Err(Failure::Said(stage, reply(text))));
        assert_eq!(signal(&Ok(reply("250 ok"))), Some(Signal::Heard));
        assert_eq!(said(Stage::Rcpt, "550 5.1.1 no such user"), Some(Signal::Heard));
        assert_eq!(said(Stage::Rcpt, "452 4.2.2 mailbox full"), Some(Signal::Heard));
        assert_eq!(said(Stage::Rcpt, "450 4.7.1 greylisted, try again later"), Some(Signal::Heard));
        assert_eq!(said(Stage::Connect, "421 4.3.2 too many connections"), Some(Signal::Slower));
        assert_eq!(said(Stage::Data, "421 4.7.0 [TSS04] Messages temporarily deferred"), Some(Signal::Slower));
        assert_eq!(said(Stage::Rcpt, "450 4.7.28 unusual rate of mail"), Some(Signal::Slower));
        assert_eq!(said(Stage::Connect, "554 5.7.1 go away"), Some(Signal::Nobody));
        assert_eq!(signal(&Err(Failure::Broke(Stage::Connect, Fault::TimedOut(30)))), Some(Signal::Nobody));
        assert_eq!(signal(&Err(Failure::Broke(Stage::Rcpt, Fault::Closed))), None);
        assert_eq!(signal(&Err(Failure::Unclear(Fault::Closed))), None);
    }

    #[test]
    fn what_faults_mean() {
        broke(Stage::Connect, Fault::Network("refused".into()), Reason::NetworkError);
        broke(Stage::Rcpt, Fault::Closed, Reason::NetworkError);
        broke(Stage::Connect, Fault::Dns { host: "mx.test".into(), why: DnsError::NoSuchName }, Reason::NetworkError);
        broke(Stage::Hello, Fault::BadReply(BadReply::MixedCodes), Reason::ProtocolError);
        broke(Stage::StartTls, Fault::Tls(flaw()), Reason::TlsFailed);
        broke(Stage::Auth, Fault::Unwilling("no"), Reason::Security);
        broke(Stage::Connect, Fault::NotPublic, Reason::Security);
        check(Err(Failure::Unclear(Fault::TimedOut(600))), "deferred", Some(Reason::NetworkError));
        let unfit = |unfit, reason| check(Err(Failure::Unfit(unfit)), "refused", Some(reason));
        unfit(Unfit::TooLarge { limit: 10 }, Reason::MessageTooLarge);
        unfit(Unfit::EightBit, Reason::ContentError);
        unfit(Unfit::NonAsciiAddress, Reason::ProtocolError);
        unfit(Unfit::TlsNotPromised, Reason::TlsFailed);
    }

    #[test]
    fn what_it_means_that_there_is_nowhere_to_go() {
        let check = |to: fn(String) -> Nowhere, words: [&str; 2], class| {
            for (attempt, word) in [1, 2].into_iter().zip(words) {
                let outcome = nowhere(&to("d.example".into()), attempt);
                assert_eq!(outcome_word(&outcome), word, "{outcome:?}");
            }
            let refused = nowhere(&to("d.example".into()), 2);
            assert_eq!(cause(&refused).map(|cause| cause.class), Some(class), "{refused:?}");
        };
        check(Nowhere::NullMx, ["refused", "refused"], Class::Hard);
        check(Nowhere::NoSuchDomain, ["deferred", "refused"], Class::Hard);
        check(Nowhere::NoHost, ["deferred", "refused"], Class::Hard);
        check(Nowhere::Loop, ["refused", "refused"], Class::Soft);
        check(Nowhere::NotPublic, ["refused", "refused"], Class::Soft);
        check(|domain| Nowhere::Dns { domain, why: DnsError::Timeout }, ["deferred", "deferred"], Class::Soft);
    }

    #[test]
    fn whose_fault_it_was() {
        let check = |ended, expected| assert_eq!(is_about_the_host(&ended), expected, "{ended:?}");
        check(Err(Failure::Broke(Stage::Connect, Fault::Closed)), true);
        check(Err(Failure::Broke(Stage::StartTls, Fault::Tls(flaw()))), true);
        check(Err(Failure::Said(Stage::Auth, reply("535 5.7.8 no"))), true);
        check(Err(Failure::Said(Stage::Mail, reply("421 4.3.2 going down"))), true);
        check(Err(Failure::Said(Stage::Mail, reply("450 4.1.8 not now"))), false);
        check(Err(Failure::Broke(Stage::Rcpt, Fault::Closed)), false);
        check(Err(Failure::Unclear(Fault::Closed)), false);
        check(Ok(reply("250 ok")), false);
    }

    #[test]
    fn a_wish_is_passed_on_and_words_are_escaped() {
        let outcome = |ended| outcome(&ended, &Rules::default());
        let wished = outcome(Err(Failure::Said(Stage::Rcpt, reply("450 4.7.1 try again in 300 seconds"))));
        assert!(matches!(wished, Outcome::Deferred { wait: Some(wait), .. } if wait.as_secs() == 300));
        let hostile = outcome(Ok(reply(&format!("250 \u{1b}[2J{}", "x".repeat(5000)))));
        let Outcome::Delivered { reply, .. } = hostile else { panic!("{hostile:?}") };
        assert!(reply.starts_with("250 \\u{1b}[2Jx") && reply.len() <= TEXT_BYTES_MAX);
    }
}
