//! `postback inspect`: what the pure parts make of an input. No database, no server, no network.
//!
//! `--jsonl` prints a line an input, in formats that people script against; without it the same is laid out for eyes.

use std::io::{BufRead, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postback::app;
use postback::config::Loaded;
use postback::enrich::geo;
use postback::mail::preview::{self, Demonstration};
use postback::mail::report::{Action, Report};
use postback::mail::rewrite::{Rewritten, Wanted};
use postback::mail::rules::Rules;
use postback::mail::{report, rewrite};
use postback::{egress, enrich};
use serde_json::Value;

use super::{printable, say};

#[derive(Subcommand)]
pub(super) enum InspectCommand {
    /// Mail that came back: what it is, about whom, and why
    Bounce {
        #[command(flatten)]
        files: Files,
        /// Judge by the rules of this file first
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
    },
    /// User agents: the program behind each, and whether it is a machine
    UserAgent(Texts),
    /// IP addresses: where each is
    Ip {
        /// Addresses
        #[arg(required = true)]
        addresses: Vec<String>,
        /// One line each (the only form)
        #[arg(long)]
        jsonl: bool,
    },
    /// A message as it would be tracked, sealed with a key that everybody knows; what changed and why goes to standard
    /// error
    Rewrite {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        switches: RewriteSwitches,
    },
    /// URLs: whether a webhook may go there, before DNS is asked
    Egress(Texts),
}

#[derive(Args)]
pub(super) struct Files {
    /// Files; `-` or none is standard input
    files: Vec<String>,
    /// One line of JSON each
    #[arg(long)]
    jsonl: bool,
}

#[derive(Args)]
pub(super) struct RewriteSwitches {
    /// Without a pixel
    #[arg(long)]
    no_opens: bool,
    /// With links as they are
    #[arg(long)]
    no_clicks: bool,
    /// Without links that let their holder in: a parameter named token, code, key and the like
    #[arg(long)]
    auto: bool,
    /// With links of plain text, too
    #[arg(long)]
    text: bool,
    /// With the pixel at the top
    #[arg(long)]
    pixel_on_top: bool,
    /// Without links to this host, or with `*.` in front to any below it
    #[arg(long = "skip-host", value_name = "HOST")]
    skip_hosts: Vec<String>,
}

#[derive(Args)]
pub(super) struct Texts {
    /// What to look at; without any, each line of standard input
    texts: Vec<String>,
    /// One line of JSON each
    #[arg(long)]
    jsonl: bool,
}

pub(super) fn run(load: impl FnOnce() -> anyhow::Result<Loaded>, command: InspectCommand) -> anyhow::Result<()> {
    match command {
        InspectCommand::Bounce { files, rules } => {
            let rules = rules.map_or_else(|| Ok(Rules::default()), |path| own_rules(&path))?;
            files.each(|file, mail| {
                let report = report::read(mail, &rules);
                match files.jsonl {
                    true => show(true, &report::inspect_line(file, &report)),
                    false => show(false, &explained(file, &report)),
                }
            })
        }
        InspectCommand::Rewrite { files, switches } => {
            let wanted = switches.wanted();
            files.each(|file, message| {
                let rewritten = rewrite::rewrite(message, &wanted, &mut Demonstration::default());
                if files.jsonl {
                    return say(preview::inspect_line(file, &rewritten).to_string());
                }
                if std::io::stdout().write_all(&rewritten.bytes).is_err() {
                    std::process::exit(0);
                }
                eprint!("{}", changes(file, &rewritten));
            })
        }
        InspectCommand::UserAgent(texts) => {
            texts.each(|text| show(texts.jsonl, &enrich::agent::inspect_user_agent(text)))
        }
        InspectCommand::Egress(texts) => texts.each(|text| show(texts.jsonl, &egress::inspect_line(text))),
        InspectCommand::Ip { addresses, .. } => {
            let geo = app::open_geo(&load()?.settings)?;
            for address in addresses {
                let ip: IpAddr = address.parse().with_context(|| format!("{address:?}"))?;
                say(geo::inspect_ip(&geo, ip).to_string());
            }
            Ok(())
        }
    }
}

/// What the line says, and of each recipient who failed, which rule decided and what follows. Scripts read the line as it
/// is: its shape is promised.
fn explained(file: &str, report: &Report) -> Value {
    let mut value = report::inspect_line(file, report);
    let lines = value["recipients"].as_array_mut().into_iter().flatten();
    for (line, recipient) in lines.zip(&report.recipients) {
        if matches!(recipient.action, Action::Failed | Action::Delayed) {
            let reason = recipient.cause.reason;
            line["rule"] = recipient.cause.rule.clone().into();
            line["axis"] = reason.axis().sentence().into();
            line["retry"] = reason.retry().sentence().into();
        }
    }
    value
}

/// What was done to a message and its links, and why not to others.
fn changes(file: &str, rewritten: &Rewritten<'_>) -> String {
    let mut told =
        format!("{}: {}\n", printable(file), if rewritten.pixel { "with a pixel" } else { "without a pixel" });
    for part in &rewritten.parts {
        let what = part.untouched.map_or_else(|| "rewritten".to_owned(), |why| format!("untouched: {why}"));
        told += &format!("  part   {} {} {what}\n", part.path, printable(&part.content_type));
    }
    for link in &rewritten.links {
        told += &format!("  link   {}\n    to   {}\n", link.tracked, printable(&link.target));
    }
    for left in &rewritten.left {
        told += &format!("  stays  {}\n    why  {}\n", printable(&left.original), left.why);
    }
    told
}

fn own_rules(path: &Path) -> anyhow::Result<Rules> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Rules::with_own(&text).with_context(|| path.display().to_string())
}

impl RewriteSwitches {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            opens: !self.no_opens,
            clicks: !self.no_clicks,
            clicks_auto: self.auto,
            text_clicks: self.text && !self.no_clicks,
            pixel_on_top: self.pixel_on_top,
            skip_hosts: &self.skip_hosts,
            ..preview::WANTED
        }
    }
}

impl Files {
    /// Gives each file's name and content to `look`. One that cannot be read is told of and passed over.
    fn each(&self, look: impl Fn(&str, &[u8])) -> anyhow::Result<()> {
        let standard_input = ["-".to_owned()];
        let files = if self.files.is_empty() { &standard_input[..] } else { &self.files };
        let mut unread = 0;
        for file in files {
            let mut content = Vec::new();
            let read = match file.as_str() {
                "-" => std::io::stdin().lock().read_to_end(&mut content).map(drop),
                path => std::fs::read(path).map(|bytes| content = bytes),
            };
            match read {
                Ok(()) => look(file, &content),
                Err(fault) => {
                    eprintln!("postback: read {file}: {fault}");
                    unread += 1;
                }
            }
        }
        match unread {
            0 => Ok(()),
            _ => bail!("{unread} of {} files could not be read", files.len()),
        }
    }
}

impl Texts {
    fn each(&self, look: impl Fn(&str)) -> anyhow::Result<()> {
        self.texts.iter().for_each(|text| look(text));
        if self.texts.is_empty() {
            for line in std::io::stdin().lock().split(b'\n') {
                let line = line.context("read standard input")?;
                look(String::from_utf8_lossy(&line).trim_end_matches('\r'));
            }
        }
        Ok(())
    }
}

fn show(jsonl: bool, value: &Value) {
    if jsonl {
        return say(value.to_string());
    }
    say(laid_out(value, 0));
}

/// JSON for eyes: a line a value, what is empty left out.
fn laid_out(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let mut lines = String::new();
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, value)| (format!("{key}:"), value)).collect(),
        Value::Array(list) => list.iter().map(|value| ("-".to_owned(), value)).collect(),
        _ => Vec::new(),
    };
    for (label, value) in entries {
        let inner = match value {
            Value::Null => continue,
            Value::String(text) if text.is_empty() => continue,
            Value::String(text) => format!(" {}\n", printable(text)),
            Value::Bool(_) | Value::Number(_) => format!(" {value}\n"),
            Value::Object(_) | Value::Array(_) => match laid_out(value, depth + 1) {
                inner if inner.is_empty() => continue,
                inner => format!("\n{inner}"),
            },
        };
        lines += &format!("{indent}{label}{inner}");
    }
    lines
}
