//! The reports that we write to domains about TLS with their mail hosts (RFC 8460): who wants one, what it says, and the
//! mail that brings it.
//!
//! One report is about one domain and one day of UTC. It says by which policies sessions were judged, how many went well,
//! and what was wrong with the others. The same counts give the same report, under the same id, so that whoever gets it
//! twice can tell. Pure: `store` counts, `app` looks the record up and sends.

mod gzip;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::reporting::push_field;
use crate::model::address::{Address, Mailbox};
use crate::model::id::MessageId;
use crate::model::message::{Facts, Message, Plan, Source, TlsWish};
use crate::model::statistics::Day;
use crate::model::tenant::MailAgent;
use crate::model::time::Timestamp;
use crate::model::tls_session::{AppliedPolicy, FailedSession, TlsSession};

/// The type of a compressed report (RFC 8460 §6.5).
pub const CONTENT_TYPE: &str = "application/tlsrpt+gzip";
/// How long it is tried to bring a report to its readers (RFC 8460 §5.5).
pub const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Readers of one domain's reports that are heeded.
const READERS_MAX: usize = 8;
/// Longest URI of a reader, in bytes.
const URI_BYTES_MAX: usize = 1_000;
const BASE64_LINE_BYTES: usize = 76;

/// To whom a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    /// To a mailbox.
    Mail(Address),
    /// To a web server, by POST.
    Web(url::Url),
}

impl Reader {
    /// Reads a URI of a record; `None` for one that no report can go to.
    pub fn of(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':').filter(|_| uri.len() <= URI_BYTES_MAX)?;
        if scheme.eq_ignore_ascii_case("mailto") {
            let mailbox = rest.split('?').next().unwrap_or_default();
            let mailbox = percent_decode_str(mailbox).decode_utf8().ok()?;
            return mailbox.parse().ok().map(Self::Mail);
        }
        let url = url::Url::parse(uri).ok().filter(|_| scheme.eq_ignore_ascii_case("https"))?;
        url.has_host().then_some(Self::Web(url))
    }
}

/// The URIs that a domain's TXT records at `_smtp._tls` ask reports to be sent to (RFC 8460 §3), as far as we can send
/// there. None where the records are not exactly one of the right version, or it cannot be read.
pub fn readers(records: &[String]) -> Vec<String> {
    const WSP: [char; 2] = [' ', '\t'];
    let ours = |record: &&String| {
        let rest = record.strip_prefix("v=TLSRPTv1");
        rest.is_some_and(|rest| rest.trim_start_matches(WSP).starts_with(';'))
    };
    let mut ours = records.iter().filter(ours);
    let (Some(record), None) = (ours.next(), ours.next()) else { return Vec::new() };
    let mut fields: Vec<&str> = record.split(';').skip(1).map(|field| field.trim_matches(WSP)).collect();
    if fields.last() == Some(&"") {
        fields.pop();
    }
    let mut readers: Vec<String> = Vec::new();
    for field in fields {
        let Some((name, value)) = field.split_once('=').filter(|(name, value)| is_field(name, value)) else {
            return Vec::new();
        };
        let uris = value.split(',').map(|uri| uri.trim_matches(WSP));
        for uri in uris.filter(|uri| name == "rua" && !uri.contains('!') && Reader::of(uri).is_some()) {
            if readers.len() < READERS_MAX && !readers.iter().any(|known| known == uri) {
                readers.push(uri.to_owned());
            }
        }
    }
    readers
}

/// Whether name and value are what the grammar allows. Only the list of `rua` may have blanks and further equal signs.
fn is_field(name: &str, value: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_value_byte = |byte: u8| match byte {
        b' ' | b'\t' | b'=' => name == "rua",
        _ => byte.is_ascii_graphic(),
    };
    let is_name = (1..=32).contains(&name.len()) && name.starts_with(|char: char| char.is_ascii_alphanumeric());
    is_name && name.bytes().all(is_name_byte) && !value.is_empty() && value.bytes().all(is_value_byte)
}

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// The organisation's name.
    pub organization: String,
    /// Whom to ask about a report.
    pub contact: String,
    /// Whom reports are from; its domain is the submitter.
    pub from: Address,
}

/// A report about one domain and day.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Who reports.
    pub reporter: &'a Reporter,
    /// About sessions with the exchangers of this domain.
    pub domain: &'a str,
    /// On this day.
    pub day: Day,
    /// What they came to, and how many did.
    pub sessions: &'a [(TlsSession, u64)],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    organization_name: &'a str,
    date_range: DateRange,
    contact_info: &'a str,
    report_id: String,
    policies: Vec<Judged<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Judged<'a> {
    policy: &'a AppliedPolicy,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Failures<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Failures<'a> {
    #[serde(flatten)]
    failed: &'a FailedSession,
    failed_session_count: u64,
}

impl Report<'_> {
    /// Its id: the same for the same submitter, domain and day.
    pub fn id(&self) -> String {
        format!("{}.{}@{}", self.day.date(), self.domain, self.submitter())
    }

    /// What it says, as JSON (RFC 8460 §4.4).
    pub fn json(&self) -> String {
        let mut policies: BTreeMap<&AppliedPolicy, Judged<'_>> = BTreeMap::new();
        for (TlsSession { policy, failure }, sessions) in self.sessions {
            let (summary, failure_details) = Default::default();
            let judged = policies.entry(policy).or_insert(Judged { policy, summary, failure_details });
            match failure {
                None => judged.summary.total_successful_session_count += sessions,
                Some(failed) => {
                    judged.summary.total_failure_session_count += sessions;
                    judged.failure_details.push(Failures { failed, failed_session_count: *sessions });
                }
            }
        }
        let document = Document {
            organization_name: &self.reporter.organization,
            date_range: DateRange {
                start_datetime: self.day.start().rfc3339_seconds(),
                end_datetime: self.last_second().rfc3339_seconds(),
            },
            contact_info: &self.reporter.contact,
            report_id: self.id(),
            policies: policies.into_values().collect(),
        };
        serde_json::to_string_pretty(&document).expect("a report has string keys and no failing parts")
    }

    /// The same, compressed.
    pub fn compressed(&self) -> Vec<u8> {
        gzip::compressed(self.json().as_bytes())
    }

    /// The file's name (RFC 8460 §5.1).
    fn file_name(&self) -> String {
        let (from, until) = (self.day.start().as_secs(), self.last_second().as_secs());
        format!("{}!{}!{from}!{until}.json.gz", self.submitter(), self.domain)
    }

    /// The mail that brings the report to `to` (RFC 8460 §5.3), handed in for `agent`. It goes out whatever the
    /// recipient's policy says of TLS, with the null sender, and nobody is told what became of it.
    pub fn mail(&self, to: &Address, agent: &MailAgent, id: MessageId, at: Timestamp) -> Plan {
        let content = Bytes::from(self.written(to, id, at));
        let from = self.reporter.from.to_string();
        let facts = Facts {
            from: Mailbox::bare(from),
            to: vec![Mailbox::bare(to.to_string())],
            subject: self.subject(),
            email_reference: self.message_id(id),
            tls: TlsWish::Waived,
            is_report: true,
            ..Facts::default()
        };
        let message = Message {
            id,
            tenant: agent.tenant,
            agent: agent.id,
            agent_key: agent.key.clone(),
            source: Source::Http,
            accepted_at: at,
            facts,
            size_bytes: content.len() as u64,
        };
        Plan::of_ours(message, content, to.clone(), LIFETIME)
    }

    fn written(&self, to: &Address, id: MessageId, at: Timestamp) -> String {
        let boundary = format!("=_{}", id.uuid().simple());
        let mut text = String::new();
        for (name, value) in [
            ("From", format!("<{}>", self.reporter.from)),
            ("To", format!("<{to}>")),
            ("Subject", self.subject()),
            ("Date", at.rfc5322()),
            ("Message-ID", format!("<{}>", self.message_id(id))),
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("TLS-Report-Domain", self.domain.to_owned()),
            ("TLS-Report-Submitter", self.submitter().to_owned()),
            ("TLS-Required", "No".to_owned()),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", format!("multipart/report; report-type=\"tlsrpt\"; boundary=\"{boundary}\"")),
        ] {
            push_field(&mut text, name, &value);
        }
        let (good, bad) = self.sessions.iter().fold((0u64, 0u64), |(good, bad), (session, count)| {
            if session.failure.is_none() { (good + count, bad) } else { (good, bad + count) }
        });
        let _ = write!(
            text,
            "\r\n--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is a report about TLS from {} to the mail hosts of\r\n{}, on {} (UTC).\r\n\r\n\
             Sessions as they should be: {good}\r\nSessions that failed:       {bad}\r\n\r\n--{boundary}\r\n",
            self.submitter(),
            self.domain,
            self.day.date(),
        );
        push_field(&mut text, "Content-Type", CONTENT_TYPE);
        push_field(&mut text, "Content-Transfer-Encoding", "base64");
        push_field(&mut text, "Content-Disposition", &format!("attachment; filename=\"{}\"", self.file_name()));
        let encoded = STANDARD.encode(self.compressed());
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(BASE64_LINE_BYTES));
            text.push_str("\r\n");
            text.push_str(line);
            rest = after;
        }
        let _ = write!(text, "\r\n--{boundary}--\r\n");
        text
    }

    fn subject(&self) -> String {
        format!("Report Domain: {} Submitter: {} Report-ID: <{}>", self.domain, self.submitter(), self.id())
    }

    fn message_id(&self, id: MessageId) -> String {
        format!("{}@{}", id.uuid().simple(), self.submitter())
    }

    fn submitter(&self) -> &str {
        self.reporter.from.domain()
    }

    fn last_second(&self) -> Timestamp {
        self.day.next().start() - Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests;
