//! Whose delivery a report is about, where it came to and whatever it tells. On both engines, without doors.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use postback::intake::report::{Origin, ReportTo};
use postback::model::event::EventKind;
use postback::model::reason::Reason;
use postback::model::token::{Reference, Sealer};
use postback::store::reports::{Effect, KeptReport};

use super::{House, KIM, Returned, STRANGER, arf, unknown};
use crate::support::engines::on_both_engines;

const HOUR: Duration = Duration::from_secs(3600);
/// A provider whose feedback loop is believed.
const LOOP: Origin<'_> = Origin { sender: None, client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)) };

on_both_engines! {
    async fn complaints_find_their_delivery(engine: &Engine) {
        let house = House::build(engine).await;
        let own = "order-7@acme.example";
        let date = house.node.clock.now().rfc5322();
        let angry = async |mail: &dyn Fn(&str, &str) -> String, reference: &str, expected: Option<Reason>| {
            let id = house.accept(&[KIM], reference).await[0];
            house.deliver().await;
            let mail = mail(&house.sealed(id), &house.reference(id).await);
            let kept = house.report(&ReportTo::Complaints, &mail).await;
            assert_eq!(kept.delivery, Some(id), "{mail}");
            assert_eq!(house.suppressed(KIM).await, expected, "{mail}");
            assert_eq!(house.told(id).await.contains(&EventKind::Complained), expected.is_some(), "{mail}");
            house.forgive(KIM).await;
        };
        let spam = Some(Reason::Complaint);
        let with_seal = |sealed: &str, _: &str| arf("abuse", "", &Returned { reference: sealed, ..Default::default() });
        angry(&with_seal, "", spam).await;
        let redacted = |_: &str, id: &str| arf("abuse", "", &Returned { message_id: id, to: "redacted@there.example", ..Default::default() });
        angry(&redacted, "", spam).await;
        let dated = |_: &str, id: &str| arf("abuse", KIM, &Returned { message_id: id, date: &date, ..Default::default() });
        angry(&dated, own, spam).await;
        let leaves = |sealed: &str, _: &str| arf("opt-out", "", &Returned { reference: sealed, ..Default::default() });
        angry(&leaves, "", Some(Reason::Unsubscribed)).await;
        for kind in ["not-spam", "fraud", "virus", "auth-failure"] {
            let harmless = |sealed: &str, _: &str| arf(kind, "", &Returned { reference: sealed, ..Default::default() });
            angry(&harmless, "", None).await;
        }
    }

    async fn a_complaint_by_address_alone_is_believed_of_some(engine: &Engine) {
        let house = House::build(engine).await;
        let to = ReportTo::Complaints;
        house.delivered(&[KIM]).await;
        house.node.clock.advance(HOUR);
        let latest = house.delivered(&[KIM, "pat@there.example"]).await[0];
        house.node.clock.advance(HOUR);
        house.accept(&[KIM], "").await;
        let alone = arf("abuse", "KIM@There.example", &Returned::default());
        let kept = house.report(&to, &alone).await;
        assert_eq!((kept.delivery, kept.is_open, house.suppressed(KIM).await), (None, true, None));
        assert!(kept.outcome.contains("reports.complaint_sources"), "{}", kept.outcome);
        // What has not left yet cannot be complained of.
        let kept = house.report_from(LOOP, &to, &alone).await;
        assert_eq!((kept.delivery, kept.effect, kept.is_open), (Some(latest), Effect::Complained, false));
        assert_eq!(house.suppressed(KIM).await, Some(Reason::Complaint));
        assert_eq!(house.told(latest).await, [EventKind::Sent, EventKind::Complained]);
        // Judged again, it is about the same delivery, whatever came after it.
        house.node.clock.advance(HOUR);
        house.forgive(KIM).await;
        house.delivered(&[KIM]).await;
        while house.node.store.index_messages().await.unwrap() > 0 {}
        assert!(house.intake.replay_report(kept.id, true).await.unwrap().is_none());
        // A blanked address leads nowhere, and no bounce is believed so.
        for mail in [arf("abuse", "redacted@there.example", &Returned::default()), unknown(KIM, &Returned::default())] {
            let kept = house.report_from(LOOP, &to, &mail).await;
            assert_eq!((kept.delivery, kept.effect, kept.is_open), (None, Effect::Nothing, true), "{mail}");
        }
        assert_eq!(house.suppressed(KIM).await, None);
        // Without fields, the recipient of what is returned is taken for who complains.
        let kept = house.report_from(LOOP, &to, &arf("abuse", "", &Returned { to: KIM, ..Default::default() })).await;
        assert_eq!(kept.effect, Effect::Complained);
    }

    async fn a_complaint_of_several_is_about_each_that_is_proven(engine: &Engine) {
        let house = House::build(engine).await;
        let (to, pat, lou) = (ReportTo::Complaints, "pat@there.example", "lou@there.example");
        let ids = house.delivered(&[KIM, pat, "sam@there.example"]).await;
        let id = house.reference(ids[0]).await;
        let named = format!("{KIM}\r\nOriginal-Rcpt-To: {pat}\r\nOriginal-Rcpt-To: gone@there.example");
        let by_id = arf("abuse", &named, &Returned { message_id: &id, ..Returned::default() });
        let check = async |kept: KeptReport, expected: [bool; 3]| {
            let of = async |address: &str| house.suppressed(address).await == Some(Reason::Complaint);
            let mut seen = [of(KIM).await, of(pat).await, of("sam@there.example").await];
            assert_eq!(seen, expected, "{}", kept.outcome);
            for (seen, id) in seen.iter_mut().zip(&ids) {
                *seen = house.told(*id).await.contains(&EventKind::Complained);
            }
            assert_eq!(seen, expected, "{}", kept.outcome);
        };
        check(house.report(&to, &by_id).await, [false, false, false]).await;
        // What is sealed proves one; the others are the word of whoever handed it in.
        check(house.home(ids[0], &arf("abuse", &named, &Returned::default())).await, [true, false, false]).await;
        let kept = house.report_from(LOOP, &to, &by_id).await;
        assert_eq!((kept.delivery, kept.outcome.as_str()), (Some(ids[0]), "complained: complaint; so did pat@there.example"));
        check(kept.clone(), [true, true, false]).await;
        assert!(house.intake.replay_report(kept.id, true).await.unwrap().is_none());
        // By their addresses alone: the latest to each.
        let other = house.delivered(&[lou]).await[0];
        let alone = arf("abuse", &format!("nobody@there.example\r\nOriginal-Rcpt-To: {lou}\r\nOriginal-Rcpt-To: sam@there.example"), &Returned::default());
        let kept = house.report_from(LOOP, &to, &alone).await;
        assert_eq!((kept.delivery, house.suppressed(lou).await), (Some(other), Some(Reason::Complaint)));
        check(kept, [true, true, true]).await;
    }

    async fn a_complaint_about_somebody_elses_mail_changes_nothing(engine: &Engine) {
        let house = House::build(engine).await;
        house.delivered(&[KIM]).await;
        let alone = arf("abuse", KIM, &Returned::default());
        let foreign = arf("abuse", KIM, &Returned { message_id: "1@elsewhere.example", ..Returned::default() });
        let of_another = alone.replace("Version: 1", "Version: 1\r\nReported-Domain: elsewhere.example");
        for mail in [foreign, of_another] {
            let kept = house.report_from(LOOP, &ReportTo::Complaints, &mail).await;
            assert_eq!((kept.delivery, kept.effect, kept.is_open), (None, Effect::Nothing, true), "{mail}");
        }
        assert_eq!(house.suppressed(KIM).await, None);
        for domain in ["mail.acme.example", "ACME.example", "bounces.acme.example"] {
            let mail = alone.replace("Version: 1", &format!("Version: 1\r\nReported-Domain: {domain}"));
            let kept = house.report_from(LOOP, &ReportTo::Complaints, &mail).await;
            assert_eq!(kept.effect, Effect::Complained, "{domain}");
        }
    }

    async fn of_several_agents_a_complaint_is_about_the_one_that_it_names(engine: &Engine) {
        let house = House::build(engine).await;
        let shop = house.delivered(&[KIM]).await[0];
        let other = house.delivered_by_another(&[KIM], "a@mail.bank.example").await[0];
        while house.node.store.index_messages().await.unwrap() > 0 {}
        let alone = arf("abuse", KIM, &Returned::default());
        let kept = house.report_from(LOOP, &ReportTo::Complaints, &alone).await;
        assert_eq!((kept.delivery, kept.effect, kept.is_open), (None, Effect::Nothing, true));
        for (domain, expected) in [("bank.example", other), ("acme.example", shop)] {
            let mail = alone.replace("Version: 1", &format!("Version: 1\r\nReported-Domain: {domain}"));
            let kept = house.report_from(LOOP, &ReportTo::Complaints, &mail).await;
            assert_eq!((kept.delivery, kept.effect), (Some(expected), Effect::Complained), "{domain}");
        }
    }

    async fn what_a_report_says_is_asked_in_order(engine: &Engine) {
        let house = House::build(engine).await;
        let ids = house.delivered(&[KIM, "pat@there.example"]).await;
        let other = house.delivered(&["lou@there.example"]).await[0];
        let (id, other_id) = (house.reference(ids[0]).await, house.reference(other).await);
        let (kim, pat) = (house.sealed(ids[0]), house.sealed(ids[1]));
        let of = |reference, message_id| Returned { reference, message_id, ..Returned::default() };
        let (hits, open) = ((Effect::Complained, false), (Effect::Nothing, true));
        let complaints = ReportTo::Complaints;
        for (from, to, mail, about, expected) in [
            // The return path decides, and what is sealed for another contradicts it.
            (STRANGER, ReportTo::Delivery(ids[0]), arf("abuse", "x@y.example", &of("", "")), Some(ids[0]), hits),
            (STRANGER, ReportTo::Delivery(ids[0]), arf("abuse", KIM, &of(&pat, "")), Some(ids[0]), open),
            // Then the recipient, of those to whom the Message-ID leads.
            (LOOP, complaints.clone(), arf("abuse", "pat@there.example", &of("", &id)), Some(ids[1]), hits),
            (STRANGER, complaints.clone(), arf("abuse", "pat@there.example", &of("", &id)), Some(ids[1]), open),
            (LOOP, complaints.clone(), arf("abuse", "gone@there.example", &of("", &id)), None, open),
            // The header of a mail says the same to all who got it: nobody tells which of them complains.
            (LOOP, complaints.clone(), arf("abuse", "", &Returned { to: KIM, ..of("", &id) }), None, open),
            // Then the Message-ID, where it leads to one.
            (STRANGER, complaints.clone(), arf("abuse", "", &of("", &other_id)), Some(other), hits),
            // Then our own header: alone, for a blanked address, and against the others.
            (STRANGER, complaints.clone(), arf("abuse", "", &of(&kim, "")), Some(ids[0]), hits),
            (STRANGER, complaints.clone(), arf("abuse", "xxx@there.example", &of(&kim, &id)), Some(ids[0]), hits),
            (STRANGER, complaints.clone(), arf("abuse", "pat@there.example", &of(&kim, &id)), Some(ids[0]), open),
            (STRANGER, complaints.clone(), arf("abuse", "", &of(&kim, &other_id)), Some(ids[0]), open),
        ] {
            let kept = house.report_from(from, &to, &mail).await;
            assert_eq!((kept.delivery, (kept.effect, kept.is_open)), (about, expected), "{to:?} {mail}");
        }
    }

    async fn what_is_sealed_is_found_wherever_it_is_kept(engine: &Engine) {
        let house = House::build(engine).await;
        let check = async |mail: &dyn Fn(&str) -> String| {
            let id = house.delivered(&[KIM]).await[0];
            let mail = mail(&house.sealed(id));
            let kept = house.report(&ReportTo::Complaints, &mail).await;
            assert_eq!((kept.delivery, kept.effect), (Some(id), Effect::Complained), "{mail}");
        };
        let blanked = arf("abuse", "", &Returned::default());
        check(&|sealed| {
            let field = format!("Version: 1\r\nOriginal-Mail-From: <{sealed}@bounces.acme.example>");
            blanked.replace("Version: 1", &field)
        })
        .await;
        check(&|sealed| {
            let field = format!(
                "Received: from mta (mta [192.0.2.1])\r\n (envelope-from <{}@BOUNCES.ACME.EXAMPLE>)\r\n\tby mx\r\nSubject: hello",
                sealed.to_uppercase()
            );
            blanked.replace("Subject: hello", &field)
        })
        .await;
        let id = house.delivered(&[KIM]).await[0];
        let sealer = Sealer::new(&house.ring, house.ring.newest().unwrap(), "track.acme.example").unwrap();
        let link = format!("https://track.acme.example/u/{}", sealer.seal(id, &Reference::Unsubscribe));
        let field = format!("List-Unsubscribe: <{link}>,\r\n <mailto:x@acme.example>\r\nSubject: hello");
        let kept = house.report(&ReportTo::Complaints, &blanked.replace("Subject: hello", &field)).await;
        assert_eq!((kept.delivery, kept.effect), (Some(id), Effect::Complained));
        // A link that is passed on to friends proves nothing, wherever it stands.
        let followed = Reference::Click { link: 0, target: "https://acme.example/".to_owned() };
        let passed_on = format!("https://track.acme.example/u/{}", sealer.seal(id, &followed));
        let kept = house.report(&ReportTo::Complaints, &blanked.replace("Subject: hello", &field.replace(&link, &passed_on))).await;
        assert_eq!((kept.delivery, kept.effect), (None, Effect::Nothing));
        let forged = field.replace("/u/", "/u/A");
        let kept = house.report(&ReportTo::Complaints, &blanked.replace("Subject: hello", &forged)).await;
        assert_eq!((kept.delivery, kept.effect), (None, Effect::Nothing));
    }
}
