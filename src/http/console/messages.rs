//! Messages: where somebody looks for one.

use askama::Template;

use super::page::{self, Frame, Section, shown};
use super::visit::choices;
use super::{Fault, Page, Visit, go};
use crate::model::delivery::State;
use crate::model::id::{DeliveryId, MessageId};
use crate::model::message::Message;
use crate::model::search::Search;
use crate::model::statistics::Day;
use crate::store::{Store, StoreError};

/// Messages on one page.
const MESSAGES_MAX: u32 = 50;
/// Bytes of a subject, an address and a tag in a list.
const TEXT_BYTES_MAX: usize = 200;
const ADDRESS_BYTES_MAX: usize = 120;
const TAG_BYTES_MAX: usize = 60;
/// Tags that are shown of one message.
const TAGS_MAX: usize = 5;
/// Bytes of what somebody looks for.
pub(super) const TYPED_BYTES_MAX: usize = 300;

/// A message in a list.
pub(super) struct Line {
    pub id: MessageId,
    pub at: String,
    pub from: String,
    pub to: String,
    pub subject: String,
    pub tags: Vec<String>,
    /// State and how many, the most telling first.
    pub states: Vec<(&'static str, u64)>,
}

impl Line {
    /// One message, without what became of it.
    pub(super) fn of(message: &Message) -> Self {
        let facts = &message.facts;
        let mut to = facts.to.iter().chain(&facts.cc).chain(&facts.bcc).map(|mailbox| mailbox.address.clone());
        let first = to.next().unwrap_or_default();
        let more = to.count();
        let first = page::cut(&first, ADDRESS_BYTES_MAX);
        Self {
            id: message.id,
            at: shown(message.accepted_at),
            from: page::cut(&facts.from.address, ADDRESS_BYTES_MAX),
            to: if more == 0 { first } else { format!("{first} and {more} more") },
            subject: page::cut(&facts.subject, TEXT_BYTES_MAX),
            tags: facts.tags.iter().take(TAGS_MAX).map(|tag| page::cut(tag, TAG_BYTES_MAX)).collect(),
            states: Vec::new(),
        }
    }

    /// When it was accepted, to the minute, for where there is little room.
    pub(super) fn short(&self) -> &str {
        self.at.get(5..16).unwrap_or(&self.at)
    }

    /// Messages with what became of them.
    pub(super) async fn of_all(store: &Store, messages: &[Message]) -> Result<Vec<Self>, StoreError> {
        let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
        let mut standings = store.standings(&ids).await?;
        let lines = messages.iter().map(|message| {
            let mut states = standings.remove(&message.id).unwrap_or_default();
            states.sort_by_key(|(state, _)| State::ALL.iter().position(|own| own == state).unwrap_or(0));
            let states = states.into_iter().map(|(state, count)| (state.as_str(), count));
            Self { states: states.collect(), ..Self::of(message) }
        });
        Ok(lines.collect())
    }
}

/// What a person typed into the search.
#[derive(Default)]
struct Typed {
    q: String,
    tag: String,
    status: String,
    from: String,
    until: String,
    agent: String,
}

impl Typed {
    /// The query of the page that goes on before a message.
    fn query(&self, before: &str) -> String {
        let Self { q, tag, status, from, until, agent } = self;
        let fields = [("q", q), ("tag", tag), ("status", status), ("from", from), ("until", until), ("agent", agent)];
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(fields.into_iter().filter(|(_, value)| !value.is_empty()));
        query.append_pair("before", before).finish()
    }
}

#[derive(Template)]
#[template(path = "console/messages.html")]
struct MessagesPage {
    frame: Frame,
    typed: Typed,
    states: [&'static str; State::ALL.len()],
    agents: Vec<(String, String)>,
    messages: Vec<Line>,
    /// The query of the next page.
    next: Option<String>,
    is_cut: bool,
    is_search: bool,
    is_first: bool,
}

/// A tenant's messages, newest first: all, or those that were searched for.
pub(super) async fn list(visit: &Visit<'_>) -> Page {
    let text = |name: &str| page::beginning(visit.query.get(name), TYPED_BYTES_MAX).0.to_owned();
    let typed = Typed {
        q: text("q"),
        tag: text("tag"),
        status: text("status"),
        from: text("from"),
        until: text("until"),
        agent: text("agent"),
    };
    if let Some(message) = find_by_any_id(visit, &typed.q).await? {
        return Ok(go(&visit.path(&format!("messages/{}", message.id))));
    }
    let agents = visit.agents().await?;
    let mut search = Search::all_of(visit.tenant.id);
    search.add(&typed.q);
    if !typed.tag.is_empty() {
        search.tagged(&typed.tag);
    }
    search.agent = agents.iter().find(|agent| agent.key == typed.agent).map(|agent| agent.id);
    search.state = State::from_word(&typed.status);
    search.from = Day::from_date(&typed.from).map(Day::start);
    search.until = Day::from_date(&typed.until).map(|day| day.next().start());
    let store = visit.server.store();
    let before: Option<MessageId> = visit.query.get("before").parse().ok();
    let found = store.search(&search, before, MESSAGES_MAX).await?;
    let fields = [&typed.q, &typed.tag, &typed.status, &typed.from, &typed.until, &typed.agent];
    let page = MessagesPage {
        frame: visit.frame("Messages", Section::Messages, None),
        states: State::ALL.map(State::as_str),
        agents: choices(agents),
        messages: Line::of_all(store, &found.messages).await?,
        next: found.next.map(|next| typed.query(&next.to_string())),
        is_cut: found.is_cut,
        is_search: fields.iter().any(|field| !field.is_empty()),
        is_first: before.is_none(),
        typed,
    };
    page::page(&page)
}

/// The message that a message id, delivery id, request id or `Message-ID` names.
async fn find_by_any_id(visit: &Visit<'_>, id: &str) -> Result<Option<Message>, Fault> {
    let store = visit.server.store();
    let own = |message: Option<Message>| message.filter(|message| message.tenant == visit.tenant.id);
    let of_request = id.strip_prefix("2d6f.").and_then(|rest| rest.split('.').nth(2));
    let of_request = of_request.map(|uuid| format!("msg_{}", uuid.replace('-', "")));
    let named = of_request.as_deref().unwrap_or(id);
    let named = named.parse::<DeliveryId>().map(|delivery| delivery.message).or_else(|_| named.parse::<MessageId>());
    if let Ok(named) = named {
        return Ok(own(store.message(named).await?));
    }
    if !id.contains('@') || id.contains(char::is_whitespace) {
        return Ok(None);
    }
    Ok(store.search(&Search::named(visit.tenant.id, id), None, 1).await?.messages.pop())
}

/// The tenant's message with this id.
pub(super) async fn find(visit: &Visit<'_>, id: &str) -> Result<Message, Fault> {
    let id: MessageId = id.parse().map_err(|_| Fault::NotFound)?;
    let message = visit.server.store().message(id).await?;
    message.filter(|message| message.tenant == visit.tenant.id).ok_or(Fault::NotFound)
}
