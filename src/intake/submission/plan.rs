//! What acceptance makes durable: the message with its facts, a delivery for each recipient, the events that tell of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Hop, Sane, Submission};
use crate::intake::Intake;
use crate::mail::reporting::{self, Entry, News};
use crate::mail::submitted::Switches;
use crate::model::address::{Address, Mailbox};
use crate::model::dsn::DsnRequest;
use crate::model::event::{Detail, Event, EventKind, relay};
use crate::model::id::{DeliveryId, EventId, MessageId};
use crate::model::message::{Facts, Fate, Message, Plan, PlannedDelivery, TlsWish, Tracking};
use crate::model::suppression::{self, Action, Found, Suppression};
use crate::model::tenant::{Clicks, Grant};
use crate::model::time::Timestamp;

/// When, under which id and by which request a message is born.
#[derive(Clone, Copy)]
pub(super) struct Birth<'r> {
    pub(super) id: MessageId,
    pub(super) now: Timestamp,
    pub(super) request_id: &'r str,
}

/// How a submitter wants a message tracked.
struct Tracked {
    opens: Option<bool>,
    clicks: Option<bool>,
    spares_secrets: bool,
}

impl Intake {
    /// The value of our own `Received`.
    pub(super) fn received(&self, hop: Option<&Hop>, id: MessageId, now: Timestamp) -> String {
        let (from, with) = match hop {
            None => (String::new(), "local".to_owned()),
            Some(Hop { client, peer, protocol, tls }) => {
                let client: String = client.chars().map(|char| if is_name_char(char) { char } else { '?' }).collect();
                let peer = match peer.to_canonical() {
                    IpAddr::V4(peer) => format!("[{peer}]"),
                    IpAddr::V6(peer) => format!("[IPv6:{peer}]"),
                };
                let tls = tls.as_ref().map_or(String::new(), |tls| format!(" ({tls})"));
                (format!("from {client} ({peer})\r\n\t"), format!("{protocol}{tls}"))
            }
        };
        let hostname = &self.0.settings.hostname;
        format!("{from}by {hostname} (Postback) with {with}\r\n\tid {id}; {}", now.rfc5322())
    }

    pub(super) fn plan(
        &self,
        grant: &Grant,
        submission: Submission,
        sane: Sane,
        birth: Birth<'_>,
        suppressed: &HashMap<String, Found>,
    ) -> Plan {
        let Birth { id, now, .. } = birth;
        let mut switches = merged(submission.switches, &sane.submitted.switches);
        let wishes = std::mem::take(&mut switches.wishes);
        let told = submission.sender.as_ref().filter(|_| !sane.submitted.is_automatic);
        let dsn = DsnRequest::granted(grant.agent.settings.dsn, told, wishes);
        let due_at = switches.send_at.map_or(now, |at| at.max(now));
        let own = grant.agent.settings.lifetime_minutes.map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
        let lifetime = own.unwrap_or(self.0.settings.lifetime);
        let expires_at = due_at + switches.time_to_live.map_or(lifetime, |wish| wish.min(lifetime));
        let found = |address: &Address| suppressed.get(&Suppression::key(address));
        let untracked = (0u16..)
            .zip(&submission.recipients)
            .filter(|(_, address)| found(address).is_some_and(|found| found.action == Action::SuppressTracking));
        let untracked = untracked.map(|(recipient, _)| recipient).collect();
        let rejecting = submission.recipients.iter().find_map(|address| {
            found(address).filter(|found| found.action == Action::Reject).map(|found| rejected(address, found))
        });
        let fate = |address: &Address| match (&rejecting, found(address)) {
            (Some(rejected), _) => rejected.clone(),
            (None, Some(found)) if found.action == Action::Suppress => {
                Fate::Suppressed { reason: found.reason, diagnostic: found.diagnostic(address) }
            }
            (None, _) => Fate::Queued { due_at },
        };
        let deliveries: Vec<PlannedDelivery> = (0u16..)
            .zip(submission.recipients)
            .map(|(recipient, address)| PlannedDelivery {
                id: DeliveryId { message: id, recipient },
                fate: fate(&address),
                address,
                expires_at,
            })
            .collect();
        let message = Message {
            id,
            tenant: grant.tenant.id,
            agent: grant.agent.id,
            agent_key: grant.agent.key.clone(),
            source: submission.source,
            accepted_at: now,
            size_bytes: sane.content.len() as u64,
            facts: Facts {
                untracked,
                dsn: dsn.map(Box::new),
                ..self.facts(grant, &sane, switches, &deliveries, birth)
            },
        };
        let events = deliveries.iter().map(|delivery| self.told(&message, delivery, now)).collect();
        Plan { message, content: sane.content, deliveries, events }
    }

    fn facts(
        &self,
        grant: &Grant,
        sane: &Sane,
        switches: Switches,
        deliveries: &[PlannedDelivery],
        birth: Birth<'_>,
    ) -> Facts {
        let submitted = &sane.submitted;
        let agent = &grant.agent.settings;
        let tracked = Tracked {
            opens: switches.track_opens,
            clicks: switches.track_clicks,
            spares_secrets: switches.spares_secrets,
        };
        let is_named = |address: &Address| {
            let named = submitted.to.iter().chain(&submitted.cc);
            named.into_iter().any(|mailbox| mailbox.address.eq_ignore_ascii_case(&address.to_string()))
        };
        let hidden = deliveries.iter().filter(|delivery| !is_named(&delivery.address));
        let bounce_address = match switches.bounce_address.as_str() {
            "" => agent.bounce_address.clone(),
            own => own.to_owned(),
        };
        Facts {
            from: sane.from.clone(),
            to: submitted.to.clone(),
            cc: submitted.cc.clone(),
            bcc: hidden.map(|delivery| Mailbox::bare(delivery.address.to_string())).collect(),
            reply_to: submitted.reply_to.clone(),
            subject: submitted.subject.clone(),
            email_reference: sane.message_id.clone(),
            request_id: birth.request_id.to_owned(),
            client_reference: switches.client_reference,
            bounce_address,
            list_unsubscribe: switches.list_unsubscribe.unwrap_or(agent.list_unsubscribe),
            way: switches.way,
            is_sandboxed: agent.is_sandboxed,
            send_at: switches.send_at.filter(|at| *at > birth.now),
            tags: switches.tags,
            metadata: switches.metadata,
            tracking: self.tracking(grant, &sane.from, tracked),
            untracked: Vec::new(),
            tls: switches.tls,
            dsn: None,
            is_report: false,
        }
    }

    /// How the message is tracked: as the submitter said, else as the agent has set, under the host of the sending
    /// domain.
    fn tracking(&self, grant: &Grant, from: &Mailbox, tracked: Tracked) -> Tracking {
        let agent = &grant.agent.settings;
        let domain = from.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        Tracking {
            opens: tracked.opens.unwrap_or(agent.track_opens),
            clicks: tracked.clicks.unwrap_or(agent.track_clicks != Clicks::Off),
            base_url: self.tracking_base_url(grant.agent.id, &domain.to_ascii_lowercase()),
            key_id: self.0.ring.newest().unwrap_or_default(),
            spares_secrets: tracked.spares_secrets || agent.track_clicks == Clicks::Auto,
            text_links: agent.track_text_links,
            pixel_on_top: agent.pixel_on_top,
            hidden_link: agent.hidden_link,
            skip_hosts: agent.untracked_hosts.clone(),
        }
    }

    /// The mail that tells the submitter of recipients who were left alone at once, where that was asked for.
    pub(super) fn letter_about(&self, plan: &Plan, suppressed: &HashMap<String, Found>) -> Option<Plan> {
        let to = Suppression::key(&plan.message.facts.dsn.as_ref()?.to);
        if suppressed.get(&to).is_some_and(|found| found.action != Action::SuppressTracking) {
            return None;
        }
        let told = plan.events.iter().zip(&plan.deliveries);
        let entries: Vec<Entry<'_>> =
            told.map(|(event, planned)| Entry { event, remote: "", expires_at: Some(planned.expires_at) }).collect();
        let news = News { message: &plan.message, entries: &entries, content: Some(&plan.content) };
        let id = MessageId::from_uuid(self.0.ids.uuid(plan.message.accepted_at));
        let letter = reporting::letter(&news, &self.0.settings.hostname, id)?;
        Some(Arc::unwrap_or_clone(letter.plan))
    }

    fn told(&self, message: &Message, delivery: &PlannedDelivery, now: Timestamp) -> Event {
        let (kind, detail) = match &delivery.fate {
            Fate::Queued { .. } => (EventKind::Sent, Detail::Sent),
            Fate::Suppressed { diagnostic, .. } => {
                (EventKind::Failed, Detail::Failed { cause: suppression::cause(diagnostic.clone()) })
            }
        };
        Event {
            id: EventId::from_uuid(self.0.ids.uuid(now)),
            delivery: delivery.id,
            tenant: message.tenant,
            agent: message.agent,
            kind,
            ordinal: 0,
            at: now,
            recipient: delivery.address.to_string(),
            detail,
            relay: relay::ALL,
            relay_at: now,
            is_test: false,
        }
    }
}

/// What a client's name may be made of, to stand in a header.
fn is_name_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_' | ':' | '[' | ']')
}

/// What the door was told counts; what it was not told, the header may say.
fn merged(door: Switches, header: &Switches) -> Switches {
    let text = |door: String, header: &str| if door.is_empty() { header.to_owned() } else { door };
    Switches {
        track_opens: door.track_opens.or(header.track_opens),
        track_clicks: door.track_clicks.or(header.track_clicks),
        spares_secrets: door.spares_secrets || (door.track_clicks.is_none() && header.spares_secrets),
        client_reference: text(door.client_reference, &header.client_reference),
        tags: if door.tags.is_empty() { header.tags.clone() } else { door.tags },
        metadata: if door.metadata.is_empty() { header.metadata.clone() } else { door.metadata },
        send_at: door.send_at.or(header.send_at),
        list_unsubscribe: door.list_unsubscribe.or(header.list_unsubscribe),
        time_to_live: door.time_to_live.or(header.time_to_live),
        bounce_address: text(door.bounce_address, &header.bounce_address),
        tls: if door.tls == TlsWish::Usual { header.tls } else { door.tls },
        wishes: door.wishes,
        way: door.way,
    }
}

/// What becomes of every recipient when one of them must not even stand beside others.
fn rejected(address: &Address, found: &Found) -> Fate {
    let diagnostic = format!("nobody gets it: {address}: {}", found.diagnostic(address));
    Fate::Suppressed { reason: found.reason, diagnostic }
}
