//! What comes back after a mail was taken: reports and complaints to the return path, and a reader who looks.
//!
//! Reports are RFC 3464 and complaints RFC 5965, as plain as they come. The reader asks in clear, and finds
//! the hosts of https links only where it is told to: a test's tracking host is near.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use mail_parser::MessageParser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::behaviour::Later;
use super::{Happened, House};

/// Links of one mail that the reader follows.
const LINKS_MAX: usize = 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// A reader that is taken for a person.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

/// The `Message-ID` of a mail, without angle brackets; empty when it has none.
pub(super) fn message_id(mail: &[u8]) -> String {
    let parsed = MessageParser::new().parse_headers(mail);
    parsed.and_then(|mail| mail.message_id().map(str::to_owned)).unwrap_or_default()
}

/// Sets going what one recipient asks for.
pub(super) fn plan(house: &Arc<House>, from: &str, to: &str, all: Vec<Later>, mail: &[u8]) {
    let (house, from, to, mail) = (house.clone(), from.to_owned(), to.to_owned(), mail.to_vec());
    tokio::spawn(async move {
        house.clock.sleep_until(house.clock.now() + house.settings.later).await;
        for one in all {
            let (what, outcome) = match one {
                Later::Report { action, reply } => {
                    ("report", bring(&house, &from, report(&house, action, &reply, &to, &mail)).await)
                }
                Later::Complaint => ("complaint", bring(&house, &from, complaint(&house, &to, &mail)).await),
                Later::Open => ("open", look(&house, &mail, "src=\"").await),
                Later::Click => ("click", look(&house, &mail, "href=\"").await),
            };
            house.tell(Happened::Later { what, to: to.clone(), outcome }).await;
        }
    });
}

/// Brings a report home, from nobody; what came of it.
async fn bring(house: &House, return_path: &str, mail: String) -> String {
    let Some(home) = house.settings.reports_to else { return "nobody said where reports go".to_owned() };
    let Ok(recipient) = return_path.parse::<Address>() else { return "there is no return path".to_owned() };
    let Ok(envelope) = Envelope::new(None, vec![recipient]) else { return "there is no return path".to_owned() };
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(home.ip().to_string()).port(home.port());
    match transport.timeout(Some(PATIENCE)).build::<Tokio1Executor>().send_raw(&envelope, mail.as_bytes()).await {
        Ok(answer) => format!("{} {}", answer.code(), answer.message().collect::<Vec<_>>().join(" ")),
        Err(fault) => fault.to_string(),
    }
}

/// The header of a mail, without the empty line.
fn header(mail: &[u8]) -> String {
    let end = memchr::memmem::find(mail, b"\r\n\r\n").map_or(mail.len(), |end| end + 2);
    String::from_utf8_lossy(mail.get(..end).unwrap_or(mail)).into_owned()
}

fn report(house: &House, action: &str, reply: &str, to: &str, mail: &[u8]) -> String {
    let (host, date) = (&house.settings.hostname, house.clock.now().rfc5322());
    let (subject, words) = match action {
        "failed" => ("Undelivered Mail Returned to Sender", "Your mail could not be delivered:"),
        "delayed" => ("Delayed Mail (still being retried)", "Your mail could not be delivered so far:"),
        _ => ("Successful Mail Delivery Report", "Your mail was delivered:"),
    };
    let said: Vec<&str> = reply.lines().map(str::trim).collect();
    let status = said.iter().flat_map(|line| line.split([' ', '-'])).find(|word| word.split('.').count() == 3);
    let class = reply.get(..1).unwrap_or("5");
    let status = status.map_or_else(|| format!("{class}.0.0"), str::to_owned);
    let diagnostic = said.join("\r\n ");
    format!(
        "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\nSubject: {subject}\r\nDate: {date}\r\n\
         Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"=_sink\"\r\n\r\n\
         --=_sink\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{words}\r\n\r\n<{to}>: {diagnostic}\r\n\r\n\
         --=_sink\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; {host}\r\n\r\n\
         Final-Recipient: rfc822; {to}\r\nAction: {action}\r\nStatus: {status}\r\n\
         Diagnostic-Code: smtp; {diagnostic}\r\n\r\n\
         --=_sink\r\nContent-Type: text/rfc822-headers\r\n\r\n{}\r\n--=_sink--\r\n",
        header(mail)
    )
}

fn complaint(house: &House, to: &str, mail: &[u8]) -> String {
    let (host, date) = (&house.settings.hostname, house.clock.now().rfc5322());
    format!(
        "From: <feedback@{host}>\r\nSubject: Complaint\r\nDate: {date}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=\"=_sink\"\r\n\r\n\
         --=_sink\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nA reader calls this mail spam.\r\n\r\n\
         --=_sink\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n\
         User-Agent: postback-sink/1.0\r\nVersion: 1\r\nOriginal-Rcpt-To: <{to}>\r\n\r\n\
         --=_sink\r\nContent-Type: message/rfc822\r\n\r\n{}\r\n--=_sink--\r\n",
        String::from_utf8_lossy(mail)
    )
}

/// Asks for what the mail's HTML has behind this attribute; what came of it.
async fn look(house: &House, mail: &[u8], attribute: &str) -> String {
    let parsed = MessageParser::new().parse(mail);
    let Some(html) = parsed.as_ref().and_then(|mail| mail.body_html(0)) else { return "there is no HTML".to_owned() };
    let urls = html.split(attribute).skip(1).filter_map(|rest| rest.split_once('"')).map(|(url, _)| url);
    let schemes: &[&str] = if house.settings.links_to.is_some() { &["http://", "https://"] } else { &["http://"] };
    let rest =
        |url: &str| schemes.iter().find_map(|scheme| url.strip_prefix(scheme)).map(|rest| rest.replace("&amp;", "&"));
    let mut outcomes = Vec::new();
    for rest in urls.filter_map(rest).take(LINKS_MAX) {
        let answer = timeout(PATIENCE, get(&rest, house.settings.links_to)).await;
        outcomes.push(answer.map_or_else(
            |_| "no answer in time".to_owned(),
            |answer| answer.unwrap_or_else(|fault| fault.to_string()),
        ));
    }
    if outcomes.is_empty() { "there is nothing to ask for over http".to_owned() } else { outcomes.join(", ") }
}

/// The status line of the answer to a GET of a URL, given without its scheme.
async fn get(rest: &str, links_to: Option<SocketAddr>) -> std::io::Result<String> {
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let mut socket = match links_to {
        Some(address) => TcpStream::connect(address).await?,
        None if host.contains(':') => TcpStream::connect(host).await?,
        None => TcpStream::connect((host, 80)).await?,
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or("no answer").to_owned())
}
