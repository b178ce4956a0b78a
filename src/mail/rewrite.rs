//! Makes a message tracked: links and pixel in its HTML, on request links in its plain text. Every other byte stays.
//!
//! `html` and `text` find what to replace, `parts` finds the bodies, `transfer` replaces at the level of the transfer
//! encoding. Whatever is signed, encrypted, attached, too big or in doubt goes out as it came, and the reason is kept:
//! tracking may fail, mail may not. Called by `deliver`, by `inspect rewrite` and by the preview.
//!
//! The same message and the same answers of [`Links`] give the same bytes, and rewriting twice changes nothing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use memchr::memmem;

use super::charset::Charset;
use super::headers::line_break;
use super::html::{self, Page};
use super::parts::{self, Body, Part, reason};
use super::target::Rules;
use super::text;
use super::transfer::{Decoded, Splice};
use crate::model::token::{HIDDEN_LINK, URL_CHARS_MAX};

pub(super) use reasons::{BEHIND_TEXT, opts_out};
use reasons::{BY_SCHEME, WISH};
pub use reasons::{LeftAlone, OptOut};

mod reasons;

/// A body with more links that could be tracked goes out as it came.
const LINKS_MAX: usize = 1_000;
/// Links of a message that are told of although they stayed.
const LEFT_MAX: usize = 1_000;

/// What to track.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Add a pixel to the first HTML body.
    pub opens: bool,
    /// At the top of the body rather than at its end. Long HTML has it there anyway, since some readers cut it.
    pub pixel_on_top: bool,
    /// Put a link that no reader sees beside the pixel.
    pub hidden_link: bool,
    /// Rewrite the links of HTML bodies.
    pub clicks: bool,
    /// Leave links alone that carry a secret: a parameter named token, code, key, otp, signature, reset, verify, magic.
    pub clicks_auto: bool,
    /// Rewrite the links of plain text bodies too.
    pub text_clicks: bool,
    /// Base of tracked URLs, `https://track.example.com`: its host is never rewritten again.
    pub own_base_url: &'a str,
    /// Hosts whose links stay; `*.example.com` means every host below.
    pub skip_hosts: &'a [String],
}

/// In which kind of part a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// `text/html`.
    Html,
    /// `text/plain`.
    Text,
}

/// Gives the tracked URLs of one delivery: only ASCII letters, digits and `/ : . - _`.
pub trait Links {
    /// The pixel's URL; `None` for no pixel.
    fn pixel(&mut self) -> Option<String>;
    /// The URL that redirects to `target`; `None` leaves the link as it is. Asked once a target and kind, with
    /// indices that count up from 0.
    fn link(&mut self, index: u16, kind: LinkKind, target: &str) -> Option<String>;
}

/// What came of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartReport {
    /// Its place, as IMAP counts: `1`, `2.1`.
    pub path: String,
    /// `text/html`.
    pub content_type: String,
    /// Why it stayed as it was; `None` when it was rewritten.
    pub untouched: Option<&'static str>,
}

/// One link that was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// As it stood in the part, entities not decoded.
    pub original: String,
    /// Where the redirect leads.
    pub target: String,
    /// What stands there now.
    pub tracked: String,
}

/// One link that stayed as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftLink {
    /// As it stands in the part, entities not decoded.
    pub original: String,
    /// Why.
    pub why: LeftAlone,
}

/// A rewritten message and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten<'a> {
    /// The message; borrowed when nothing changed.
    pub bytes: Cow<'a, [u8]>,
    /// Its parts, in order.
    pub parts: Vec<PartReport>,
    /// Its rewritten links, in order.
    pub links: Vec<LinkReport>,
    /// The links that stayed in the parts that were looked through; of very many, the first.
    pub left: Vec<LeftLink>,
    /// Whether it has our pixel now.
    pub pixel: bool,
}

/// Rewrites `message`. Linear in its size; never fails: what cannot be rewritten safely stays. Marks that are meant for
/// us (`https+notrack:`, `{{open_pixel}}`) go whatever is wanted, since no reader can make anything of them.
pub fn rewrite<'a>(message: &'a [u8], wanted: &Wanted<'_>, links: &mut dyn Links) -> Rewritten<'a> {
    let mut work = Work::new(message, wanted, links);
    work.message();
    work.rewritten
}

/// `message` without the marks that are meant for us, nothing tracked.
pub fn without_marks(message: &[u8]) -> Cow<'_, [u8]> {
    struct Nothing;
    impl Links for Nothing {
        fn pixel(&mut self) -> Option<String> {
            None
        }

        fn link(&mut self, _: u16, _: LinkKind, _: &str) -> Option<String> {
            None
        }
    }
    rewrite(message, &Wanted::default(), &mut Nothing).bytes
}

/// One link or pixel of a body, before it is known whether it fits.
struct Edit {
    splice: Splice,
    becomes: Becomes,
}

enum Becomes {
    Link(LinkReport),
    Pixel,
    /// A mark that was meant for us, gone.
    Plain,
}

struct Work<'a, 'w> {
    message: &'a [u8],
    wanted: Wanted<'w>,
    links: &'w mut dyn Links,
    rules: Rules,
    tracked: HashMap<(LinkKind, String), Result<String, LeftAlone>>,
    wants_pixel: bool,
    rewritten: Rewritten<'a>,
}

impl<'a, 'w> Work<'a, 'w> {
    fn new(message: &'a [u8], wanted: &Wanted<'w>, links: &'w mut dyn Links) -> Self {
        let bytes = Cow::Borrowed(message);
        Self {
            message,
            wanted: *wanted,
            links,
            rules: Rules::new(message, wanted),
            tracked: HashMap::new(),
            wants_pixel: wanted.opens,
            rewritten: Rewritten { bytes, parts: Vec::new(), links: Vec::new(), left: Vec::new(), pixel: false },
        }
    }

    fn message(&mut self) {
        let (parts, mut sealed) = parts::parts(self.message);
        let bodies: Vec<_> = parts.iter().map(|part| decoded(self.message, part)).collect();
        if bodies.iter().zip(&parts).any(|(body, part)| holds_armour(self.message, part, body.as_ref().ok())) {
            sealed = sealed.or(Some(reason::SEALED));
        }
        let mut out = Vec::new();
        let mut copied = 0;
        for (part, decoded) in parts.into_iter().zip(bodies) {
            let body = match (sealed, part.body, decoded) {
                (Some(reason), ..) | (None, Err(reason), _) | (None, _, Err(reason)) => Err(reason),
                (None, Ok(body), Ok(decoded)) => self.body(&body, &decoded),
            };
            if let Ok(bytes) = &body {
                out.extend_from_slice(&self.message[copied..part.range.start]);
                out.extend_from_slice(bytes);
                copied = part.range.end;
            }
            let (path, content_type) = (part.path, part.content_type);
            self.rewritten.parts.push(PartReport { path, content_type, untouched: body.err() });
        }
        if copied > 0 {
            out.extend_from_slice(&self.message[copied..]);
            self.rewritten.bytes = Cow::Owned(out);
        }
    }

    /// The rewritten body as it is sent, or why it stays.
    fn body(&mut self, body: &Body, decoded: &Decoded<'_>) -> Result<Vec<u8>, &'static str> {
        let is_wanted = self.wants_links(body.kind) || (self.wants_pixel && body.kind == LinkKind::Html);
        let nothing = if is_wanted { reason::NOTHING } else { reason::NOT_WANTED };
        let scannable = body.charset.scannable(&decoded.bytes);
        let scannable = scannable.ok_or(if is_wanted { reason::CHARSET } else { nothing })?;
        if !is_wanted && !may_be_marked(&scannable) {
            return Err(nothing);
        }
        let mut edits = match body.kind {
            LinkKind::Html => self.html(body, &decoded.bytes, &scannable)?,
            LinkKind::Text => self.text(body, &decoded.bytes, &scannable)?,
        };
        edits.sort_by_key(|edit| edit.splice.range.start);
        let (splices, becomes): (Vec<_>, Vec<_>) = edits.into_iter().map(|edit| (edit.splice, edit.becomes)).unzip();
        let (bytes, made) = decoded.spliced(&splices, line_break(self.message));
        let untouched = if made.is_empty() { nothing } else { reason::LONG_LINES };
        let is_changed = made.contains(&true);
        for (becomes, is_made) in becomes.into_iter().zip(made) {
            match becomes {
                Becomes::Link(report) if is_made => self.rewritten.links.push(report),
                Becomes::Link(report) => self.leave(|| report.original, LeftAlone::LongLine),
                Becomes::Pixel => self.rewritten.pixel |= is_made,
                Becomes::Plain => (),
            }
        }
        is_changed.then_some(bytes).ok_or(untouched)
    }

    /// Tells of a link that stays.
    fn leave(&mut self, original: impl FnOnce() -> String, why: LeftAlone) {
        if self.rewritten.left.len() < LEFT_MAX {
            self.rewritten.left.push(LeftLink { original: original(), why });
        }
    }

    fn wants_links(&self, kind: LinkKind) -> bool {
        match kind {
            LinkKind::Html => self.wanted.clicks,
            LinkKind::Text => self.wanted.text_clicks,
        }
    }

    fn html(&mut self, body: &Body, bytes: &[u8], scannable: &[u8]) -> Result<Vec<Edit>, &'static str> {
        let page = html::scan(scannable);
        let mut found = Vec::new();
        for href in &page.hrefs {
            let left = match () {
                () if !self.wanted.clicks => Some(LeftAlone::Off),
                () if href.is_overlong => Some(LeftAlone::TooLong),
                () => href.opted_out.map(LeftAlone::OptedOut),
            };
            let raw = &bytes[href.span.clone()];
            let value = || attribute_text(&body.charset, raw, &href.value);
            found.extend(self.found(body, raw, (href.span.clone(), href.blank), left, value));
        }
        let mut edits = self.tracked(body, bytes, found)?;
        let pixel = if std::mem::take(&mut self.wants_pixel) { self.pixel(bytes, &page) } else { None };
        let mark = || page.mark.clone().map(|range| plain(range, None));
        edits.extend(pixel.or_else(mark));
        Ok(edits)
    }

    fn text(&mut self, body: &Body, bytes: &[u8], scannable: &[u8]) -> Result<Vec<Edit>, &'static str> {
        let mut found = Vec::new();
        for link in text::scan(scannable, body.joins_lines) {
            let left = if self.wanted.text_clicks { link.left } else { Some(LeftAlone::Off) };
            let raw = &bytes[link.span.clone()];
            let value = || body.charset.text(&link.value).map(Cow::into_owned);
            found.extend(self.found(body, raw, (link.span.clone(), None), left, value));
        }
        self.tracked(body, bytes, found)
    }

    /// A link that the rules let us touch.
    fn found(
        &mut self,
        body: &Body,
        raw: &[u8],
        (range, break_at): (Range<usize>, Option<usize>),
        left: Option<LeftAlone>,
        value: impl FnOnce() -> Option<String>,
    ) -> Option<Found> {
        if let Some(wish) = no_tracking(raw) {
            self.leave(|| original(body, raw), LeftAlone::OptedOut(BY_SCHEME));
            let range = range.start + wish.start..range.start + wish.end;
            return Some(Found { range, break_at, target: None });
        }
        // A NUL reads as U+FFFD, and a masked run as letters.
        let is_unclear = || raw.iter().any(|byte| matches!(byte, 0 | 0x0e | 0x0f | 0x1b));
        let left = left.or_else(|| is_unclear().then_some(LeftAlone::Unclear));
        let target = match left {
            Some(why) => Err(why),
            None => value().ok_or(LeftAlone::Unclear).and_then(|value| self.rules.target(&value)),
        };
        match target {
            Ok(target) => Some(Found { range, break_at, target: Some(target) }),
            Err(why) => {
                self.leave(|| original(body, raw), why);
                None
            }
        }
    }

    fn tracked(&mut self, body: &Body, bytes: &[u8], found: Vec<Found>) -> Result<Vec<Edit>, &'static str> {
        if found.iter().filter(|found| found.target.is_some()).count() > LINKS_MAX {
            return Err(reason::TOO_MANY_LINKS);
        }
        let mut edits = Vec::with_capacity(found.len() + 1);
        for Found { range, break_at, target } in found {
            let Some(target) = target else {
                edits.push(plain(range, break_at));
                continue;
            };
            let original = original(body, &bytes[range.clone()]);
            let tracked = match self.url(body.kind, &target) {
                Ok(tracked) => tracked,
                Err(why) => {
                    self.leave(|| original, why);
                    continue;
                }
            };
            let splice = Splice { range, text: tracked.clone(), break_at };
            edits.push(Edit { splice, becomes: Becomes::Link(LinkReport { original, target, tracked }) });
        }
        Ok(edits)
    }

    /// The tracked URL of a target, the same at every place where it stands.
    fn url(&mut self, kind: LinkKind, target: &str) -> Result<String, LeftAlone> {
        let key = (kind, target.to_owned());
        if let Some(known) = self.tracked.get(&key) {
            return known.clone();
        }
        let index = u16::try_from(self.tracked.len()).ok().filter(|index| *index < HIDDEN_LINK);
        let index = index.ok_or(LeftAlone::NoUrl)?;
        let url = match self.links.link(index, kind, target).filter(|url| is_plain(url)) {
            Some(url) if outgrows(&url, target) => Err(LeftAlone::Outgrows),
            url => url.ok_or(LeftAlone::NoUrl),
        };
        self.tracked.insert(key, url.clone());
        url
    }

    fn pixel(&mut self, bytes: &[u8], page: &Page) -> Option<Edit> {
        let url = self.links.pixel().filter(|url| is_plain(url))?;
        if memmem::find(bytes, url.as_bytes()).is_some() {
            self.rewritten.pixel = true;
            return None;
        }
        let range = page.pixel_place(self.wanted.pixel_on_top);
        // Out of the flow and without height: at the end of a body an ordinary block would keep apart two margins that
        // collapse. Without these two words every plain mail of paragraphs or lists grows by 8 or 9 pixels in Chromium,
        // and a published template in forty; with them none changes. Not `display:none`, which some never load.
        let style = "display:block;float:left;margin:-1px 0 0;border:0;width:1px;height:1px";
        let mut text = format!(r#"<img src="{url}" width="1" height="1" alt="" style="{style}" />"#);
        text += &self.hidden_link().unwrap_or_default();
        let break_at = Some(range.start);
        Some(Edit { splice: Splice { range, text, break_at }, becomes: Becomes::Pixel })
    }

    /// A link without text, size or place in the order of keys: only who reads the markup finds it. It leads to what
    /// tells machines to stay away.
    fn hidden_link(&mut self) -> Option<String> {
        if !self.wanted.hidden_link {
            return None;
        }
        let target = format!("{}/robots.txt", self.wanted.own_base_url);
        let url = self.links.link(HIDDEN_LINK, LinkKind::Html, &target).filter(|url| is_plain(url))?;
        Some(format!(r#"<a href="{url}" tabindex="-1" aria-hidden="true" style="display:none;mso-hide:all"></a>"#))
    }
}

/// A link that will be replaced by a tracked URL, or, without a target, what goes from one that stays.
struct Found {
    range: Range<usize>,
    break_at: Option<usize>,
    target: Option<String>,
}

/// A mark that goes.
fn plain(range: Range<usize>, break_at: Option<usize>) -> Edit {
    Edit { splice: Splice { range, text: String::new(), break_at }, becomes: Becomes::Plain }
}

/// Whether a body may hold a mark that is meant for us.
fn may_be_marked(bytes: &[u8]) -> bool {
    let is_wish = |at: usize| bytes.get(at..at + WISH.len()).is_some_and(|found| found.eq_ignore_ascii_case(WISH));
    memchr::memchr_iter(b'+', bytes).any(is_wish) || memmem::find(bytes, html::PIXEL_MARK.as_bytes()).is_some()
}

fn decoded<'a>(message: &'a [u8], part: &Part) -> Result<Decoded<'a>, &'static str> {
    let body = part.body.as_ref().map_err(|reason| *reason)?;
    if part.range.is_empty() {
        return Err(reason::NOTHING);
    }
    Decoded::new(&message[part.range.clone()], body.encoding).ok_or(reason::ENCODING)
}

/// Whether a text body holds a PGP block, whatever else is wrong with it.
fn holds_armour(message: &[u8], part: &Part, decoded: Option<&Decoded<'_>>) -> bool {
    let is_text = matches!(part.content_type.as_str(), "text/plain" | "text/html");
    let bytes = decoded.map_or(&message[part.range.clone()], |decoded| &decoded.bytes);
    is_text && part.body != Err(reason::ATTACHMENT) && memmem::find(bytes, b"-----BEGIN PGP").is_some()
}

/// A link as it stands in its part.
fn original(body: &Body, raw: &[u8]) -> String {
    body.charset.text(raw).unwrap_or_else(|| String::from_utf8_lossy(raw)).into_owned()
}

/// What an attribute says. The scanner decodes entities into UTF-8, so the bytes around them must be UTF-8 too.
fn attribute_text(charset: &Charset, raw: &[u8], value: &[u8]) -> Option<String> {
    let text = match charset.text(raw)? {
        Cow::Borrowed(_) => return String::from_utf8(value.to_vec()).ok(),
        Cow::Owned(text) => text,
    };
    let quote = ['"', '\''].into_iter().find(|quote| !text.contains(*quote))?;
    let tag = format!("<a href={quote}{text}{quote}>");
    // In UTF-8 it may be longer than what the scanner reads.
    let href = html::scan(tag.as_bytes()).hrefs.pop().filter(|href| !href.is_overlong)?;
    String::from_utf8(href.value).ok()
}

/// Where [`WISH`] stands in the scheme of a link that begins with it: that goes, and the rest stays as it is spelled.
pub(super) fn no_tracking(raw: &[u8]) -> Option<Range<usize>> {
    let start = raw.len() - raw.trim_ascii_start().len();
    [b"https".as_slice(), b"http"].into_iter().find_map(|scheme| {
        let (wish, end) = (start + scheme.len(), start + scheme.len() + WISH.len());
        let is_scheme = raw.get(start..wish)?.eq_ignore_ascii_case(scheme);
        let is_wish = raw.get(wish..end)?.eq_ignore_ascii_case(WISH) && raw[end..].starts_with(b"://");
        (is_scheme && is_wish).then_some(wish..end)
    })
}

/// Whether a URL can stand anywhere, quoted or not, without a second look.
fn is_plain(url: &str) -> bool {
    url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/:.-_[]".contains(&byte))
}

/// Whether tracking would push a link over the length at which some mail readers stop to open it.
fn outgrows(url: &str, target: &str) -> bool {
    url.len() > URL_CHARS_MAX && target.len() <= URL_CHARS_MAX
}

#[cfg(test)]
mod tests;
