//! Suppressions in the store and at acceptance, on both engines.

use std::time::Duration;

use postback::model::address::Address;
use postback::model::id::AgentId;
use postback::model::reason::Reason;
use postback::model::suppression::{Action, Scope, Suppression};
use postback::model::tenant::AgentSettings;
use postback::store::suppressions::{Filter, Lists};

use crate::support::engines::{Engine, on_both_engines};
use crate::support::node::{Node, START};

const DAY: Duration = Duration::from_secs(86_400);

struct House(Node);

impl House {
    async fn build(engine: &Engine) -> Self {
        Self(Node::build(engine, 0, AgentSettings::default()).await)
    }

    fn own(&self) -> Scope {
        Scope::Agent(self.0.tenant, self.0.agent)
    }

    fn suppression(&self, target: &str, reason: Reason, days: Option<u32>) -> Suppression {
        Suppression {
            scope: self.own(),
            target: target.parse().unwrap(),
            action: Action::Suppress,
            reason,
            note: String::new(),
            created_at: self.0.clock.now(),
            created_by: String::new(),
            expires_at: days.map(|days| self.0.clock.now() + DAY * days),
        }
    }

    /// What is found for each address, as `target scope action reason`.
    async fn found(&self, agent: AgentId, addresses: &[&str]) -> Vec<String> {
        let addresses: Vec<Address> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let found = self.0.store.suppressed(self.0.tenant, agent, &addresses).await.unwrap();
        let told = |address: &Address| match found.get(&address.folded()) {
            Some(found) => format!("{} {} {} {}", found.target, found.scope, found.action.as_str(), found.reason),
            None => "none".into(),
        };
        addresses.iter().map(told).collect()
    }

    async fn listed(&self, lists: Lists, filter: Filter) -> Vec<String> {
        let listed = self.0.store.suppressions(lists, &filter, 10).await.unwrap();
        listed.into_iter().map(|one| format!("{} {}", one.target, one.scope.as_str())).collect()
    }
}

on_both_engines! {
    async fn they_hold_expire_and_are_not_shortened(engine: &Engine) {
        let house = House::build(engine).await;
        let store = &house.0.store;
        store.suppress(house.suppression("gone@example.com", Reason::UserUnknown, Some(180))).await.unwrap();
        store.suppress(house.suppression("angry@example.com", Reason::Complaint, None)).await.unwrap();
        store.suppress(house.suppression("angry@example.com", Reason::UserUnknown, Some(1))).await.unwrap();
        let all = ["Gone@example.com", "angry@example.com", "fine@example.com", "an.gry@example.com", "angry+x@example.com"];
        assert_eq!(house.found(house.0.agent, &all).await, [
            "gone@example.com agent suppress user_unknown",
            "angry@example.com agent suppress complaint",
            "none", "none", "none",
        ]);
        house.0.clock.advance(DAY * 181);
        assert_eq!(house.found(house.0.agent, &all[..2]).await, ["none", "angry@example.com agent suppress complaint"]);
        assert_eq!(house.listed(Lists::Of(house.own()), Filter::default()).await, ["angry@example.com agent"]);
        let angry = ["angry@example.com".parse().unwrap()];
        assert_eq!(store.remove_suppressions(house.own(), &angry, "test").await.unwrap(), 1);
        assert_eq!(store.remove_suppressions(house.own(), &angry, "test").await.unwrap(), 0);
        let history = store.suppression_history(&[house.own()], &angry[0]).await.unwrap();
        let told: Vec<_> = history.iter().map(|(_, change)| (change.change.as_str(), change.actor.as_str(), change.at)).collect();
        assert_eq!(told, [("removed", "test", START + DAY * 181), ("added", "complaint", START)]);
    }

    async fn the_hardest_of_all_lists_counts(engine: &Engine) {
        let house = House::build(engine).await;
        let (tenant, other) = (Scope::Tenant(house.0.tenant), AgentId::from_bytes([9; 16]));
        let put = |scope, target, action| Suppression {
            scope, action, ..house.suppression(target, Reason::Manual, None)
        };
        house.0.store.put_suppressions(vec![
            put(tenant, "example.com", Action::SuppressTracking),
            put(house.own(), "ann@mail.example.com", Action::Suppress),
            put(Scope::Installation, "trap.example.net", Action::Reject),
        ], "test").await.unwrap();
        let addresses = ["ann@mail.example.com", "bob@example.com", "x@a.trap.example.net", "x@example.net"];
        assert_eq!(house.found(house.0.agent, &addresses).await, [
            "ann@mail.example.com agent suppress manual",
            "example.com tenant suppress_tracking manual",
            "trap.example.net installation reject manual",
            "none",
        ]);
        assert_eq!(house.found(other, &addresses).await[0], "example.com tenant suppress_tracking manual");
        // A bounce is harder than a person's wish not to track, and never softens what a person set.
        house.0.store.suppress(put(tenant, "example.com", Action::Suppress)).await.unwrap();
        house.0.store.suppress(put(Scope::Installation, "trap.example.net", Action::Suppress)).await.unwrap();
        assert_eq!(house.found(house.0.agent, &addresses[1..3]).await, [
            "example.com tenant suppress manual",
            "trap.example.net installation reject manual",
        ]);
    }

    async fn lists_are_filtered_and_paged(engine: &Engine) {
        let house = House::build(engine).await;
        let put = |target| house.suppression(target, Reason::Manual, None);
        let all = ["a_1@example.com", "b@example.com", "example.net", "c%d@example.com"].map(put);
        house.0.store.put_suppressions(all.to_vec(), "test").await.unwrap();
        let of = Lists::Of(house.own());
        let check = async |lists, filter, expected: &[&str]| {
            let listed = house.listed(lists, filter).await;
            assert_eq!(listed.iter().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>(), expected);
        };
        let sorted = ["a_1@example.com", "b@example.com", "c%d@example.com", "example.net"];
        check(of, Filter::default(), &sorted).await;
        check(Lists::OfTenant(house.0.tenant), Filter::default(), &sorted).await;
        check(Lists::Of(Scope::Installation), Filter::default(), &[]).await;
        check(of, Filter { after: sorted[1].into(), ..Filter::default() }, &sorted[2..]).await;
        check(of, Filter { offset: 3, ..Filter::default() }, &sorted[3..]).await;
        check(of, Filter { kind: "domain", ..Filter::default() }, &sorted[3..]).await;
        check(of, Filter { contains: "_".into(), ..Filter::default() }, &sorted[..1]).await;
        check(of, Filter { contains: "%D@".into(), ..Filter::default() }, &sorted[2..3]).await;
        check(of, Filter { reason: Some(Reason::Complaint), ..Filter::default() }, &[]).await;
        check(of, Filter { until: Some(START), ..Filter::default() }, &[]).await;
        check(of, Filter { from: Some(START), ..Filter::default() }, &sorted).await;
    }
}
