//! A mail itself, for the frame that keeps it in, and to be saved. Nothing here runs, loads from elsewhere, or has an
//! origin.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};

use super::messages::find;
use super::page::{guard, whole};
use super::{Fault, Page, Visit};
use crate::http::memory::Share;
use crate::mail::view;
use crate::model::id::DeliveryId;

/// The frame that a mail is shown in: it runs nothing, loads nothing, and is of no origin.
pub(super) const MAIL_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; \
    img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'self'; frame-ancestors 'self'";

/// HTML of a stranger, kept in.
pub(super) fn kept_in(html: &str, policy: &str) -> Page {
    let framed = format!("<!doctype html><base target=\"_blank\">{html}");
    let mut answer = whole(StatusCode::OK, "text/html; charset=utf-8", framed.into());
    guard(&mut answer, policy);
    Ok(answer)
}

/// The mail, and the memory that it takes.
async fn content(visit: &Visit<'_>, id: &str) -> Result<(Bytes, Share), Fault> {
    let message = find(visit, id).await?;
    let room = visit.room(message.size_bytes)?;
    Ok((visit.server.store().content(message.id).await?.ok_or(Fault::NotFound)?, room))
}

/// The HTML of a mail as it was handed in.
pub(super) async fn html(visit: &Visit<'_>, id: &str) -> Page {
    let (content, _room) = content(visit, id).await?;
    let seen = view::view(&content);
    kept_in(&seen.html.ok_or(Fault::NotFound)?, MAIL_POLICY)
}

/// One recipient's copy as it goes out: in capture mode its pixel may be loaded, as a reader's program would.
pub(super) async fn copy(visit: &Visit<'_>, id: &str, number: &str) -> Page {
    let message = find(visit, id).await?;
    let recipient = number.parse().map_err(|_| Fault::NotFound)?;
    let delivery = DeliveryId { message: message.id, recipient };
    visit.server.store().delivery(delivery).await?.ok_or(Fault::NotFound)?;
    let _room = visit.room(message.size_bytes)?;
    let content = visit.server.store().content(message.id).await?.ok_or(Fault::NotFound)?;
    let intake = visit.server.intake();
    let signature = intake.signature(&message).await?;
    let rendered = intake.copy(&content, &message, delivery, signature).ok_or(Fault::NotFound)?;
    let seen = view::view(&rendered.bytes);
    let html = match (&seen.html, &seen.text) {
        (Some(html), _) => html.clone(),
        (None, Some(text)) => {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            format!("<pre style=\"white-space: pre-wrap; font: 14px/1.5 sans-serif\">{text}</pre>")
        }
        (None, None) => String::new(),
    };
    let pixel = rendered.tracked.pixel.unwrap_or_default();
    let policy = MAIL_POLICY.replace("img-src data:", &format!("img-src data: {pixel}"));
    let is_plain = pixel.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'\''));
    let is_read_here = visit.server.house().is_capture || message.facts.is_sandboxed;
    kept_in(&html, if is_read_here && is_plain { &policy } else { MAIL_POLICY })
}

/// The mail as it was handed in, to be saved.
pub(super) async fn source(visit: &Visit<'_>, id: &str) -> Page {
    let (content, _room) = content(visit, id).await?;
    let mut answer = whole(StatusCode::OK, "text/plain; charset=utf-8", content);
    guard(&mut answer, MAIL_POLICY);
    let saved = HeaderValue::from_static("attachment; filename=\"message.eml\"");
    answer.headers_mut().insert(CONTENT_DISPOSITION, saved);
    Ok(answer)
}

/// One attachment, to be saved under a name of ours.
pub(super) async fn attachment(visit: &Visit<'_>, id: &str, place: &str) -> Page {
    let (content, _room) = content(visit, id).await?;
    let place: usize = place.parse().map_err(|_| Fault::NotFound)?;
    let file = view::view(&content).attachments.into_iter().nth(place).ok_or(Fault::NotFound)?;
    let mut answer = whole(StatusCode::OK, "application/octet-stream", file.content.into());
    guard(&mut answer, MAIL_POLICY);
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let name: String = file.name.chars().map(safe).take(100).collect();
    let saved = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    answer.headers_mut().extend(saved.ok().map(|saved| (CONTENT_DISPOSITION, saved)));
    Ok(answer)
}
