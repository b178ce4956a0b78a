//! The demo's story: what is done, in order, and what must come of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hyper::Method;
use postback::app::App;
use postback::clock::Clock;
use postback::store::Store;
use postback::store::views::QueueCounts;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::client;
use super::exchanger::{Taken, UNKNOWN};
use super::narrator::Narrator;
use super::receiver::{Arrival, Receiver};

/// The domain of return paths in the demo.
pub const RETURN_PATH_DOMAIN: &str = "bounces.demo.example";

/// Whose mail it is.
pub const SENDER_DOMAIN: &str = "demo.example";

const SENDER: &str = "shop@demo.example";
const ADA: &str = "ada@reader.example";
const BOB: &str = "bob@reader.example";
const CAROL: &str = "carol@reader.example";
const FULL: &str = "full@reader.example";
const DORA: &str = "dora@reader.example";
const EMIL: &str = "emil@reader.example";
/// Whose mail the exchanger takes, in the order of the story.
const TAKEN: [&str; 6] = [ADA, BOB, CAROL, FULL, DORA, EMIL];

/// How long anything may take before the story has failed.
const PATIENCE: Duration = Duration::from_secs(30);

const THUNDERBIRD: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.5.0";
const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
const APPLE_PREFETCH: &str = "Mozilla/5.0";
const LINK_CHECKER: &str = "python-requests/2.32.3";
/// An address of the documentation of a public look-up database; it is in London.
const READER_IP: &str = "81.2.69.142";

/// Everybody in the story.
pub struct Story {
    smtp: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
    key: String,
    store: Store,
    clock: Clock,
    narrator: Narrator,
    receiver: Receiver,
    exchanger: mpsc::UnboundedReceiver<Taken>,
    taken: BTreeMap<String, Taken>,
}

impl Story {
    /// The story of this running Postback.
    pub fn new(
        app: &App,
        clock: Clock,
        narrator: Narrator,
        receiver: Receiver,
        exchanger: mpsc::UnboundedReceiver<Taken>,
    ) -> anyhow::Result<Self> {
        let door = |name: &str| app.addresses.of(name).with_context(|| format!("there is no {name} door"));
        let first_run = app.first_run.as_ref().context("the demo's folder was not empty")?;
        Ok(Self {
            smtp: door("smtp")?,
            http: door("http")?,
            admin: door("admin")?,
            key: first_run.api_key.reveal().to_owned(),
            store: app.store().clone(),
            clock,
            narrator,
            receiver,
            exchanger,
            taken: BTreeMap::new(),
        })
    }

    /// Tells it to the end.
    ///
    /// # Errors
    /// What did not happen as it should.
    pub async fn tell(&mut self) -> anyhow::Result<()> {
        self.subscribe().await?;
        self.send().await?;
        self.deliver().await?;
        self.open_and_click().await?;
        self.report().await?;
        self.suppress().await?;
        self.conclude().await
    }

    async fn subscribe(&self) -> anyhow::Result<()> {
        self.narrator.chapter("Webhooks are configured, one of each format");
        let everything = json!(["sent", "delivered", "opened", "clicked", "bounced", "complained", "failed"]);
        let transmail = json!(["delivered", "opened", "clicked", "bounced", "complained"]);
        for (format, secret, events) in [
            ("mailtura", "whsec_ZGVtbyBzZWNyZXQgb2YgdGhlIG1haWx0dXJhIGhvb2s=", &everything),
            ("transmail", "demo authentication key", &transmail),
            ("transmail-json", "another authentication key", &transmail),
        ] {
            let url = self.receiver.expect(format, secret);
            let body = json!({"url": url, "format": format, "events": events, "secret": secret});
            let made = client::post(self.http, "/api/v1/webhooks", &self.bearer(), &body).await?;
            let id = made["id"].as_str().unwrap_or_default();
            self.narrator.step(
                "you",
                &format!("add webhook {format} → {url}"),
                json!({"webhook": id, "format": format}),
            );
        }
        Ok(())
    }

    async fn send(&self) -> anyhow::Result<()> {
        self.narrator.chapter("Mail goes in, by SMTP and by both HTTP APIs");
        let recipients = [ADA, BOB, CAROL, FULL, UNKNOWN];
        let reply = client::submit(self.smtp, &self.key, SENDER, &recipients, &mail(&recipients)).await?;
        self.narrator.step("SMTP", &format!("five recipients accepted: {reply}"), json!({"reply": reply}));
        let html = "<p>Your invoice is <a href=\"https://shop.demo.example/invoice/12\">here</a>.</p>";
        let body = json!({"from": SENDER, "to": DORA, "subject": "Your invoice", "html": html});
        let answer = client::post(self.http, "/api/v1/emails", &self.bearer(), &body).await?;
        let id = answer["id"].as_str().unwrap_or_default();
        self.narrator.step("HTTP", &format!("Mailtura's API accepted one for {DORA}: {id}"), json!({"id": id}));
        let body = json!({
            "from": {"address": SENDER, "name": "Demo shop"},
            "to": [{"email_address": {"address": EMIL}}],
            "subject": "Your code",
            "htmlbody": "<p>Enter 123456 <a href='https://shop.demo.example/login'>here</a>.</p>",
            "client_reference": "demo-1",
        });
        let answer = client::post(self.http, "/v1.1/email", &format!("Zoho-enczapikey {}", self.key), &body).await?;
        let id = answer["request_id"].as_str().unwrap_or_default();
        self.narrator.step(
            "HTTP",
            &format!("ZeptoMail's API accepted one for {EMIL}: {id}"),
            json!({"request_id": id}),
        );
        Ok(())
    }

    async fn deliver(&mut self) -> anyhow::Result<()> {
        self.narrator.chapter("It is delivered: rewritten, each copy with a return path of its own");
        while self.taken.len() < TAKEN.len() {
            let taken = tokio::time::timeout(PATIENCE, self.exchanger.recv()).await;
            let taken = taken.ok().flatten().context("the mail exchanger did not get every mail")?;
            let details = json!({"to": taken.to, "return_path": taken.from, "bytes": taken.mail.len()});
            self.narrator.step("exchanger", &format!("took the copy for {}", taken.to), details);
            self.taken.insert(taken.to.clone(), taken);
        }
        let link = self.links(ADA)?.into_iter().next().unwrap_or_default();
        self.narrator.step("exchanger", &format!("refused {UNKNOWN}: 550 5.1.1"), json!({"to": UNKNOWN}));
        self.narrator.aside(&format!("          Ada's first link is now {}…", link.get(..60).unwrap_or(&link)));
        self.expect_so_far(&delivered_webhooks()).await
    }

    async fn open_and_click(&mut self) -> anyhow::Result<()> {
        self.narrator.chapter("Two hours later: readers open and click, and so do machines");
        self.let_pass(Duration::from_secs(2 * 3600)).await?;
        let [pixel, first, second] = [self.pixel(ADA)?, self.link(ADA, 0)?, self.link(ADA, 1)?];
        self.hit(Method::GET, "Ada", "opens the mail in Thunderbird", &pixel, THUNDERBIRD).await?;
        self.hit(Method::GET, "Ada", "follows the first link", &first, CHROME).await?;
        self.let_pass(Duration::from_secs(60)).await?;
        self.hit(Method::GET, "Ada", "follows the second link", &second, CHROME).await?;
        self.hit(Method::GET, "Ada", "opens the mail again: counted, told once", &pixel, THUNDERBIRD).await?;
        let pixel = self.pixel(BOB)?;
        self.hit(
            Method::GET,
            "a machine",
            "loads Bob's images in advance: told, marked as prefetch",
            &pixel,
            APPLE_PREFETCH,
        )
        .await?;
        let link = self.link(EMIL, 0)?;
        self.hit(Method::HEAD, "a machine", "checks Emil's link: redirected, not counted", &link, LINK_CHECKER).await?;
        // What waits for more evidence has waited long enough.
        self.let_pass(Duration::from_secs(60)).await?;
        let mut expected = delivered_webhooks();
        expected.extend(hit_webhooks());
        self.expect_so_far(&expected).await
    }

    async fn report(&mut self) -> anyhow::Result<()> {
        self.narrator.chapter("Reports come home");
        let bounce = self.taken.get(FULL).context("the mail for a full mailbox")?.clone();
        client::report(self.smtp, &bounce.from, &bounce_report(&bounce)).await?;
        self.narrator.step(
            "exchanger",
            &format!("reports that {FULL} is over quota: a soft bounce"),
            json!({"to": FULL}),
        );
        let complaint = self.taken.get(CAROL).context("Carol's mail")?.clone();
        client::report(self.smtp, &format!("complaints@{RETURN_PATH_DOMAIN}"), &complaint_report(&complaint)).await?;
        self.narrator.step("exchanger", "reports that Carol pressed \"spam\": a complaint", json!({"to": CAROL}));
        Ok(())
    }

    async fn suppress(&mut self) -> anyhow::Result<()> {
        self.narrator.chapter("Whoever bounced or complained is left alone");
        let mut expected = delivered_webhooks();
        expected.extend(hit_webhooks());
        expected.extend(report_webhooks());
        self.expect_so_far(&expected).await?;
        let body = json!({"from": SENDER, "to": UNKNOWN, "subject": "Again", "text": "Are you there?"});
        client::post(self.http, "/api/v1/emails", &self.bearer(), &body).await?;
        self.narrator.step(
            "HTTP",
            &format!("another mail to {UNKNOWN} is accepted and not attempted"),
            json!({"to": UNKNOWN}),
        );
        Ok(())
    }

    async fn conclude(&self) -> anyhow::Result<()> {
        let mut expected = delivered_webhooks();
        expected.extend(hit_webhooks());
        expected.extend(report_webhooks());
        expected.push(("mailtura", "email.failed", UNKNOWN));
        self.expect_so_far(&expected).await?;
        self.narrator.chapter("Webhooks, as the receiver got them");
        let mut arrivals = self.receiver.arrivals().borrow().clone();
        arrivals.sort_by(|one, other| one.format.cmp(&other.format));
        for arrival in &arrivals {
            self.tell_of(arrival);
        }
        check(&arrivals, &expected)?;
        let count = arrivals.len();
        self.narrator.chapter("The end");
        self.narrator.step(
            "demo",
            &format!("all {count} expected webhooks arrived, every signature verified"),
            json!({"webhooks": count, "ok": true}),
        );
        Ok(())
    }

    /// What to try while everything is still running.
    pub fn invite(&self) {
        self.narrator.aside(&self.invitation());
    }

    /// Lets time pass when nothing is under way: who jumps over the end of a lease would see its work done twice.
    async fn let_pass(&self, time: Duration) -> anyhow::Result<()> {
        let idle = async {
            loop {
                let QueueCounts { deliveries, dispatches, .. } = self.store.queue_counts().await?;
                if deliveries + dispatches == 0 {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, idle).await.context("work never ended")??;
        self.clock.advance(time);
        Ok(())
    }

    fn tell_of(&self, arrival: &Arrival) {
        let verified = if arrival.is_verified { "signature verified" } else { "SIGNATURE WRONG" };
        let machine = arrival.payload.pointer("/data/machine/verdict").and_then(Value::as_str).unwrap_or_default();
        let bounce = arrival.payload.pointer("/data/bounceType").and_then(Value::as_str).unwrap_or_default();
        let note = match (machine, bounce) {
            ("prefetch", _) => " (by a prefetch)",
            (_, "hard") => " (hard)",
            (_, "soft") => " (soft)",
            _ => "",
        };
        let what = format!("{:<18} {:<22} {verified}{note}", arrival.event, arrival.recipient);
        let details = json!({
            "format": arrival.format, "event": arrival.event, "recipient": arrival.recipient,
            "verified": arrival.is_verified, "payload": arrival.payload,
        });
        self.narrator.step(&arrival.format, &what, details);
    }

    fn invitation(&self) -> String {
        let (smtp, http, admin, key) = (self.smtp, self.http, self.admin, &self.key);
        format!(
            "\nEverything is still running. Try it, and press Ctrl-C to end:\n\n  \
             swaks --server {smtp} --auth PLAIN --auth-user emailapikey --auth-password {key} \\\n        \
             --from {SENDER} --to you@reader.example --h-Subject Hello\n\n  \
             curl http://{http}/api/v1/emails -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n       \
             -d '{{\"from\":\"{SENDER}\",\"to\":\"you@reader.example\",\"subject\":\"Hello\",\"text\":\"Hi\"}}'\n\n  \
             curl http://{http}/api/v1/webhooks -H 'Authorization: Bearer {key}'\n  \
             curl http://{admin}/metrics\n"
        )
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    async fn hit(&self, method: Method, who: &str, what: &str, url: &str, user_agent: &str) -> anyhow::Result<()> {
        let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or("/");
        let headers = [
            ("user-agent", user_agent),
            ("x-forwarded-for", READER_IP),
            ("accept-language", "en"),
            ("sec-fetch-mode", "navigate"),
        ];
        let answer = client::request(self.http, method, path, &headers, "").await?;
        ensure!(matches!(answer.status, 200 | 302), "{url} answered {}", answer.status);
        let to = if answer.location.is_empty() { String::new() } else { format!(" → {}", answer.location) };
        self.narrator.step(
            who,
            &format!("{what}{to}"),
            json!({"url": url, "status": answer.status, "location": answer.location}),
        );
        Ok(())
    }

    /// Every tracked URL of a reader's copy, undone from quoted-printable.
    fn links(&self, reader: &str) -> anyhow::Result<Vec<String>> {
        let taken = self.taken.get(reader).with_context(|| format!("no mail for {reader}"))?;
        let text = String::from_utf8_lossy(&taken.mail).replace("=\r\n", "").replace("=3D", "=");
        let base = format!("http://{}/", self.http);
        let starts = text.match_indices(&base).map(|(at, _)| &text[at..]);
        Ok(starts.map(|url| url.split(['"', '\'', '<', '>', ' ', '\r']).next().unwrap_or(url).to_owned()).collect())
    }

    fn link(&self, reader: &str, index: usize) -> anyhow::Result<String> {
        let links = self.links(reader)?.into_iter().filter(|url| url.contains("/c/"));
        links.into_iter().nth(index).with_context(|| format!("{reader}'s copy has no tracked link {index}"))
    }

    fn pixel(&self, reader: &str) -> anyhow::Result<String> {
        let pixel = self.links(reader)?.into_iter().find(|url| url.contains("/o/"));
        pixel.with_context(|| format!("{reader}'s copy has no pixel"))
    }

    /// Waits until as many webhooks have come as these.
    async fn expect_so_far(&self, expected: &[Expected]) -> anyhow::Result<()> {
        let mut arrivals = self.receiver.arrivals();
        let enough = arrivals.wait_for(|arrivals| arrivals.len() >= expected.len());
        if tokio::time::timeout(PATIENCE, enough).await.is_err() {
            let arrived = self.receiver.arrivals().borrow().clone();
            check(&arrived, expected)?;
            bail!("{} of {} webhooks arrived", arrived.len(), expected.len());
        }
        Ok(())
    }
}

/// A webhook that must come: format, event, recipient.
type Expected = (&'static str, &'static str, &'static str);

const TRANSMAIL: [&str; 2] = ["transmail", "transmail-json"];

/// Once for Mailtura's format and once for each of TransMail's.
fn in_each_format(mailtura: &'static str, transmail: &'static str, recipient: &'static str) -> Vec<Expected> {
    let others = TRANSMAIL.into_iter().map(|format| (format, transmail, recipient));
    std::iter::once(("mailtura", mailtura, recipient)).chain(others).collect()
}

fn delivered_webhooks() -> Vec<Expected> {
    let mut expected: Vec<Expected> =
        TAKEN.into_iter().chain([UNKNOWN]).map(|recipient| ("mailtura", "email.sent", recipient)).collect();
    expected.extend(TAKEN.into_iter().flat_map(|recipient| in_each_format("email.delivered", "delivered", recipient)));
    expected.extend(in_each_format("email.bounced", "hardbounce", UNKNOWN));
    expected
}

fn hit_webhooks() -> Vec<Expected> {
    [
        ("email.opened", "email_open", ADA),
        ("email.clicked", "email_link_click", ADA),
        ("email.clicked", "email_link_click", ADA),
        ("email.opened", "email_open", BOB),
    ]
    .into_iter()
    .flat_map(|(mailtura, transmail, recipient)| in_each_format(mailtura, transmail, recipient))
    .collect()
}

fn report_webhooks() -> Vec<Expected> {
    let mut expected = in_each_format("email.bounced", "softbounce", FULL);
    expected.extend(in_each_format("email.complained", "fbl_complaint", CAROL));
    expected
}

/// Fails unless exactly the expected webhooks came, each verified.
fn check(arrivals: &[Arrival], expected: &[Expected]) -> anyhow::Result<()> {
    let mut owed: BTreeMap<Expected, i64> = BTreeMap::new();
    for one in expected {
        *owed.entry(*one).or_default() += 1;
    }
    let mut surplus = Vec::new();
    for arrival in arrivals {
        ensure!(arrival.is_verified, "{} {}: the signature is wrong", arrival.format, arrival.event);
        let key = owed.keys().find(|(format, event, recipient)| {
            *format == arrival.format && *event == arrival.event && *recipient == arrival.recipient
        });
        match key.copied() {
            Some(key) => *owed.entry(key).or_default() -= 1,
            None => surplus.push(format!("{} {} {}", arrival.format, arrival.event, arrival.recipient)),
        }
    }
    let wrong: Vec<_> = owed.into_iter().filter(|(_, count)| *count != 0).collect();
    ensure!(
        wrong.is_empty() && surplus.is_empty(),
        "missing (>0) or repeated (<0): {wrong:?}; unexpected: {surplus:?}"
    );
    Ok(())
}

fn mail(recipients: &[&str]) -> String {
    format!(
        "From: Demo shop <{SENDER}>\r\nTo: {}\r\nSubject: Your order is on its way\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
         <html><body>\r\n<p>Your order is on its way. <a href=\"https://shop.demo.example/track?id=7&amp;lang=en\">Where \
         is it?</a></p>\r\n<p><a href='https://shop.demo.example/help#returns'>Returns</a></p>\r\n</body></html>\r\n",
        recipients.join(", ")
    )
}

/// The header of a mail as it was taken.
fn header_of(taken: &Taken) -> String {
    let text = String::from_utf8_lossy(&taken.mail);
    text.split("\r\n\r\n").next().unwrap_or_default().to_owned()
}

/// A delivery status notification (RFC 3464).
fn bounce_report(taken: &Taken) -> String {
    format!(
        "From: Mail Delivery System <MAILER-DAEMON@mx.reader.example>\r\nTo: {from}\r\n\
         Subject: Undelivered Mail Returned to Sender\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b1\"\r\n\r\n\
         --b1\r\nContent-Type: text/plain\r\n\r\nYour mail could not be delivered.\r\n\r\n\
         --b1\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.reader.example\r\n\r\n\
         Final-Recipient: rfc822; {to}\r\nAction: failed\r\nStatus: 5.2.2\r\n\
         Diagnostic-Code: smtp; 552 5.2.2 mailbox is over quota\r\n\r\n\
         --b1\r\nContent-Type: text/rfc822-headers\r\n\r\n{header}\r\n\r\n--b1--\r\n",
        from = taken.from,
        to = taken.to,
        header = header_of(taken),
    )
}

/// A complaint in the Abuse Reporting Format (RFC 5965).
fn complaint_report(taken: &Taken) -> String {
    format!(
        "From: Feedback loop <fbl@reader.example>\r\nTo: complaints@{RETURN_PATH_DOMAIN}\r\nSubject: Complaint\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=\"b2\"\r\n\r\n\
         --b2\r\nContent-Type: text/plain\r\n\r\nA reader complained.\r\n\r\n\
         --b2\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: demo/1\r\nVersion: 1\r\n\
         Original-Mail-From: <{from}>\r\nOriginal-Rcpt-To: <{to}>\r\nSource-IP: 127.0.0.1\r\n\r\n\
         --b2\r\nContent-Type: text/rfc822-headers\r\n\r\n{header}\r\n\r\n--b2--\r\n",
        from = taken.from,
        to = taken.to,
        header = header_of(taken),
    )
}
