//! A smarthost whose report is what counts: mail waits for it after the 250, and no longer than is set. On both engines,
//! with the true worker and a scripted host.

use std::time::Duration;

use bytes::Bytes;
use postback::deliver::Settings;
use postback::deliver::settings::{DeliveredOn, Smarthost};
use postback::intake::Intake;
use postback::intake::report::ReportTo;
use postback::mail::rules::Rules;
use postback::model::delivery::State;
use postback::model::event::{Detail, EventKind};
use postback::model::id::{DeliveryId, MessageId};
use postback::model::queue::QueueFilter;
use postback::model::suppression::Scope;

use super::{KIM, Returned, STRANGER, dsn, start, unknown};
use crate::delivery::{AWHILE, House};
use crate::exchanger::Script;
use crate::support::engines::{Engine, on_both_engines};

const DAY: Duration = Duration::from_secs(86_400);

async fn house(engine: &Engine, offers: &[&'static str]) -> (House, Intake) {
    let house = House::build(engine, 0, Script::offering(offers)).await;
    let intake = start(&house, house.ring.clone(), Rules::default());
    (house, intake)
}

/// A mail that the host took, by what it wants to be told of it.
async fn taken(house: &House, state: State) -> (MessageId, String) {
    let smarthost = Smarthost { delivered: DeliveredOn::OnDsn, ..house.settings().smarthost };
    let worker = house.start_on(&house.store, &Settings { smarthost, ..house.settings() }).await;
    let message = house.accept(&[KIM]).await;
    house.until(message, |view| view.delivery.state == state).await;
    worker.drain(AWHILE).await;
    (message, house.exchanger.next().await.rcpt)
}

async fn home(intake: &Intake, message: MessageId, mail: &str) {
    let to = ReportTo::Delivery(DeliveryId { message, recipient: 0 });
    intake.report(&to, STRANGER, Bytes::from(mail.to_owned())).await.unwrap();
}

async fn state(house: &House, message: MessageId) -> State {
    house.store.deliveries(message).await.unwrap().remove(0).delivery.state
}

on_both_engines! {
    async fn what_was_handed_over_is_delivered_by_its_report(engine: &Engine) {
        let (house, intake) = house(engine, &["PIPELINING", "DSN"]).await;
        let none = Returned::default();
        let done = dsn(&[(KIM, "delivered", "2.0.0", "250 2.0.0 done")], &none);
        let relayed = dsn(&[(KIM, "relayed", "2.0.0", "250 2.0.0 there is no DSN from here on")], &none);
        let late = dsn(&[(KIM, "delayed", "4.4.1", "connection timed out")], &none);
        for (report, ends, told) in [
            (done, State::Delivered, vec![EventKind::Delivered]),
            (relayed, State::Delivered, vec![EventKind::Delivered]),
            (late, State::HandedOver, vec![EventKind::Deferred, EventKind::Delayed]),
            (unknown(KIM, &none), State::Bounced, vec![EventKind::HardBounced]),
        ] {
            let (message, rcpt) = taken(&house, State::HandedOver).await;
            assert_eq!(rcpt, format!("RCPT TO:<{KIM}> NOTIFY=SUCCESS,FAILURE,DELAY"));
            assert_eq!(house.kinds(message).await, [], "the 250 alone says nothing yet");
            let attempts = house.store.attempts(DeliveryId { message, recipient: 0 }).await.unwrap();
            assert_eq!(attempts[0].1.outcome, "handed_over");
            home(&intake, message, &report).await;
            assert_eq!(state(&house, message).await, ends);
            let kinds = house.kinds(message).await;
            assert!(kinds.len() == told.len() && told.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
            // Twice changes nothing.
            home(&intake, message, &report).await;
            assert_eq!(house.kinds(message).await.len(), told.len());
            house.store.remove_suppressions(Scope::Agent(house.tenant, house.agent), &[KIM.parse().unwrap()], "test").await.unwrap();
        }
    }

    async fn a_report_is_waited_for_no_longer_than_is_set(engine: &Engine) {
        let (house, intake) = house(engine, &["DSN"]).await;
        let (message, _) = taken(&house, State::HandedOver).await;
        // It has left: nobody tries it again, and nobody can cancel it.
        assert_eq!(house.store.cancel(QueueFilter::all_of(Scope::Installation), |_| None).await.unwrap(), 0);
        house.clock.advance(DAY * 5 - DAY / 24);
        assert_eq!((intake.end_waits().await.unwrap(), house.store.lease_deliveries(10).await.unwrap().len()), (0, 0));
        house.clock.advance(DAY / 24);
        assert_eq!(intake.end_waits().await.unwrap(), 1);
        assert_eq!((state(&house, message).await, intake.end_waits().await.unwrap()), (State::Delivered, 0));
        let events = house.store.events(DeliveryId { message, recipient: 0 }).await.unwrap();
        let told: Vec<&Detail> = events.iter().filter(|event| event.kind == EventKind::Delivered).map(|event| &event.detail).collect();
        let [Detail::Delivered { reply, has_arrived: false, .. }] = told.as_slice() else { panic!("{told:?}") };
        assert!(reply.contains("sent no report"), "{reply}");
        // What comes too late for that still turns it.
        house.clock.advance(DAY);
        home(&intake, message, &unknown(KIM, &Returned::default())).await;
        assert_eq!(state(&house, message).await, State::Bounced);
        assert_eq!(house.kinds(message).await, [EventKind::Delivered, EventKind::HardBounced]);
    }

    async fn who_does_not_report_is_taken_at_its_word(engine: &Engine) {
        let (house, _) = house(engine, &["PIPELINING"]).await;
        let (message, rcpt) = taken(&house, State::Delivered).await;
        assert_eq!((rcpt, house.kinds(message).await), (format!("RCPT TO:<{KIM}>"), vec![EventKind::Delivered]));
    }
}
