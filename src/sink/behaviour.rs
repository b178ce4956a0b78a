//! What a recipient's address asks the sink to do. Pure.
//!
//! The local part is words joined by `+`; a word that means nothing is a name, so `ann+550@…` and `550@…` do the same.
//!
//! | word | does |
//! |---|---|
//! | `550`, `451-4.7.1`, `data-554`, `dot-421` | says that code, to RCPT unless another stage is named |
//! | `gmail-unknown`, … | says what that receiver says (`replies.toml`) |
//! | `greylist`, `greylist-60` | 450 until the recipient was first seen so many seconds ago (5) |
//! | `defer`, `defer-3` | 451 to so many attempts (1), then yes |
//! | `slow-5`, `slow-dot-5` | waits so many seconds before the answer |
//! | `drop-rcpt`, `drop-data`, `drop-body`, `drop-dot` | hangs up: before the answer, in the middle of the mail, after it |
//! | `bounce`, `bounce-gmail-full`, `late`, `success` | takes it, and sends a report to the return path later |
//! | `complain` | takes it, and sends a complaint to the return path later |
//! | `open`, `click` | takes it, and loads the pixel, or follows the links, later |

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

/// Longest wait that a recipient can ask for.
const SLOW_MAX: u64 = 600;

/// When something is said or done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// To the connection.
    Connect,
    /// To EHLO.
    Ehlo,
    /// To MAIL.
    Mail,
    /// To RCPT.
    #[default]
    Rcpt,
    /// To DATA.
    Data,
    /// In the middle of the mail.
    Body,
    /// To the final dot.
    Dot,
}

impl At {
    /// Every stage, in order.
    pub const ALL: [At; 7] = [At::Connect, At::Ehlo, At::Mail, At::Rcpt, At::Data, At::Body, At::Dot];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            At::Connect => "connect",
            At::Ehlo => "ehlo",
            At::Mail => "mail",
            At::Rcpt => "rcpt",
            At::Data => "data",
            At::Body => "body",
            At::Dot => "dot",
        }
    }

    /// The stage with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|at| at.as_str() == word)
    }
}

/// What comes back later, after a mail was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Later {
    /// A report with this action (RFC 3464 §2.3.3), in which the last server said this.
    Report {
        /// `failed`, `delayed` or `delivered`.
        action: &'static str,
        /// The reply that it tells of.
        reply: String,
    },
    /// A complaint (RFC 5965).
    Complaint,
    /// The pixel is loaded.
    Open,
    /// The links are followed.
    Click,
}

/// What one recipient asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Said instead of yes: when, and what.
    pub reply: Option<(At, String)>,
    /// 450 until so long after the recipient was first seen.
    pub greylist: Option<Duration>,
    /// 451 to so many attempts.
    pub defer: u32,
    /// Waits before an answer: when, and how long.
    pub slow: Option<(At, Duration)>,
    /// Hangs up.
    pub drop_at: Option<At>,
    /// What comes back later.
    pub later: Vec<Later>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    at: At,
    reply: String,
}

static REPLIES: LazyLock<BTreeMap<String, Said>> =
    LazyLock::new(|| toml::from_str(include_str!("replies.toml")).expect("the file is tested"));

/// The receivers' replies that can be asked for: name, stage and text.
pub fn replies() -> impl Iterator<Item = (&'static str, At, &'static str)> {
    REPLIES.iter().map(|(name, said)| (name.as_str(), said.at, said.reply.trim_start()))
}

impl Behaviour {
    /// What an address asks for.
    pub fn of(recipient: &str) -> Self {
        let local = recipient.rsplit_once('@').map_or(recipient, |(local, _)| local).to_ascii_lowercase();
        let mut behaviour = Self::default();
        for word in local.split('+') {
            behaviour.take(word, recipient);
        }
        behaviour
    }

    fn take(&mut self, word: &str, recipient: &str) {
        let (head, rest) = word.split_once('-').unwrap_or((word, ""));
        let seconds =
            |text: &str, else_seconds: u64| Duration::from_secs(text.parse().unwrap_or(else_seconds).min(SLOW_MAX));
        match head {
            "greylist" => self.greylist = Some(seconds(rest, 5)),
            "defer" => self.defer = rest.parse().unwrap_or(1),
            "slow" => {
                let (stage, span) = rest.split_once('-').unwrap_or(("rcpt", rest));
                self.slow = At::from_word(stage).map(|at| (at, seconds(span, 5)));
            }
            "drop" => self.drop_at = At::from_word(rest).or(Some(At::Dot)),
            "bounce" => {
                let reply = said(rest, recipient).map_or_else(|| unknown(recipient), |(_, reply)| reply);
                self.later.push(Later::Report { action: "failed", reply });
            }
            "late" => {
                let reply = "451 4.4.1 the next host does not answer".to_owned();
                self.later.push(Later::Report { action: "delayed", reply });
            }
            "success" => self.later.push(Later::Report { action: "delivered", reply: "250 2.1.5 ok".to_owned() }),
            "complain" => self.later.push(Later::Complaint),
            "open" => self.later.push(Later::Open),
            "click" => self.later.push(Later::Click),
            _ => self.reply = said(word, recipient).or_else(|| coded(word)).or(self.reply.take()),
        }
    }
}

fn unknown(recipient: &str) -> String {
    format!("550 5.1.1 <{recipient}>: no such mailbox here")
}

/// The reply with this name, about this recipient.
fn said(name: &str, recipient: &str) -> Option<(At, String)> {
    let said = REPLIES.get(name)?;
    Some((said.at, said.reply.trim().replace("<recipient>", &format!("<{recipient}>"))))
}

/// `550`, `451-4.7.1`, `dot-554`, `dot-451-4.7.1`.
fn coded(word: &str) -> Option<(At, String)> {
    let (at, code) = match word.split_once('-').and_then(|(stage, rest)| Some((At::from_word(stage)?, rest))) {
        Some(staged) => staged,
        None => (At::Rcpt, word),
    };
    let (code, status) = code.split_once('-').unwrap_or((code, ""));
    let number: u16 = code.parse().ok().filter(|number| (400..600).contains(number) && code.len() == 3)?;
    let is_status = status.split('.').count() == 3 && status.split('.').all(|part| part.parse::<u16>().is_ok());
    let status = if is_status { status.to_owned() } else { format!("{}.0.0", number / 100) };
    Some((at, format!("{number} {status} as the recipient's address asks")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(recipient: &str, expected: Behaviour) {
        assert_eq!(Behaviour::of(recipient), expected, "{recipient}");
    }

    fn replying(at: At, reply: &str) -> Behaviour {
        Behaviour { reply: Some((at, reply.to_owned())), ..Behaviour::default() }
    }

    #[test]
    fn addresses_ask() {
        let none = Behaviour::default;
        for nothing in
            ["ann@example.com", "x+y+z@example.com", "@", "", "a-b-c@example.com", "99@x.example", "250@x.example"]
        {
            check(nothing, none());
        }
        check("550@x.example", replying(At::Rcpt, "550 5.0.0 as the recipient's address asks"));
        check("Ann+DOT-451-4.7.1@x.example", replying(At::Dot, "451 4.7.1 as the recipient's address asks"));
        check("exim-unknown@x.example", replying(At::Rcpt, "550 Unrouteable address"));
        check("icloud-full@x.example", replying(At::Rcpt, "552 5.2.2 <icloud-full@x.example>: user is over quota"));
        check("greylist-60@x.example", Behaviour { greylist: Some(Duration::from_secs(60)), ..none() });
        check("defer+drop-data@x.example", Behaviour { defer: 1, drop_at: Some(At::Data), ..none() });
        check("slow-dot-7@x.example", Behaviour { slow: Some((At::Dot, Duration::from_secs(7))), ..none() });
        check("slow-99999@x.example", Behaviour { slow: Some((At::Rcpt, Duration::from_secs(SLOW_MAX))), ..none() });
        check("open+click@x.example", Behaviour { later: vec![Later::Open, Later::Click], ..none() });
        let failed = |reply: &str| Later::Report { action: "failed", reply: reply.to_owned() };
        check("bounce-exim-unknown@x.example", Behaviour { later: vec![failed("550 Unrouteable address")], ..none() });
        check("bounce@x.example", Behaviour { later: vec![failed(&unknown("bounce@x.example"))], ..none() });
    }

    #[test]
    fn what_receivers_say_is_well_formed() {
        for (name, _, reply) in replies() {
            let mut lines = reply.lines().peekable();
            let code = &reply[..3];
            assert!(matches!(code.parse(), Ok(400..600)), "{name}");
            while let Some(line) = lines.next() {
                let hyphen = if lines.peek().is_some() { "-" } else { " " };
                assert!(line.starts_with(&format!("{code}{hyphen}")), "{name}: {line}");
            }
            assert!(Behaviour::of(&format!("{name}@x.example")).reply.is_some(), "{name}");
        }
        assert!(replies().count() > 20);
    }
}
