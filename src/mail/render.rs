//! Renders one recipient's copy of a message: what goes over the wire, and the return path that reports come back to.
//!
//! Taken out: `Bcc`, `Return-Path`, and whatever header of ours was left. Put in: tracked links and pixel as the message
//! was accepted with, and `X-Postback-Ref`, by which a complaint that lost its envelope finds its delivery. The same
//! message, delivery and keys give the same bytes on any node and any retry. Tracking can fail, the mail cannot: the one
//! thing without which nothing is rendered is a key for the return path. Called by `deliver` and by the preview.

use std::borrow::Cow;

use super::headers::{self, Field};
use super::rewrite::{self, LeftLink, LinkKind, LinkReport, Links, PartReport, Wanted};
use crate::model::id::DeliveryId;
use crate::model::message::{Facts, Message, Tracking};
use crate::model::token::{self, KeyRing, Reference, Sealer};

/// The header that names the delivery: the local part of its return path.
pub const REFERENCE_HEADER: &str = "X-Postback-Ref";

/// What our own headers begin with. None but [`REFERENCE_HEADER`] leaves the house.
const OWN_PREFIX: &str = "X-Postback-";
/// Headers that are the submitter's alone, or for the last server to write (RFC 5322 §3.6.3, RFC 5321 §4.4).
const TAKEN_OUT: [&str; 3] = ["Bcc", "Resent-Bcc", "Return-Path"];

/// A copy that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Header and body; every line ends in CRLF.
    pub bytes: Vec<u8>,
    /// The envelope sender; empty for the null sender.
    pub return_path: String,
    /// What tracking made of it.
    pub tracked: Tracked,
}

/// What tracking made of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Where its pixel is.
    pub pixel: Option<String>,
    /// Its rewritten links, in order.
    pub links: Vec<LinkReport>,
    /// The links that stayed as they were, and why.
    pub left: Vec<LeftLink>,
    /// Its parts, in order, with the reasons of those that stayed as they were.
    pub parts: Vec<PartReport>,
    /// Why nothing of it was even tried.
    pub untouched: Option<&'static str>,
}

/// Whether a signature of the author's domain is put on what was rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Ours.
    Follows,
    /// We have no key.
    None,
}

/// Renders the copy of `message` that `delivery` names from what was handed in; `None` when the ring has no key to
/// seal its return path with.
pub fn render(
    content: &[u8],
    message: &Message,
    delivery: DeliveryId,
    return_path_domain: &str,
    ring: &KeyRing,
    signature: Signature,
) -> Option<Rendered> {
    let tracking = &message.facts.tracking;
    let sealed = [Some(tracking.key_id), ring.newest()]
        .into_iter()
        .flatten()
        .find_map(|key| token::seal_return_path(ring, key, delivery))?;
    let (content, tracked) = track(content, &message.facts, delivery, ring, signature);
    let unsubscribe = unsubscribe_fields(&content, &message.facts, delivery, ring).unwrap_or_default();
    // `dkim` puts our signatures on top, over exactly this.
    let bytes = assemble(&format!("{REFERENCE_HEADER}: {sealed}\r\n{unsubscribe}"), &content);
    let return_path = match message.facts.is_report {
        true => String::new(),
        false => format!("{sealed}@{return_path_domain}"),
    };
    Some(Rendered { bytes, return_path, tracked })
}

/// How many links each copy of a message has that are tracked: as many as their tokens count.
pub fn tracked_links(content: &[u8], facts: &Facts) -> u16 {
    struct Counting(u16);
    impl Links for Counting {
        fn pixel(&mut self) -> Option<String> {
            None
        }

        fn link(&mut self, index: u16, _: LinkKind, _: &str) -> Option<String> {
            self.0 = self.0.max(index.saturating_add(1));
            None
        }
    }
    let mut counting = Counting(0);
    rewrite::rewrite(content, &wanted(&facts.tracking), &mut counting);
    counting.0
}

/// What a message was accepted with, in the words of `rewrite`.
fn wanted(tracking: &Tracking) -> Wanted<'_> {
    Wanted {
        opens: tracking.opens,
        pixel_on_top: tracking.pixel_on_top,
        hidden_link: tracking.hidden_link,
        clicks: tracking.clicks,
        clicks_auto: tracking.spares_secrets,
        text_clicks: tracking.clicks && tracking.text_links,
        own_base_url: &tracking.base_url,
        skip_hosts: &tracking.skip_hosts,
    }
}

/// The fields by which a mailbox provider unsubscribes its reader with one click (RFC 8058 §3.1); `None` where they are
/// not wanted, where the mail has its own, or where nobody could open the link.
fn unsubscribe_fields(content: &[u8], facts: &Facts, delivery: DeliveryId, ring: &KeyRing) -> Option<String> {
    let is_wanted = facts.list_unsubscribe && !facts.tracking.base_url.is_empty();
    if !is_wanted || headers::fields(content).any(|field| field.is("List-Unsubscribe")) {
        return None;
    }
    let url = Sealed::new(&facts.tracking, delivery, ring)?.url('u', &Reference::Unsubscribe);
    Some(format!("List-Unsubscribe: <{url}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"))
}

/// The message, tracked as it was accepted with, or as it came.
fn track<'a>(
    content: &'a [u8],
    facts: &Facts,
    delivery: DeliveryId,
    ring: &KeyRing,
    signature: Signature,
) -> (Cow<'a, [u8]>, Tracked) {
    let tracking = &facts.tracking;
    let untracked = |bytes, why| (bytes, Tracked { untouched: Some(why), ..Tracked::default() });
    let is_left_alone = match () {
        () if !(tracking.opens || tracking.clicks) => Some("tracking is off"),
        () if facts.untracked.contains(&delivery.recipient) => Some("the recipient is not to be tracked"),
        () if tracking.base_url.is_empty() => Some("the tracking host of its sending domain has not passed its check"),
        () => None,
    };
    let signers = signers(content, facts);
    if signers.other {
        return untracked(
            Cow::Borrowed(content),
            is_left_alone.unwrap_or("signed by another domain than its sender's"),
        );
    }
    if signature == Signature::None && signers.sender {
        return untracked(Cow::Borrowed(content), is_left_alone.unwrap_or("signed by its sender's domain"));
    }
    let without_marks = || match rewrite::without_marks(content) {
        Cow::Owned(changed) => Cow::Owned(without_sender_s_signatures(&changed, facts).into_owned()),
        unchanged => unchanged,
    };
    if let Some(why) = is_left_alone {
        return untracked(without_marks(), why);
    }
    let Some(mut sealed) = Sealed::new(tracking, delivery, ring) else {
        return untracked(without_marks(), "no key to seal links with");
    };
    let rewritten = rewrite::rewrite(content, &wanted(tracking), &mut sealed);
    let pixel = rewritten.pixel.then(|| sealed.url('o', &Reference::Open));
    let (links, left, parts) = (rewritten.links, rewritten.left, rewritten.parts);
    let tracked = Tracked { pixel, links, left, parts, untouched: None };
    let bytes = match rewritten.bytes {
        Cow::Owned(changed) => Cow::Owned(without_sender_s_signatures(&changed, facts).into_owned()),
        unchanged => unchanged,
    };
    (bytes, tracked)
}

/// Who signed a mail that came with DKIM signatures: changing the body breaks them.
#[derive(Clone, Copy, Debug, Default)]
struct Signers {
    /// Its author's domain: where we hold its key, we sign in its place.
    sender: bool,
    /// Another: nobody can sign in its place.
    other: bool,
}

fn signers(content: &[u8], facts: &Facts) -> Signers {
    let author = author_domain(facts);
    headers::signing_domains(content).iter().fold(Signers::default(), |found, signer| {
        let is_sender = is_aligned(signer, &author);
        Signers { sender: found.sender | is_sender, other: found.other | !is_sender }
    })
}

/// The mail without the signatures of its author's domain, which our changes have broken: ours takes their place.
fn without_sender_s_signatures<'a>(content: &'a [u8], facts: &Facts) -> Cow<'a, [u8]> {
    let author = author_domain(facts);
    headers::without_signatures(content, |signer| is_aligned(signer, &author))
}

/// The domain of `From`, lower case; empty when there is none.
pub fn author_domain(facts: &Facts) -> String {
    facts.from.address.rsplit_once('@').map_or_else(String::new, |(_, domain)| domain.to_ascii_lowercase())
}

/// Whether one is the other or a domain above it: the relaxed alignment of RFC 7489 §3.1.1, siblings aside.
pub fn is_aligned(one: &str, other: &str) -> bool {
    let is_above =
        |above: &str, below: &str| below.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    is_above(one, other) || is_above(other, one)
}

/// The tracked URLs of one delivery.
struct Sealed<'a> {
    base_url: &'a str,
    delivery: DeliveryId,
    sealer: Sealer,
}

impl<'a> Sealed<'a> {
    fn new(tracking: &'a Tracking, delivery: DeliveryId, ring: &KeyRing) -> Option<Self> {
        let base_url = tracking.base_url.as_str();
        let (_, host) = base_url.split_once("://")?;
        let host = host.split('/').next().unwrap_or_default().to_ascii_lowercase();
        if host.is_empty() {
            return None;
        }
        // A key that was revoked while the mail waited seals nothing any more.
        let keys = [Some(tracking.key_id), ring.newest()];
        let sealer = keys.into_iter().flatten().find_map(|key| Sealer::new(ring, key, &host))?;
        Some(Self { base_url, delivery, sealer })
    }

    fn url(&self, kind: char, reference: &Reference) -> String {
        format!("{}/{kind}/{}", self.base_url, self.sealer.seal(self.delivery, reference))
    }
}

impl Links for Sealed<'_> {
    fn pixel(&mut self) -> Option<String> {
        Some(self.url('o', &Reference::Open))
    }

    fn link(&mut self, index: u16, kind: LinkKind, target: &str) -> Option<String> {
        if index > token::LINK_INDEX_MAX || !token::is_followable(target) {
            return None;
        }
        let target = target.to_owned();
        let reference = match kind {
            LinkKind::Html => Reference::Click { link: index, target },
            LinkKind::Text => Reference::TextClick { link: index, target },
        };
        Some(self.url('c', &reference))
    }
}

/// `top`, the fields that stay, and the body.
fn assemble(top: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(top.len() + content.len() + 2);
    bytes.extend_from_slice(top.as_bytes());
    let mut copied = 0;
    for field in headers::fields(content).filter(is_taken_out) {
        bytes.extend_from_slice(&content[copied..field.range.start]);
        copied = field.range.end;
    }
    bytes.extend_from_slice(&content[copied..]);
    with_strict_line_ends(bytes)
}

fn is_taken_out(field: &Field<'_>) -> bool {
    let is_own =
        |name: &[u8]| name.get(..OWN_PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(OWN_PREFIX.as_bytes()));
    is_own(field.name) || TAKEN_OUT.iter().any(|name| field.is(name))
}

/// Acceptance stores CRLF lines. Should another line end ever have come in, it is made CRLF here: a lone CR or LF
/// before a dot is how mail is smuggled through the next hop.
fn with_strict_line_ends(bytes: Vec<u8>) -> Vec<u8> {
    let is_stray = |at: usize| match bytes[at] {
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        _ => bytes.get(at + 1) != Some(&b'\n'),
    };
    if !memchr::memchr2_iter(b'\r', b'\n', &bytes).any(is_stray) {
        return bytes;
    }
    let mut strict = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    let mut copied = 0;
    for at in memchr::memchr2_iter(b'\r', b'\n', &bytes).filter(|at| is_stray(*at)) {
        strict.extend_from_slice(&bytes[copied..at]);
        strict.extend_from_slice(b"\r\n");
        copied = at + 1;
    }
    strict.extend_from_slice(&bytes[copied..]);
    strict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::Mailbox;
    use crate::model::id::{AgentId, MessageId, TenantId};
    use crate::model::message::Source;
    use crate::model::time::Timestamp;
    use crate::model::token::{BOUNCE_AGE_MAX, Key};

    fn ring() -> KeyRing {
        KeyRing::new(vec![Key { id: 4, secret: [4; 32] }, Key { id: 3, secret: [3; 32] }])
    }

    fn delivery() -> DeliveryId {
        DeliveryId { message: MessageId::from_bytes(*b"0123456789abcdef"), recipient: 2 }
    }

    fn message(tracking: Tracking) -> Message {
        let from = Mailbox::bare("orders@shop.Example.com");
        Message {
            id: delivery().message,
            tenant: TenantId::from_bytes([1; 16]),
            agent: AgentId::from_bytes([2; 16]),
            agent_key: "a".into(),
            source: Source::Smtp,
            accepted_at: Timestamp::default(),
            facts: Facts { from, tracking, ..Facts::default() },
            size_bytes: 0,
        }
    }

    fn tracked() -> Tracking {
        let base_url = "https://Track.example.com:8443".into();
        Tracking { opens: true, clicks: true, base_url, key_id: 3, ..Tracking::default() }
    }

    fn untracked(content: &[u8]) -> Rendered {
        render(content, &message(Tracking::default()), delivery(), "bounce.example.com", &ring(), Signature::None)
            .unwrap()
    }

    /// What stands below the one header that we add.
    fn check(content: &[u8], expected: &[u8]) {
        let rendered = untracked(content);
        let below = rendered.bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(String::from_utf8_lossy(&rendered.bytes[below..]), String::from_utf8_lossy(expected));
    }

    #[test]
    fn headers_that_stay_in_the_house() {
        check(b"Subject: x\r\n\r\nBcc: body\r\n", b"Subject: x\r\n\r\nBcc: body\r\n");
        check(
            b"Return-Path: <a@b.example>\r\nbcc: c@d.example,\r\n e@f.example\r\nSubject: x\r\nX-Postback-Tag: t\r\n\
              x-postback-ref: forged\r\nResent-Bcc: g@h.example\r\n\r\nbody\r\n",
            b"Subject: x\r\n\r\nbody\r\n",
        );
        check(b"", b"");
        check(b"no field at all", b"no field at all");
    }

    #[test]
    fn stray_line_ends_cannot_be_smuggled() {
        check(b"a: b\n\nx\r\n.\n.\r.\r\n", b"a: b\r\n\r\nx\r\n.\r\n.\r\n.\r\n");
        check(b"a: b\r\n\r\nx\r\r\n", b"a: b\r\n\r\nx\r\n\r\n");
        check(b"a: b\r\n\r\nx\r", b"a: b\r\n\r\nx\r\n");
    }

    #[test]
    fn the_return_path_opens_to_the_delivery() {
        let rendered = untracked(b"Subject: x\r\n\r\n");
        let (local, domain) = rendered.return_path.split_once('@').unwrap();
        assert_eq!(domain, "bounce.example.com");
        let sent = delivery().message.drawn_at();
        assert_eq!(token::open_return_path(&ring(), local, sent, BOUNCE_AGE_MAX), Some(delivery()));
        assert!(rendered.bytes.starts_with(format!("X-Postback-Ref: {local}\r\nSubject: x\r\n").as_bytes()));
        assert_eq!(rendered, untracked(b"Subject: x\r\n\r\n"), "the same bytes each time");
        let content = b"Subject: x\r\n\r\n";
        let message = message(Tracking::default());
        assert_eq!(
            render(content, &message, delivery(), "bounce.example.com", &KeyRing::default(), Signature::None),
            None
        );
    }

    #[test]
    fn tracked_urls_open_under_their_host() {
        let tracking = tracked();
        let mut links = Sealed::new(&tracking, delivery(), &ring()).unwrap();
        let opened = |url: &str| {
            let (_, token) = url.rsplit_once('/').unwrap();
            token::open(&ring(), "track.example.com:8443", token).map(|(_, reference)| reference)
        };
        let pixel = links.pixel().unwrap();
        assert!(pixel.starts_with("https://Track.example.com:8443/o/"));
        assert_eq!(opened(&pixel), Some(Reference::Open));
        let target = "https://example.com/?a=b#c";
        let click = links.link(7, LinkKind::Html, target).unwrap();
        assert!(click.starts_with("https://Track.example.com:8443/c/"));
        assert_eq!(opened(&click), Some(Reference::Click { link: 7, target: target.into() }));
        let text = links.link(8, LinkKind::Text, target).unwrap();
        assert_eq!(opened(&text), Some(Reference::TextClick { link: 8, target: target.into() }));
        assert_eq!(links.link(1, LinkKind::Html, "javascript:x"), None);
        assert_eq!(links.link(u16::MAX, LinkKind::Html, target), None);
    }

    #[test]
    fn one_click_unsubscribes_where_it_is_wanted() {
        let fields = |content: &[u8], is_wanted, tracking: Tracking| {
            let facts = Facts { list_unsubscribe: is_wanted, ..message(tracking).facts };
            unsubscribe_fields(content, &facts, delivery(), &ring())
        };
        let wanted = fields(b"Subject: x\r\n\r\n", true, tracked()).unwrap();
        let (link, post) = wanted.split_once("\r\n").unwrap();
        assert_eq!(post, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
        let token = link.strip_prefix("List-Unsubscribe: <https://Track.example.com:8443/u/").unwrap();
        let opened = token::open(&ring(), "track.example.com:8443", token.trim_end_matches('>'));
        assert_eq!(opened, Some((delivery(), Reference::Unsubscribe)));
        let own = b"list-unsubscribe: <https://example.com/u>\r\n\r\n";
        assert_eq!(fields(own, true, tracked()), None);
        assert_eq!(fields(b"\r\n", false, tracked()), None);
        assert_eq!(fields(b"\r\n", true, Tracking::default()), None);
    }

    #[test]
    fn mail_goes_untracked_rather_than_broken() {
        let content = |signer: &str| format!("DKIM-Signature: v=1; d={signer}; s=x\r\nSubject: x\r\n\r\n");
        let check = |content: &[u8], tracking: Tracking, expected: Option<&str>| {
            let tracked = track(content, &message(tracking).facts, delivery(), &ring(), Signature::None).1;
            assert_eq!(tracked.untouched, expected);
        };
        let signed = Some("signed by its sender's domain");
        check(b"\r\n", tracked(), None);
        let elsewhere = Some("signed by another domain than its sender's");
        check(content("other.example").as_bytes(), tracked(), elsewhere);
        check(content("op.example.com").as_bytes(), tracked(), elsewhere);
        check(content("shop.example.com").as_bytes(), tracked(), signed);
        check(content("EXAMPLE.com").as_bytes(), tracked(), signed);
        let no_key = Some("no key to seal links with");
        check(b"\r\n", Tracking { base_url: "x".into(), ..tracked() }, no_key);
        let no_host = Some("the tracking host of its sending domain has not passed its check");
        check(b"\r\n", Tracking { base_url: String::new(), ..tracked() }, no_host);
        check(b"\r\n", Tracking { key_id: 9, ..tracked() }, None);
        check(b"\r\n", Tracking { opens: false, clicks: false, ..tracked() }, Some("tracking is off"));
        let facts = Facts { untracked: vec![delivery().recipient], ..message(tracked()).facts };
        let untracked = track(b"\r\n", &facts, delivery(), &ring(), Signature::None).1.untouched;
        assert_eq!(untracked, Some("the recipient is not to be tracked"));
    }

    #[test]
    fn links_are_counted_as_they_are_tracked() {
        let content = b"Content-Type: text/html\r\n\r\n<a href=\"https://example.com/\"><a href=\"https://example.com/?token=1\">\
            <a href=\"https://example.com/\"><a href=\"https://app.example/\"><a href=\"mailto:a@b.example\">\r\n";
        let check = |tracking: Tracking, expected| {
            assert_eq!(tracked_links(content, &message(tracking).facts), expected);
        };
        check(tracked(), 3);
        check(Tracking { spares_secrets: true, ..tracked() }, 2);
        check(Tracking { skip_hosts: vec!["app.example".into()], ..tracked() }, 2);
        check(Tracking { clicks: false, ..tracked() }, 0);
    }

    #[test]
    fn a_signature_that_we_replace_is_taken_out_with_the_change_that_breaks_it() {
        let rest = "Content-Type: text/html\r\n\r\n";
        let content = |body: &str| format!("DKIM-Signature: v=1; d=example.com; s=x\r\n{rest}{body}\r\n");
        let signed = |body: &str| {
            let (content, message) = (content(body), message(tracked()));
            let (bytes, _) = track(content.as_bytes(), &message.facts, delivery(), &ring(), Signature::Follows);
            String::from_utf8(bytes.into_owned()).unwrap()
        };
        let changed = signed("<a href=\"https://example.com/\">x</a>");
        assert!(changed.starts_with(rest) && changed.contains("https://Track.example.com:8443/c/"), "{changed}");
        let (content, untracked) = (content("x"), message(Tracking { opens: false, clicks: false, ..tracked() }));
        let (bytes, _) = track(content.as_bytes(), &untracked.facts, delivery(), &ring(), Signature::Follows);
        assert_eq!(bytes, content.as_bytes());
    }

    #[test]
    fn what_tracking_made_of_a_copy_is_told() {
        let content = b"Content-Type: text/html\r\n\r\n<a href=\"https://example.com/\">x</a>\r\n";
        let rendered =
            render(content, &message(tracked()), delivery(), "bounce.example.com", &ring(), Signature::None).unwrap();
        let text = String::from_utf8(rendered.bytes).unwrap();
        let Tracked { pixel, links, parts, untouched, .. } = rendered.tracked;
        assert!(text.contains(&format!("<img src=\"{}\"", pixel.unwrap())));
        assert_eq!((links.len(), links[0].target.as_str()), (1, "https://example.com/"));
        assert!(text.contains(&format!("<a href=\"{}\"", links[0].tracked)));
        assert_eq!((parts.len(), parts[0].untouched, untouched), (1, None, None));
    }
}
