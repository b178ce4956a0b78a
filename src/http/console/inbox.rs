//! The inbox of capture mode: what would have been sent, as its recipients would see it. Its pixel loads and its links
//! lead through us, so that opens and clicks are tried out as in life.

use askama::Template;

use super::messages::{Line, TYPED_BYTES_MAX, find};
use super::page::{self, Frame, Section};
use super::{Fault, Page, Visit};
use crate::http::query::encoded;
use crate::mail::view;
use crate::model::id::MessageId;
use crate::model::search::Search;

/// Mails on one page.
const MAILS_MAX: u32 = 40;
/// Recipients of one mail that can be chosen, and attachments that are listed.
const RECIPIENTS_MAX: usize = 100;
const FILES_MAX: usize = 50;
/// Bytes of a name or address.
const TEXT_BYTES_MAX: usize = 120;

/// The mail that is open.
struct Open {
    line: Line,
    from: String,
    /// Number and address of each recipient.
    recipients: Vec<(u32, String)>,
    /// Which of them reads.
    reader: u32,
    address: String,
    attachments: Vec<(String, String)>,
    has_body: bool,
}

#[derive(Template)]
#[template(path = "console/inbox.html")]
struct InboxPage {
    frame: Frame,
    q: String,
    /// Each mail, and whether it is the open one.
    mails: Vec<(Line, bool)>,
    open: Option<Open>,
    next: Option<String>,
}

/// Mails, newest first, and the one that is open.
pub(super) async fn list(visit: &Visit<'_>) -> Page {
    let store = visit.server.store();
    let q = page::beginning(visit.query.get("q"), TYPED_BYTES_MAX).0;
    let mut search = Search::all_of(visit.tenant.id);
    search.add(q);
    if !visit.server.house().is_capture {
        search.sandboxed();
    }
    let before: Option<MessageId> = visit.query.get("before").parse().ok();
    let found = store.search(&search, before, MAILS_MAX).await?;
    let wanted = visit.query.get("open");
    let open = if wanted.is_empty() { None } else { Some(open(visit, wanted).await?) };
    let opened = open.as_ref().map(|open| open.line.id);
    let is_open = |id: MessageId| opened == Some(id);
    let page = InboxPage {
        frame: visit.frame("Inbox", Section::Inbox, None),
        q: q.to_owned(),
        mails: found.messages.iter().map(|mail| (Line::of(mail), is_open(mail.id))).collect(),
        open,
        next: found.next.map(|next| {
            format!("{}before={next}", if q.is_empty() { String::new() } else { format!("q={}&", encoded(q)) })
        }),
    };
    page::page(&page)
}

async fn open(visit: &Visit<'_>, id: &str) -> Result<Open, Fault> {
    let message = find(visit, id).await?;
    let store = visit.server.store();
    let deliveries = store.deliveries(message.id).await?;
    let recipients: Vec<(u32, String)> = deliveries
        .iter()
        .take(RECIPIENTS_MAX)
        .map(|view| {
            (u32::from(view.delivery.id.recipient), page::cut(&view.delivery.address.to_string(), TEXT_BYTES_MAX))
        })
        .collect();
    let wanted = visit.query.get("to").parse().unwrap_or(0);
    let reader = recipients.iter().find(|(number, _)| *number == wanted).or(recipients.first());
    let (reader, address) = reader.cloned().unwrap_or_default();
    let _room = visit.room(message.size_bytes)?;
    let content = store.content(message.id).await?;
    let seen = content.as_deref().map(view::view).unwrap_or_default();
    let facts = &message.facts;
    let attachments = seen.attachments.iter().take(FILES_MAX);
    let attachments =
        attachments.map(|file| (page::cut(&file.name, TEXT_BYTES_MAX), page::size(file.content.len() as u64)));
    Ok(Open {
        line: Line::of(&message),
        from: match facts.from.name.as_str() {
            "" => page::cut(&facts.from.address, TEXT_BYTES_MAX),
            name => page::cut(&format!("{name} <{}>", facts.from.address), 2 * TEXT_BYTES_MAX),
        },
        recipients,
        reader,
        address,
        attachments: attachments.collect(),
        has_body: seen.html.is_some() || seen.text.is_some(),
    })
}
