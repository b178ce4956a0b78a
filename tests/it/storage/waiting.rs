//! What waits for a webhook: counted as paused, and let go when it is enabled.

use super::*;

const HALF_A_DAY: Duration = Duration::from_secs(12 * 3600);

on_both_engines! {
    async fn what_failures_put_off_is_let_go_and_what_is_under_way_is_not(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook(&[EventKind::Sent]);
        let other = house.webhook(&[EventKind::Sent]);
        for webhook in [&webhook, &other] {
            house.store.add_webhook(webhook.clone()).await.unwrap();
        }
        // More than one bite.
        let readers: Vec<String> = (0..601).map(|n| format!("reader{n}@example.com")).collect();
        for readers in readers.chunks(100) {
            let readers: Vec<&str> = readers.iter().map(String::as_str).collect();
            house.store.accept(house.plan(&readers)).await.unwrap();
        }
        let mut owed = house.store.lease_dispatches(Lane::Fresh, 2000, vec![]).await.unwrap();
        assert_eq!(owed.len(), 1202);
        let at = owed.iter().position(|owed| owed.id.webhook == webhook.id).unwrap();
        let under_way = owed.remove(at);
        let until = house.clock.now() + HALF_A_DAY;
        let failed = owed.iter().map(|owed| {
            let (store, failure) = (house.store.clone(), failure(&house, owed, until, None));
            tokio::spawn(async move { store.settle_dispatch(failure).await })
        });
        for settled in failed.collect::<Vec<_>>() {
            settled.await.unwrap().unwrap();
        }
        assert_eq!(house.store.hurry_dispatches(webhook.id).await.unwrap(), 600);
        assert_eq!(house.store.hurry_dispatches(webhook.id).await.unwrap(), 0);
        house.switch(webhook.id, Switch::On).await;
        let again = house.store.lease_dispatches(Lane::Retry, 2000, vec![]).await.unwrap();
        assert_eq!(again.len(), 600);
        assert!(again.iter().all(|again| again.id.webhook == webhook.id && again.id != under_way.id));
        let held = house.store.renew_dispatches(vec![(under_way.id, under_way.lease)]).await.unwrap();
        assert_eq!(held, [under_way.id]);
    }

    async fn a_pause_that_the_receiver_asked_for_counts_while_it_lasts(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook(&[EventKind::Sent]);
        house.store.add_webhook(webhook.clone()).await.unwrap();
        house.store.accept(house.plan(&["reader@example.com"])).await.unwrap();
        let paused = async || house.store.queue_counts().await.unwrap().webhooks_paused;
        assert_eq!(paused().await, 0);
        let owed = house.owed().await.remove(0);
        let (wish, until) = (Duration::from_secs(90), house.clock.now() + Duration::from_secs(90));
        house.store.settle_dispatch(failure(&house, &owed, until, Some(wish))).await.unwrap();
        assert_eq!(paused().await, 1);
        house.clock.advance(wish);
        assert_eq!(paused().await, 0);
    }
}

fn failure(house: &House, owed: &LeasedDispatch, until: Timestamp, wish: Option<Duration>) -> DispatchSettlement {
    DispatchSettlement {
        id: owed.id,
        lease: owed.lease.clone(),
        next: DispatchNext::Waits(until),
        started_at: house.clock.now(),
        at: house.clock.now(),
        status: Some(503),
        error: Some("http_status".into()),
        wish,
        trace: Trace::default(),
        bears: true,
    }
}
