//! What the end of a delivery means for its address.
//!
//! One permanent failure of the address is enough to suppress it. What may pass, or may not be the address's fault, has to
//! come several times in a row: a success between them clears the count. "In a row" goes by the order of the messages,
//! since reports may overtake each other. The table is [`Policy::bearing`]; the store keeps what is counted and asks
//! [`Limit`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::id::{AgentId, DeliveryId, TenantId};
use super::reason::{Cause, Class, Reason, Suppress};
use super::suppression::{Action, Scope, Suppression, Target};
use super::time::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

/// How long and after how many failures addresses are left alone. A number of days that is 0 switches its line off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Days that an address is left alone that does not exist: unknown user or domain, no mail host, moved.
    pub unknown_days: u32,
    /// Days for one that is disabled.
    pub disabled_days: u32,
    /// How many such failures it takes that are told as temporary, or under another address than ours.
    pub unsure_count: u32,
    /// Within so many days.
    pub unsure_within_days: u32,
    /// How many times in a row a mailbox must be full.
    pub full_count: u32,
    /// Over so many hours at least.
    pub full_over_hours: u32,
    /// Days that a full mailbox is left alone.
    pub full_days: u32,
    /// How many times in a row mail must be filtered, or find nobody at home.
    pub filtered_count: u32,
    /// Days that such an address is left alone.
    pub filtered_days: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            unknown_days: 180,
            disabled_days: 90,
            unsure_count: 3,
            unsure_within_days: 15,
            full_count: 5,
            full_over_hours: 72,
            full_days: 14,
            filtered_count: 5,
            filtered_days: 30,
        }
    }
}

/// What the end of a delivery means for its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bearing {
    /// Nothing.
    #[default]
    Nothing,
    /// It is left alone from now on.
    Suppressed(Suppression),
    /// It counts.
    Counted(Ending),
}

/// How a delivery ended, as far as its address is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Whose suppression list it may come to.
    pub tenant: TenantId,
    /// The same within the tenant.
    pub agent: AgentId,
    /// The address.
    pub target: Target,
    /// When.
    pub at: Timestamp,
    /// Why it failed, and how often it may; `None`: it was a success.
    pub failure: Option<(Reason, Limit)>,
}

impl Ending {
    /// The suppression that one failure too many makes.
    pub fn suppression(&self, reason: Reason, limit: Limit) -> Suppression {
        Suppression {
            scope: Scope::Agent(self.tenant, self.agent),
            target: self.target.clone(),
            action: Action::Suppress,
            reason,
            note: String::new(),
            created_at: self.at,
            created_by: String::new(),
            expires_at: Some(self.at + limit.lasts),
        }
    }
}

/// How surely a failure is that of the address which we sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// It was named, or it was the one that a host refused.
    Ours,
    /// Another was named, as after a forward.
    Another,
}

impl Policy {
    /// What a failure with this cause means for the address of its delivery.
    pub fn bearing(&self, delivery: &Delivery, cause: &Cause, naming: Naming, now: Timestamp) -> Bearing {
        let Some(lasts) = self.lasts(cause.reason) else { return Bearing::Nothing };
        match cause.reason.suppress() {
            Suppress::Never => Bearing::Nothing,
            Suppress::ForGood => Bearing::Suppressed(Suppression::for_good(delivery, cause.reason, now)),
            Suppress::Unknown | Suppress::Disabled
                if cause.is_permanent() && cause.class == Class::Hard && naming == Naming::Ours =>
            {
                let suppression = Suppression::for_good(delivery, cause.reason, now);
                Bearing::Suppressed(Suppression { expires_at: Some(now + lasts), ..suppression })
            }
            Suppress::Unknown | Suppress::Disabled => self.counted(delivery, cause.reason, self.unsure(lasts), now),
            Suppress::Full => {
                let over = Duration::from_secs(u64::from(self.full_over_hours) * 3600);
                let limit = Limit { count: self.full_count, within: None, over, lasts };
                self.counted(delivery, cause.reason, limit, now)
            }
            Suppress::Filtered => {
                let limit = Limit { count: self.filtered_count, within: None, over: Duration::ZERO, lasts };
                self.counted(delivery, cause.reason, limit, now)
            }
        }
    }

    /// What a success means for the address of its delivery.
    pub fn success(delivery: &Delivery, now: Timestamp) -> Bearing {
        Bearing::Counted(ending(delivery, None, now))
    }

    fn counted(&self, delivery: &Delivery, reason: Reason, limit: Limit, now: Timestamp) -> Bearing {
        Bearing::Counted(ending(delivery, Some((reason, limit)), now))
    }

    fn unsure(&self, lasts: Duration) -> Limit {
        let within = Some(DAY * self.unsure_within_days);
        Limit { count: self.unsure_count, within, over: Duration::ZERO, lasts }
    }

    /// How long an address is left alone for this reason; `None` when it never is.
    fn lasts(&self, reason: Reason) -> Option<Duration> {
        let days = match reason.suppress() {
            Suppress::Never => 0,
            Suppress::Unknown => self.unknown_days,
            Suppress::Disabled => self.disabled_days,
            Suppress::Full => self.full_days,
            Suppress::Filtered => self.filtered_days,
            Suppress::ForGood => u32::MAX,
        };
        (days > 0).then(|| DAY * days)
    }

    /// What makes no sense, in one line.
    pub fn complaint(&self) -> Option<String> {
        let counts = [
            ("unsure_count", self.unsure_count),
            ("unsure_within_days", self.unsure_within_days),
            ("full_count", self.full_count),
            ("filtered_count", self.filtered_count),
        ];
        let zero = counts.iter().find(|(_, count)| *count == 0);
        let many = counts.iter().find(|(key, count)| key.ends_with("count") && *count > PAST_MAX);
        zero.map(|(key, _)| format!("suppression.{key}: must not be 0"))
            .or_else(|| many.map(|(key, _)| format!("suppression.{key}: at most {PAST_MAX} are remembered")))
    }
}

fn ending(delivery: &Delivery, failure: Option<(Reason, Limit)>, at: Timestamp) -> Ending {
    Ending {
        delivery: delivery.id,
        tenant: delivery.tenant,
        agent: delivery.agent,
        target: Target::of(&delivery.address),
        at,
        failure,
    }
}

/// How many ends of deliveries are looked at for one address.
pub const PAST_MAX: u32 = 50;

/// How often an address may fail in a row, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many failures are too many.
    pub count: u32,
    /// Those that are older do not count.
    pub within: Option<Duration>,
    /// Unless the first of them is at least so old.
    pub over: Duration,
    /// So long is the address left alone.
    pub lasts: Duration,
}

/// How an earlier delivery to an address ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// When.
    pub at: Timestamp,
    /// Why it failed; `None`: it was a success.
    pub failed: Option<Reason>,
}

impl Limit {
    /// Whether failures like `reason` have reached the limit. `past` has the newest message first.
    pub fn is_reached(&self, reason: Reason, past: &[Past], now: Timestamp) -> bool {
        let in_a_row = past.iter().take_while(|past| past.failed.is_some());
        let alike = in_a_row.filter(|past| past.failed.is_some_and(|failed| failed.suppress() == reason.suppress()));
        let recent = alike.filter(|past| self.within.is_none_or(|within| now.since(past.at) <= within));
        let times: Vec<Timestamp> = recent.map(|past| past.at).collect();
        let first = times.iter().min().copied().unwrap_or(now);
        u32::try_from(times.len()).unwrap_or(u32::MAX) >= self.count && now.since(first) >= self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::delivery::State;
    use crate::model::id::MessageId;
    use crate::model::retry::MAIL_LIFETIME;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn delivery() -> Delivery {
        Delivery {
            id: DeliveryId { message: MessageId::from_bytes([7; 16]), recipient: 0 },
            tenant: TenantId::from_bytes([1; 16]),
            agent: AgentId::from_bytes([2; 16]),
            address: "Reader@example.com".parse().unwrap(),
            state: State::Queued,
            attempts: 1,
            accepted_at: NOW,
            expires_at: NOW + MAIL_LIFETIME,
        }
    }

    fn bearing(reason: Reason, status: &str, class: Class, naming: Naming) -> String {
        let cause = Cause {
            reason,
            class,
            code: None,
            status: Some(status.into()),
            diagnostic: String::new(),
            rule: "test".into(),
        };
        match Policy::default().bearing(&delivery(), &cause, naming, NOW) {
            Bearing::Nothing => "nothing".into(),
            Bearing::Suppressed(Suppression { expires_at, target, .. }) => {
                let days = expires_at.map(|until| until.since(NOW).as_secs() / 86_400);
                days.map_or(format!("{target} for good"), |days| format!("{target} for {days} days"))
            }
            Bearing::Counted(Ending { failure: Some((_, limit)), .. }) => {
                let within = limit.within.map_or(String::new(), |within| format!(" in {} h", within.as_secs() / 3600));
                format!("{}{within} over {} h", limit.count, limit.over.as_secs() / 3600)
            }
            Bearing::Counted(Ending { failure: None, .. }) => "success".into(),
        }
    }

    #[test]
    fn what_a_failure_means_for_its_address() {
        let check = |reason, status, class, naming, expected: &str| {
            assert_eq!(bearing(reason, status, class, naming), expected, "{reason} {status}");
        };
        use Naming::{Another, Ours};
        use Reason::*;
        let hard = "reader@example.com for 180 days";
        for reason in [UserUnknown, DomainUnknown, NoMailHost, MailboxMoved] {
            check(reason, "5.1.1", Class::Hard, Ours, hard);
            check(reason, "4.1.1", Class::Soft, Ours, "3 in 360 h over 0 h");
            check(reason, "5.1.1", Class::Hard, Another, "3 in 360 h over 0 h");
        }
        check(MailboxDisabled, "5.2.1", Class::Hard, Ours, "reader@example.com for 90 days");
        check(MailboxFull, "5.2.2", Class::Soft, Ours, "5 over 72 h");
        check(MailboxFull, "4.2.2", Class::Soft, Ours, "5 over 72 h");
        for reason in [RecipientFiltered, RelayDenied, NetworkError, Expired] {
            check(reason, "5.7.1", Class::Soft, Ours, "5 over 0 h");
        }
        check(Complaint, "", Class::Undetermined, Ours, "reader@example.com for good");
        check(Unsubscribed, "", Class::Undetermined, Ours, "reader@example.com for good");
        for reason in [Spam, IpBlocked, SenderRejected, AuthFailure, Policy, RateLimited, MessageTooLarge, Unknown] {
            check(reason, "5.7.1", Class::Soft, Ours, "nothing");
        }
    }

    #[test]
    fn a_line_can_be_switched_off() {
        let policy = super::Policy { unknown_days: 0, ..super::Policy::default() };
        let cause = Cause {
            reason: Reason::UserUnknown,
            class: Class::Hard,
            code: Some(550),
            status: None,
            diagnostic: String::new(),
            rule: "test".into(),
        };
        assert_eq!(policy.bearing(&delivery(), &cause, Naming::Ours, NOW), Bearing::Nothing);
        let zero = super::Policy { full_count: 0, ..super::Policy::default() };
        assert_eq!(zero.complaint().as_deref(), Some("suppression.full_count: must not be 0"));
        assert_eq!(super::Policy::default().complaint(), None);
    }

    /// Ends of deliveries, newest first: hours ago and why.
    fn reached(limit: Limit, reason: Reason, past: &[(u64, Option<Reason>)]) -> bool {
        let ago = |hours: u64| NOW - Duration::from_secs(hours * 3600);
        let past: Vec<Past> = past.iter().map(|(hours, failed)| Past { at: ago(*hours), failed: *failed }).collect();
        limit.is_reached(reason, &past, NOW)
    }

    #[test]
    fn in_a_row_means_without_a_success_between() {
        let full = Some(Reason::MailboxFull);
        let limit = Limit { count: 3, within: None, over: Duration::from_secs(72 * 3600), lasts: DAY };
        let check = |past: &[_], expected| assert_eq!(reached(limit, Reason::MailboxFull, past), expected, "{past:?}");
        check(&[(0, full), (10, full), (80, full)], true);
        check(&[(0, full), (10, full), (60, full)], false);
        check(&[(0, full), (80, full)], false);
        check(&[(0, full), (10, full), (70, None), (80, full), (90, full)], false);
        check(&[(0, None), (10, full), (80, full), (90, full)], false);
        check(&[(0, full), (5, Some(Reason::Spam)), (10, full), (80, full)], true);
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let unknown = Some(Reason::UserUnknown);
        let limit = Limit { count: 3, within: Some(DAY * 15), over: Duration::ZERO, lasts: DAY };
        assert!(reached(limit, Reason::UserUnknown, &[(0, unknown), (24, unknown), (14 * 24, unknown)]));
        assert!(!reached(limit, Reason::UserUnknown, &[(0, unknown), (24, unknown), (16 * 24, unknown)]));
    }
}
