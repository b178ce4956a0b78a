//! What telling an event needs: the event, the message that it is about, and the settings of its mail agent.

use std::collections::HashSet;

use super::super::db::Result;
use super::super::value::{Row, Value};
use super::super::{events, messages};
use super::Lane;
use crate::model::event::{Event, EventKind};
use crate::model::id::EventId;
use crate::model::message::Message;
use crate::model::notice::blank;

/// A statement as its parts around a list, and the list.
pub(super) type Query = (&'static str, &'static str, Vec<Vec<Value>>);

/// The query for these events.
pub(super) fn of(lane: Lane, events: HashSet<EventId>) -> Query {
    const HEAD: &str = "with wanted (event_id) as (values";
    macro_rules! facts_of {
        ($messages:literal) => {
            concat!(
                ")
                select wanted.event_id, events.message_id, recipient, events.tenant_id, events.agent_id, kind,
                    ordinal, at, address, detail, relay, relay_at, is_test,
                    messages.id, agent_key, source, accepted_at, size_bytes, facts, settings
                from wanted
                join events on events.id = wanted.event_id
                left join ",
                $messages,
                " as messages on messages.id = events.message_id
                left join agents on agents.id = events.agent_id"
            )
        };
    }
    let tail = match lane {
        Lane::Fresh | Lane::Retry => facts_of!("messages"),
        Lane::Trial => facts_of!("samples"),
    };
    (HEAD, tail, events.into_iter().map(|event| vec![event.into()]).collect())
}

/// An event and its message, from a row of facts.
pub(super) fn told(row: &Row) -> Result<(Event, Message)> {
    let event = events::read(row)?;
    let message = if event.kind.is_notice() { blank(&event) } else { messages::read(row)? };
    Ok((event, message))
}

/// The event of a row of facts, unless its message is gone.
pub(super) fn whole(row: &Row) -> Option<EventId> {
    let needs_message = || row.word("kind", EventKind::from_word).is_ok_and(|kind| !kind.is_notice());
    let is_gone = matches!(row.maybe_bytes("id"), Ok(None)) && needs_message();
    if is_gone { None } else { row.id("event_id").ok().map(EventId::from_bytes) }
}
