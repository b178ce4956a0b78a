//! Events as they are fetched: whoever goes on after the last one it saw misses none, however late one is written.

use postback::store::listed::EventQuery;
use sqlx::PgConnection;

use super::*;

/// Longer than an event waits to be listed.
const AWHILE: Duration = Duration::from_secs(6);

impl House {
    /// All that is listed behind an event.
    async fn listed(&self, after: Option<EventId>) -> Vec<Event> {
        let wanted = EventQuery {
            tenant: self.tenant,
            after,
            since: None,
            until: self.store.known_until().await.unwrap(),
            kinds: EventKind::ALL.into_iter().collect(),
            message: None,
            limit: 100,
        };
        self.store.events_listed(&wanted).await.unwrap().into_iter().map(|(event, _)| event).collect()
    }

    /// What is listed behind an event a while later.
    async fn listed_later(&self, after: EventId) -> Vec<EventId> {
        self.clock.advance(AWHILE);
        self.listed(Some(after)).await.into_iter().map(|event| event.id).collect()
    }

    fn scanner_after_all(&self, hit: &RecordedHit) -> (EventId, HitBatch) {
        let told_as = EventId::from_uuid(self.ids.uuid(self.clock.now()));
        let key = HitKey { delivery: hit.hit.delivery, kind: hit.hit.kind, link: hit.hit.link, at: hit.hit.at };
        let verdict = Verdict { verdict: Who::Scanner, ..Verdict::default() };
        let rejudged = vec![Rejudged { hit: key, verdict, told_as }];
        (told_as, HitBatch { rejudged, ..self.batch(vec![]) })
    }
}

on_both_engines! {
    async fn what_is_written_long_after_its_id_was_drawn_is_listed_behind_what_was_written_before(engine: &Engine) {
        let house = House::build(engine).await;
        let delivery = house.delivered().await;
        let late = house.hit(delivery, HitKind::Open, 0, Who::Person);
        house.clock.advance(Duration::from_secs(600));
        let prompt = house.hit(delivery, HitKind::Click, 1, Who::Person);
        house.store.record_hits(house.batch(vec![prompt.clone()])).await.unwrap();
        house.clock.advance(AWHILE);
        assert_eq!(house.listed(None).await.last().unwrap().id, prompt.id);
        house.store.record_hits(house.batch(vec![late.clone()])).await.unwrap();
        assert_eq!(house.listed(Some(prompt.id)).await, []);
        assert_eq!(house.listed_later(prompt.id).await, [late.id]);
        assert_eq!(house.listed(Some(late.id)).await, []);
    }

    async fn who_fetches_hears_of_a_first_that_was_a_scanners_and_of_the_next_in_line(engine: &Engine) {
        let house = House::build(engine).await;
        let delivery = house.delivered().await;
        let first = house.hit(delivery, HitKind::Click, 1, Who::Person);
        house.clock.advance(Duration::from_millis(1));
        let second = house.hit(delivery, HitKind::Click, 1, Who::Person);
        let other = house.hit(delivery, HitKind::Click, 2, Who::Person);
        house.store.record_hits(house.batch(vec![first.clone(), second.clone(), other.clone()])).await.unwrap();
        house.clock.advance(AWHILE);
        let seen: Vec<EventId> = house.listed(None).await.into_iter().map(|event| event.id).collect();
        assert!(seen.contains(&first.id) && !seen.contains(&second.id), "nobody asked for every hit");
        let (told_as, batch) = house.scanner_after_all(&first);
        house.store.record_hits(batch).await.unwrap();
        assert_eq!(house.listed_later(*seen.last().unwrap()).await, [second.id, told_as]);
        assert_eq!(house.kinds(delivery).await.last(), Some(&EventKind::ClickReclassified));
    }

    async fn what_webhooks_may_not_hear_of_yet_is_not_listed(engine: &Engine) {
        let house = House::build(engine).await;
        let delivery = house.delivered().await;
        let relay_at = START + Duration::from_secs(30);
        let held = RecordedHit { relay_at, ..house.hit(delivery, HitKind::Open, 0, Who::Person) };
        let spared = RecordedHit { relay_at, ..house.hit(delivery, HitKind::Click, 1, Who::Person) };
        house.store.record_hits(house.batch(vec![held.clone(), spared.clone()])).await.unwrap();
        house.clock.advance(AWHILE);
        let last = house.listed(None).await.last().unwrap().clone();
        assert!(last.id != held.id && last.id != spared.id);
        // Found out before anybody was told of it: told as it is seen now, and of no change.
        house.store.record_hits(house.scanner_after_all(&held).1).await.unwrap();
        assert_eq!(house.listed_later(last.id).await, []);
        house.clock.advance(Duration::from_secs(30));
        let listed = house.listed(Some(last.id)).await;
        assert_eq!(listed.iter().map(|event| event.id).collect::<Vec<_>>(), [held.id, spared.id]);
        assert!(matches!(&listed[0].detail, Detail::Opened { visitor } if visitor.machine.verdict == Who::Scanner));
    }

    async fn a_notice_that_no_mail_stands_behind_is_listed_in_its_place(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook(&[EventKind::Sent]);
        house.store.add_webhook(webhook.clone()).await.unwrap();
        house.delivered().await;
        house.clock.advance(AWHILE);
        let before = house.listed(None).await.last().unwrap().id;
        let until = house.clock.now() + LONG;
        house.store.rotate_secret(house.tenant, webhook.id, Secret::new("fresh"), until).await.unwrap().unwrap();
        house.clock.advance(AWHILE);
        let listed = house.listed(Some(before)).await;
        let [notice] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!(notice.kind, EventKind::SecretRotated);
        assert!(matches!(&notice.detail, Detail::Webhook { webhook: about, .. } if *about == webhook.id));
        assert_eq!(house.listed(Some(notice.id)).await, []);
    }

    async fn who_goes_on_after_an_event_that_was_forgotten_is_told_some_again_and_misses_none(engine: &Engine) {
        let house = House::build(engine).await;
        let delivery = house.delivered().await;
        let late = house.hit(delivery, HitKind::Open, 0, Who::Person);
        house.clock.advance(AWHILE);
        let forgotten = EventId::from_uuid(house.ids.uuid(house.clock.now()));
        house.store.record_hits(house.batch(vec![late.clone()])).await.unwrap();
        assert_eq!(house.listed_later(forgotten).await, [late.id]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_listed_that_a_slow_transaction_may_come_before() {
    let engine = Engine::postgres().await;
    let house = House::build(&engine).await;
    house.delivered().await;
    let options = engine.url().parse::<sqlx::postgres::PgConnectOptions>().unwrap();
    let mut other = PgConnection::connect_with(&options.application_name("postback")).await.unwrap();
    other.execute("begin; select pg_sleep(0.02)").await.unwrap();
    house.clock.advance(Duration::from_millis(5_005));
    for _ in 0..10 {
        assert_eq!(house.listed(None).await, []);
    }
    other.execute("rollback").await.unwrap();
    while house.listed(None).await.is_empty() {
        tokio::task::yield_now().await;
    }
    house.store.close().await;
    other.close().await.unwrap();
    engine.remove().await;
}
