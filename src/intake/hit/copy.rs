//! One recipient's copy of a mail while hits on it are judged: what is known around them, and what each comes to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Waiting;
use super::kept::kept;
use super::window::COPY_MAX;
use crate::enrich::machine;
use crate::model::hit::{EarlierHit, Hit, HitKind, Verdict, Visitor, Who};
use crate::model::id::DeliveryId;
use crate::model::tenant::Privacy;
use crate::model::time::Timestamp;
use crate::model::token::HIDDEN_LINK;
use crate::store::hits::{Firsts, HitContext, HitKey, RecordedHit};

/// Clicks this close to each other, or to the delivery, are looked at with the number of the mail's links in mind.
const CLOSE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(60);

/// Verdicts that changed.
pub(super) type Changed = HashMap<HitKey, Verdict>;

/// A copy, and the hits on it.
pub(super) struct Copy {
    pub(super) context: HitContext,
    /// Hits on it, newest first.
    pub(super) hits: Vec<EarlierHit>,
    /// How many distinct links of the mail are tracked, where that matters and is known.
    pub(super) links: Option<u16>,
}

/// A hit of the batch with its visitor, whole.
pub(super) struct Judged<'a> {
    pub(super) waiting: &'a Waiting,
    pub(super) visitor: Arc<Visitor>,
    pub(super) hold: Option<Duration>,
}

impl Judged<'_> {
    /// The hit as later ones see it.
    pub(super) fn as_earlier(&self) -> EarlierHit {
        let Waiting { kind, link, at, .. } = *self.waiting;
        EarlierHit { kind, link, at, visitor: self.visitor.clone() }
    }
}

impl Waiting {
    pub(super) fn key(&self) -> HitKey {
        HitKey { delivery: self.delivery, kind: self.kind, link: self.link, at: self.at }
    }

    fn is_click(&self) -> bool {
        self.kind == HitKind::Click
    }
}

pub(super) fn key(delivery: DeliveryId, hit: &EarlierHit) -> HitKey {
    HitKey { delivery, kind: hit.kind, link: hit.link, at: hit.at }
}

impl Copy {
    /// The copy before its `new` hits.
    pub(super) fn new<'h>(
        context: HitContext,
        earlier: impl Iterator<Item = &'h EarlierHit>,
        new: &[&Waiting],
    ) -> Self {
        // What is tried again must not meet itself.
        let new: HashSet<HitKey> = new.iter().map(|waiting| waiting.key()).collect();
        let earlier = earlier.filter(|hit| !new.contains(&key(context.delivery, hit)));
        let mut hits: Vec<EarlierHit> = earlier.cloned().collect();
        hits.sort_by_key(|hit| std::cmp::Reverse(hit.at));
        Self { context, hits, links: None }
    }

    /// Whether anything about the `new` hits depends on how many links the mail has: finding out is not free.
    pub(super) fn asks_for_links(&self, new: &[&Waiting]) -> bool {
        let clicks: Vec<&Waiting> = new.iter().copied().filter(|waiting| waiting.is_click()).collect();
        // The last of three links or more, first of all and soon.
        let delivered_at = self.context.delivered_at;
        let is_soon = |at: Timestamp| delivered_at.is_some_and(|delivered| at.since(delivered) <= SOON);
        let may_be_last = || clicks.iter().any(|click| click.link >= 2 && is_soon(click.at));
        // Two links close to each other, at least.
        let is_other = |click: &Waiting, at: Timestamp, link: u16| click.link != link && apart(click.at, at) <= CLOSE;
        let is_burst = || {
            let before = || self.hits.iter().filter(|hit| hit.kind == HitKind::Click);
            clicks.windows(2).any(|two| is_other(two[0], two[1].at, two[1].link))
                || clicks.iter().any(|click| before().any(|hit| is_other(click, hit.at, hit.link)))
        };
        self.hits.is_empty() && may_be_last() || is_burst()
    }

    /// A new hit on it. The same visitor as just before is kept once.
    pub(super) fn add(&mut self, waiting: &Waiting, visitor: Visitor) -> Arc<Visitor> {
        const JUST_BEFORE: usize = 4;
        let same = self.hits.iter().take(JUST_BEFORE).find(|hit| *hit.visitor == visitor);
        let visitor = same.map_or_else(|| Arc::new(visitor), |hit| hit.visitor.clone());
        let Waiting { kind, link, at, .. } = *waiting;
        self.hits.insert(0, EarlierHit { kind, link, at, visitor: visitor.clone() });
        self.hits.truncate(COPY_MAX);
        visitor
    }

    /// The verdicts on hits that the clicks of this batch shed light on.
    pub(super) fn judged_again(&self, new: &[&Waiting]) -> Changed {
        let clicks: Vec<Timestamp> =
            new.iter().filter(|waiting| waiting.is_click()).map(|waiting| waiting.at).collect();
        if clicks.is_empty() || self.is_one_link() {
            return Changed::new();
        }
        let is_near = |at: Timestamp| clicks.iter().any(|click| apart(*click, at) <= CLOSE);
        let again = self.hits.iter().filter(|hit| is_near(hit.at)).filter_map(|hit| {
            let verdict = machine::judge_again(hit, &self.hits, self.links)?;
            Some((key(self.context.delivery, hit), verdict))
        });
        again.collect()
    }

    /// Whether all clicks are on one link that readers see: that is no burst, however many there are.
    fn is_one_link(&self) -> bool {
        let mut links = self.hits.iter().filter(|hit| hit.kind == HitKind::Click).map(|hit| hit.link);
        let Some(first) = links.next() else { return true };
        first != HIDDEN_LINK && links.all(|link| link == first)
    }

    /// Puts the verdicts that changed on its hits.
    pub(super) fn see_as(&mut self, changed: &Changed) {
        if changed.is_empty() {
            return;
        }
        for hit in &mut self.hits {
            if let Some(verdict) = changed.get(&key(self.context.delivery, hit)) {
                Arc::make_mut(&mut hit.visitor).machine = verdict.clone();
            }
        }
    }

    /// The hit as it is written: with as much of its visitor as the agent keeps.
    pub(super) fn recorded(&self, judged: &Judged<'_>) -> RecordedHit {
        let Judged { waiting, visitor, hold } = judged;
        let Waiting { id, delivery, kind, link, at, .. } = **waiting;
        let context = &self.context;
        let first = self.firsts(waiting, visitor.machine.verdict);
        let visitor = kept(Visitor::clone(visitor), &waiting.request, kind, context.privacy);
        RecordedHit {
            id,
            hit: Hit { delivery, kind, link, target: waiting.target.clone(), at, visitor },
            tenant: context.tenant,
            agent: context.agent,
            address: context.address.clone(),
            relay_at: at + hold.unwrap_or_default(),
            first,
            is_only_counted: context.privacy == Privacy::AggregateOnly,
        }
    }

    /// Which firsts a hit may be: those that no earlier one has taken.
    fn firsts(&self, waiting: &Waiting, who: Who) -> Firsts {
        let own = |hit: &&EarlierHit| hit.kind == waiting.kind && hit.link == waiting.link && hit.at < waiting.at;
        let is_taken = |by: fn(Who) -> bool| self.hits.iter().filter(own).any(|hit| by(hit.visitor.machine.verdict));
        Firsts {
            by_anyone: !is_taken(|_| true),
            by_reader: who != Who::Scanner && !is_taken(|who| who != Who::Scanner),
            by_person: who.is_person() && !is_taken(Who::is_person),
        }
    }
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}
