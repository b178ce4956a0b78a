//! What waits for a webhook: counted as paused, let go when it is enabled, and given up when its receiver is gone.

use postback::model::webhook::{Post, after};
use postback::store::dispatches::LetGo;

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
        let first = house.store.let_go_dispatches(webhook.id).await.unwrap();
        assert_eq!(first, LetGo { hurried: 500, has_more: true });
        // The rest is remembered, whoever takes it.
        let other = engine.store("node-2", &house.clock).await;
        assert_eq!(other.let_go_more().await.unwrap(), LetGo { hurried: 100, has_more: false });
        for nothing in [other.let_go_more().await.unwrap(), house.store.let_go_dispatches(webhook.id).await.unwrap()] {
            assert_eq!(nothing, LetGo { hurried: 0, has_more: false });
        }
        other.close().await;
        house.switch(webhook.id, Switch::On).await;
        let again = house.store.lease_dispatches(Lane::Retry, 2000, vec![]).await.unwrap();
        assert_eq!(again.len(), 600);
        assert!(again.iter().all(|again| again.id.webhook == webhook.id && again.id != under_way.id));
        let held = house.store.renew_dispatches(vec![(under_way.id, under_way.lease)]).await.unwrap();
        assert_eq!(held, [under_way.id]);
    }

    async fn who_is_gone_is_switched_off_however_much_waits_and_still_comes(engine: &Engine) {
        const HOUR: Duration = Duration::from_secs(3600);
        let house = House::build(engine).await;
        let (began, webhook) = (house.clock.now(), house.webhook(&[EventKind::Sent]));
        house.store.add_webhook(webhook.clone()).await.unwrap();
        let readers: Vec<String> = (0..300).map(|n| format!("reader{n}@example.com")).collect();
        let readers: Vec<&str> = readers.iter().map(String::as_str).collect();
        house.store.accept(house.plan(&readers)).await.unwrap();
        let (mut given_up, mut first_attempts) = (0, 0);
        let mut late = 0;
        let is_on = async || house.store.webhook(house.tenant, webhook.id).await.unwrap().unwrap().switch == Switch::On;
        while is_on().await {
            assert!(house.clock.now().since(began) <= HOUR * 121, "not switched off");
            house.store.accept(house.plan(&["late@example.com"])).await.unwrap();
            late += 1;
            // The lane of first attempts looks first, and may not take the one request from those that were tried.
            for lane in [Lane::Fresh, Lane::Retry] {
                for owed in house.store.lease_dispatches(lane, 5, vec![]).await.unwrap() {
                    let post = Post::Failed { status: Some(503), error: "http_status", wait: None };
                    let next = after(owed.id, owed.lease.attempt, &post, house.clock.now());
                    given_up += u32::from(next.due_at().is_none());
                    first_attempts += u32::from(lane == Lane::Fresh);
                    let settled = DispatchSettlement { next, ..failure(&house, &owed, house.clock.now(), None) };
                    house.store.settle_dispatch(settled).await.unwrap();
                }
            }
            house.clock.advance(HOUR / 2);
        }
        assert!(house.clock.now().since(began) >= HOUR * 120);
        assert!(given_up >= 3 && first_attempts < 60, "{given_up} given up, {first_attempts} tried at all");
        let waiting = house.store.dispatches_waiting(webhook.id, 10_000).await.unwrap();
        assert_eq!(waiting + given_up, 300 + late, "nothing is dropped");
    }

    async fn what_was_given_up_is_told_and_so_is_the_end_of_it(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook(&[EventKind::Sent]);
        house.store.add_webhook(webhook.clone()).await.unwrap();
        house.store.accept(house.plan(&["a@example.com", "b@example.com", "c@example.com"])).await.unwrap();
        let owed = house.store.lease_dispatches(Lane::Fresh, 3, vec![]).await.unwrap();
        let ends = async |place: usize, error: Option<&str>| {
            house.clock.advance(Duration::from_secs(1));
            let now = house.clock.now();
            let state = if error.is_some() { DispatchState::Exhausted } else { DispatchState::Arrived };
            let (next, error) = (DispatchNext::Ends(state), error.map(str::to_owned));
            let settled = DispatchSettlement { next, error, ..failure(&house, &owed[place], now, None) };
            house.store.settle_dispatch(settled).await.unwrap();
        };
        for (place, error) in [(0, Some("http_status")), (1, Some("http_status")), (2, None)] {
            ends(place, error).await;
        }
        let told = house.store.notices().await.unwrap();
        let kinds: Vec<EventKind> = told.iter().map(|notice| notice.kind).collect();
        assert_eq!(kinds, [EventKind::WebhookExhausted, EventKind::WebhookRecovered]);
        let Detail::Webhook { failures, error, .. } = &told[1].detail else { panic!("{told:?}") };
        assert_eq!((*failures, error.as_str()), (2, "http_status"), "how it fared until then");
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
        given_up_beside: 0,
    }
}
