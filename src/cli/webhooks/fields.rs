//! What may be set on a webhook, as flags.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Arg, Args};
use postback::config::nearest;
use postback::model::event::{EventKind, EventSet};
use postback::model::secret::Secret;
use postback::model::webhook::{Format, Hits, Webhook};
use postback::model::webhook_options::{check_form_field, check_headers, check_secret, check_signing, check_tags};
use postback::webhooks::formats::event_name;

use super::{format_from, hits_from};

#[derive(Args, Clone, Debug, Default)]
pub(in crate::cli) struct Fields {
    /// Kinds of event, in the words of either format [default: those that the format has a word for]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub(super) events: Vec<String>,
    /// mailtura, transmail or transmail-json [default: mailtura]
    #[arg(long, value_parser = format_from)]
    format: Option<Format>,
    /// Which opens and clicks: first, persons or all [default: first]
    #[arg(long, value_parser = hits_from)]
    hits: Option<Hits>,
    /// Only events about mail with this tag, or '' for any mail; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// The secret to sign with, or whsk_ for a fresh Ed25519 key [default: a fresh secret]
    #[arg(long)]
    secret: Option<String>,
    /// What people call it
    #[arg(long)]
    description: Option<String>,
    /// Only events of this mail agent, or '' for all of the tenant [default: '']
    #[arg(long, value_name = "NAME")]
    pub(super) agent: Option<String>,
    /// A further header, as in `Authorization: Bearer x`, or '' for none; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Name of the form field of the format transmail [default: event]
    #[arg(long, value_name = "NAME")]
    form_field: Option<String>,
    /// Keep Mailtura's timestamp at the event's time instead of the attempt's
    #[arg(long, value_name = "BOOL")]
    keeps_timestamp: Option<bool>,
    /// Requests at one time
    #[arg(long, value_name = "COUNT")]
    at_once: Option<u16>,
    /// Requests a second
    #[arg(long, value_name = "COUNT")]
    per_second: Option<u16>,
    /// Seconds that the receiver has for its whole answer, 1 to 30 [default: 15]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u16>,
    /// An event waits until those before it about the same message have arrived
    #[arg(long, value_name = "BOOL")]
    in_order: Option<bool>,
    /// Events that are due together go in one request, as a JSON array
    #[arg(long, value_name = "BOOL")]
    batch: Option<bool>,
    /// Whether who answers over TLS must show to be it [default: true]
    #[arg(long, value_name = "BOOL")]
    verify_tls: Option<bool>,
    /// PEM file of the root that the receiver's certificate comes from
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of the certificate that we show the receiver
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// Who is told by mail when it fails for long or is switched off, or '' for nobody; may be given several times
    #[arg(long = "notify", value_name = "ADDRESS")]
    notify: Vec<String>,
}

impl Fields {
    /// The webhook with what is named set.
    pub(super) fn set(&self, mut webhook: Webhook) -> anyhow::Result<Webhook> {
        let Self { format, hits, secret, description, form_field, keeps_timestamp, at_once, per_second, .. } =
            self.clone();
        webhook.format = format.unwrap_or(webhook.format);
        webhook.hits = hits.unwrap_or(webhook.hits);
        webhook.description = description.unwrap_or(webhook.description);
        webhook.form_field = form_field.unwrap_or(webhook.form_field);
        webhook.keeps_timestamp = keeps_timestamp.unwrap_or(webhook.keeps_timestamp);
        if let Some(secret) = secret {
            check_secret(&secret)?;
            webhook.secret = Secret::new(secret);
        }
        if !self.events.is_empty() || webhook.events == EventSet::default() {
            webhook.events = chosen(&self.events, webhook.format)?;
        }
        if let Some(tags) = listed(&self.tags) {
            check_tags(tags)?;
            webhook.tags = tags.to_vec();
        }
        if let Some(headers) = listed(&self.headers) {
            webhook.headers = headers.iter().map(|header| named(header)).collect::<anyhow::Result<_>>()?;
        }
        let options = &mut webhook.options;
        options.at_once = at_once.or(options.at_once);
        options.per_second = per_second.or(options.per_second);
        options.timeout_secs = self.timeout.or(options.timeout_secs);
        options.in_order = self.in_order.unwrap_or(options.in_order);
        options.batch = self.batch.unwrap_or(options.batch);
        if let Some(notify) = listed(&self.notify) {
            options.notify = notify.to_vec();
        }
        options.believes_anybody = self.verify_tls.map_or(options.believes_anybody, |flag| !flag);
        if let Some(path) = &self.ca {
            options.ca = text_of(path)?;
        }
        if let Some(path) = &self.client_certificate {
            options.client_certificate = text_of(path)?;
        }
        if let Some(path) = &self.client_key {
            webhook.client_key = Secret::new(text_of(path)?);
        }
        check_headers(webhook.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        check_form_field(&webhook.form_field)?;
        check_signing(webhook.format, webhook.secret.reveal())?;
        webhook.options.check(webhook.client_key.reveal())?;
        Ok(webhook)
    }
}

/// What takes the place of a list, if anything does: '' alone empties it.
fn listed(words: &[String]) -> Option<&[String]> {
    match words {
        [] => None,
        [word] if word.is_empty() => Some(&[]),
        words => Some(words),
    }
}

/// The help of a flag where what is not named stays as it is: there are no defaults.
pub(super) fn as_it_stands(flag: Arg) -> Arg {
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    match help.split_once(" [default: ") {
        Some((help, _)) => flag.help(help.to_owned()),
        None => flag,
    }
}

fn text_of(path: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn named(header: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = header.split_once(':').with_context(|| format!("{header:?} is not like `Name: value`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// The kinds that the words name; a word may be ours or that of either format, with or without `email.`.
pub(super) fn chosen(words: &[String], format: Format) -> anyhow::Result<EventSet> {
    if words.is_empty() {
        return Ok(EventKind::ALL.into_iter().filter(|kind| is_usual(*kind, format)).collect());
    }
    let mut set = EventSet::default();
    for word in words {
        let named: Vec<_> = EventKind::ALL.into_iter().filter(|kind| names(*kind).contains(&word.as_str())).collect();
        if named.is_empty() {
            let meant = nearest(word, EventKind::ALL.into_iter().flat_map(names));
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
            bail!("{word:?} is no kind of event{meant}");
        }
        set = named.into_iter().fold(set, EventSet::with);
    }
    Ok(set)
}

/// Whether receivers of a format expect a kind of event: TransMail has no word for what was never attempted, nor for
/// acceptance.
fn is_usual(kind: EventKind, format: Format) -> bool {
    match kind {
        EventKind::Deferred | EventKind::Delayed => false,
        EventKind::OpenReclassified | EventKind::ClickReclassified => false,
        kind if kind.is_notice() => false,
        EventKind::Sent | EventKind::Failed => format == Format::Mailtura,
        _ => true,
    }
}

fn names(kind: EventKind) -> [&'static str; 4] {
    let mailtura = event_name(Format::Mailtura, kind);
    let bare = mailtura.strip_prefix("email.").unwrap_or(mailtura);
    [kind.as_str(), mailtura, bare, event_name(Format::Transmail, kind)]
}
