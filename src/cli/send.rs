//! `postback send`: hands in one mail, straight through intake on the same database. A running server delivers it.

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use postback::app;
use postback::config::Loaded;
use postback::intake::submission::{Content, Refusal, Submission};
use postback::mail::compose::Parts;
use postback::mail::submitted::Switches;
use postback::model::address::{Address, Mailbox};
use postback::model::message::Source;
use postback::model::tenant::Grant;

use super::database::Guest;
use super::say;
use super::tenants::Of;

#[derive(Args)]
pub(super) struct Arguments {
    /// To whom; may be given several times
    #[arg(long, required = true, value_name = "ADDRESS")]
    to: Vec<String>,
    /// From whom [default: what the mail agent has set, else postback@ one of its domains]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Subject
    #[arg(long, default_value = "A test from Postback")]
    subject: String,
    /// HTML body [default: a sentence with a link]
    #[arg(long)]
    html: Option<String>,
    /// Plain text body
    #[arg(long)]
    text: Option<String>,
    /// A whole mail from a file instead, header and body
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subject", "html", "text"])]
    raw: Option<std::path::PathBuf>,
    #[command(flatten)]
    of: Of,
}

const BODY: &str = "<p>This is a test of <a href=\"https://example.com/\">links</a> and opens.</p>";

pub(super) async fn run(loaded: &Loaded, arguments: Arguments) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    let grant = grant(&guest, &arguments.of).await?;
    let from = match &arguments.from {
        Some(from) => from.clone(),
        None => grant.usual_sender(&loaded.settings.hostname).address,
    };
    let submission = submission(arguments, from)?;
    let intake = app::intake_of_a_guest(&loaded.settings, &guest.store, &guest.clock, &guest.ids).await?;
    let receipt = match intake.submit(&grant, submission).await {
        Ok(receipt) => receipt,
        Err(Refusal::Rejected(rejection)) => bail!("not accepted: {rejection}"),
        Err(Refusal::DailyLimit { .. }) => bail!("not accepted: the daily limit is reached"),
        Err(Refusal::Raced | Refusal::Unavailable) => bail!("not accepted: the database is not available"),
    };
    drop(intake);
    guest.store.close().await;
    say(receipt.message.to_string());
    eprintln!("Accepted. What becomes of it: postback why {}", receipt.message);
    Ok(())
}

/// An administrator speaks for every agent, without a credential of it.
async fn grant(guest: &Guest, of: &Of) -> anyhow::Result<Grant> {
    let agent = guest.agent(&of.tenant, &of.agent).await?;
    let domains = guest.store.domains(agent.id).await.context("list domains")?;
    Ok(Grant::of_house(guest.tenant(&of.tenant).await?, agent, domains))
}

fn submission(arguments: Arguments, from: String) -> anyhow::Result<Submission> {
    let read = |text: &String| text.parse::<Address>().with_context(|| format!("read {text:?}"));
    let recipients = arguments.to.iter().map(read).collect::<Result<_, _>>()?;
    let sender = read(&from)?;
    let content = match arguments.raw {
        Some(path) => {
            let raw = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            Content::Raw { bytes: Bytes::from(with_crlf(&raw)), hop: None }
        }
        None => {
            let is_bare = arguments.html.is_none() && arguments.text.is_none();
            Content::Parts(Box::new(Parts {
                from: Mailbox::bare(from),
                to: arguments.to.iter().map(Mailbox::bare).collect(),
                subject: arguments.subject,
                html: arguments.html.or_else(|| is_bare.then(|| BODY.to_owned())),
                text: arguments.text,
                ..Parts::default()
            }))
        }
    };
    Ok(Submission { source: Source::Http, sender: Some(sender), recipients, content, switches: Switches::default() })
}

/// Files of this machine end lines with LF; mail does with CRLF.
fn with_crlf(raw: &[u8]) -> Vec<u8> {
    let mut mail = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut before = 0;
    for byte in raw {
        if *byte == b'\n' && before != b'\r' {
            mail.push(b'\r');
        }
        mail.push(*byte);
        before = *byte;
    }
    mail
}
