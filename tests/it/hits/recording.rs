//! Hits by the thousand: each is recorded once and judged with those before it, also where the database refuses some of
//! them in the middle, is closed, or holds what cannot be read.

use super::*;

/// The database answers, and takes no hits.
async fn refuse(engine: &Engine) {
    const SQLITE: &str = "create trigger refused before insert on hits begin select raise(abort, 'refused'); end";
    const POSTGRES: &str = "
        create function refused() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
        create trigger refused before insert on hits for each row execute function refused()";
    engine.run(SQLITE, POSTGRES).await;
}

async fn relent(engine: &Engine) {
    engine.run("drop trigger refused", "drop trigger refused on hits").await;
}

impl Desk {
    /// So many clicks of one person each on the same link of each of these, a millisecond apart.
    async fn clicks(&self, copies: &[DeliveryId], count: usize) {
        for _ in 0..count {
            self.node.clock.advance(Duration::from_millis(1));
            for copy in copies {
                self.hit(*copy, Some(1), HOME, &[]).await;
            }
        }
    }

    /// Lets time pass until what is in the journal is recorded.
    async fn outlast(&self) {
        while self.intake.hits_journaled_bytes() > 0 {
            self.pass(1);
            tokio::task::yield_now().await;
        }
    }
}

/// Every click was recorded once: of each copy so many, and one of them the first.
async fn check_clicks(store: &Store, tenant: TenantId, copies: &[DeliveryId], each: usize) {
    for copy in copies {
        let [_, clicks] = store.hit_figures(copy.message).await.unwrap();
        assert_eq!((clicks.all, clicks.unique, clicks.unique_by_people), (each as u64, 1, 1));
    }
    let counts = store.hit_counts(tenant, None, START).await.unwrap();
    let sum = |of: fn(&HitCount) -> u64| counts.iter().map(of).sum::<u64>() as usize;
    assert_eq!(sum(|count| count.hits), each * copies.len());
    assert_eq!(sum(|count| count.firsts), copies.len());
    assert_eq!(sum(|count| count.firsts_by_person), copies.len());
}

fn lines(journal: &std::path::Path) -> usize {
    std::fs::read(journal).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

const READERS: [&str; 3] = ["one@example.com", "two@example.com", "three@example.com"];

on_both_engines! {
    async fn hits_that_are_refused_in_the_middle_are_recorded_once(engine: &Engine) {
        let journal = engine.folder().join("hits.journal");
        let desk = Desk::with_journal(engine, AgentSettings::default(), Some(journal.clone())).await;
        let copies = desk.delivered(&READERS).await;
        desk.pass(4_000);
        desk.clicks(&copies, 500).await;
        refuse(engine).await;
        desk.clicks(&copies, 900).await;
        desk.intake.drain().await;
        assert!(lines(&journal) >= 900);
        relent(engine).await;
        desk.clicks(&copies, 500).await;
        desk.outlast().await;
        desk.intake.drain().await;
        check_clicks(&desk.node.store, desk.node.tenant, &copies, 1_900).await;
        desk.pass(60);
        assert_eq!(desk.told().await, [EventKind::Clicked; READERS.len()]);
        assert!(!journal.exists());
        assert_eq!(desk.intake.hits_lost(), 0);
    }

    async fn hits_that_are_refused_wait_in_memory_where_there_is_no_journal(engine: &Engine) {
        let desk = Desk::build(engine, AgentSettings::default()).await;
        let copies = desk.delivered(&READERS).await;
        desk.pass(4_000);
        refuse(engine).await;
        desk.clicks(&copies, 700).await;
        relent(engine).await;
        tokio::select! {
            () = desk.intake.drain() => {}
            () = async { loop { desk.pass(1); tokio::task::yield_now().await; } } => {}
        }
        check_clicks(&desk.node.store, desk.node.tenant, &copies, 700).await;
        desk.pass(60);
        assert_eq!(desk.told().await, [EventKind::Clicked; READERS.len()]);
    }

    async fn hits_that_come_while_the_store_is_closed_are_recorded_at_the_next_start(engine: &Engine) {
        let journal = engine.folder().join("hits.journal");
        let desk = Desk::with_journal(engine, AgentSettings::default(), Some(journal.clone())).await;
        let copies = desk.delivered(&READERS).await;
        desk.pass(4_000);
        desk.clicks(&copies, 800).await;
        desk.node.store.close().await;
        desk.clicks(&copies, 10).await;
        desk.intake.drain().await;
        assert!(lines(&journal) >= 30);
        let Desk { node, intake, ring } = desk;
        drop(intake);
        let store = engine.store("node-2", &node.clock).await;
        let next = Desk { intake: intake_of(&node, &store, &ring, Some(journal)), node, ring };
        next.outlast().await;
        check_clicks(&store, next.node.tenant, &copies, 810).await;
    }

    async fn durable_readers_are_answered_when_their_hits_are_in_the_journal(engine: &Engine) {
        let journal = engine.folder().join("hits.journal");
        let settings = AgentSettings { durable_hits: true, ..AgentSettings::default() };
        let desk = Arc::new(Desk::with_journal(engine, settings, Some(journal.clone())).await);
        desk.intake.refresh().await.unwrap();
        let copies = desk.delivered(&READERS).await;
        desk.pass(4_000);
        desk.clicks(&copies, 1).await;
        check_clicks(&desk.node.store, desk.node.tenant, &copies, 1).await;
        refuse(engine).await;
        for refused in 1..=20 {
            desk.clicks(&copies, 1).await;
            assert_eq!(lines(&journal), refused * copies.len());
        }
        let together: Vec<_> = copies.iter().map(|copy| {
            let (desk, copy) = (desk.clone(), *copy);
            tokio::spawn(async move { desk.clicks(&[copy], 100).await })
        }).collect();
        for readers in together {
            readers.await.unwrap();
        }
        assert_eq!(lines(&journal), 120 * copies.len());
        relent(engine).await;
        desk.outlast().await;
        desk.clicks(&copies, 1).await;
        check_clicks(&desk.node.store, desk.node.tenant, &copies, 122).await;
        assert_eq!(desk.intake.hits_answered_unsafe(), 0);
    }

    async fn a_burst_that_was_found_out_while_hits_were_refused_stays_found_out(engine: &Engine) {
        let journal = engine.folder().join("hits.journal");
        let desk = Desk::with_journal(engine, AgentSettings::default(), Some(journal)).await;
        let copy = desk.delivered(&["reader@example.com"]).await[0];
        desk.pass(100);
        for link in 0..5 {
            desk.hit(copy, Some(link), SCANNER, &[]).await;
            if link == 1 {
                assert_eq!(desk.verdicts(copy).await, [Who::Person; 2]);
                refuse(engine).await;
            }
            desk.pass(1);
        }
        desk.intake.drain().await;
        relent(engine).await;
        desk.outlast().await;
        assert_eq!(desk.verdicts(copy).await, [Who::Scanner; 5]);
        desk.pass(60);
        assert_eq!(desk.told().await, []);
    }

    async fn a_hit_that_cannot_be_read_any_more_holds_up_nobody(engine: &Engine) {
        let desk = Desk::build(engine, AgentSettings::default()).await;
        let copies = desk.delivered(&READERS).await;
        desk.pass(4_000);
        desk.clicks(&copies, 1).await;
        desk.intake.drain().await;
        // Long enough for it to be read again.
        desk.pass(1_000);
        let (visitors, facts) = ("update hits set visitor = '{'", "update messages set facts = '{'");
        engine.run(visitors, visitors).await;
        engine.run(facts, facts).await;
        for link in [1, 2, 3] {
            desk.hit(copies[0], Some(link), HOME, &[]).await;
        }
        desk.clicks(&copies[1..], 1).await;
        desk.intake.drain().await;
        for (copy, expected) in copies.iter().zip([4, 2, 2]) {
            let [_, clicks] = desk.node.store.hit_figures(copy.message).await.unwrap();
            assert_eq!(clicks.all, expected);
        }
    }

    async fn a_burst_that_spans_batches_is_found_out(engine: &Engine) {
        let desk = Desk::build(engine, AgentSettings::default()).await;
        let copies = desk.delivered(&READERS).await;
        desk.pass(100);
        for link in 0..5 {
            desk.hit(copies[0], Some(link), SCANNER, &[]).await;
            desk.clicks(&copies[1..], 400).await;
        }
        assert_eq!(desk.verdicts(copies[0]).await, [Who::Scanner; 5]);
        desk.pass(60);
        assert_eq!(desk.told().await, [EventKind::Clicked; 2]);
    }
}
