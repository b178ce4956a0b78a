//! Complaints: the feedback report of RFC 5965 and the forms that were sent before it.
//!
//! Reads the fields of `message/feedback-report`. Providers leave out or blank the recipient's address; then the returned
//! message has to tell whose it was (see `report`).

use super::report::addresses;

/// What somebody complained about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
    /// `abuse`, `fraud`, `virus`, `not-spam`, `opt-out`, `auth-failure`, …; lower case, `abuse` where none is given.
    pub feedback_type: String,
    /// `Reporting-MTA`, else `User-Agent`: who reports.
    pub reported_by: Option<String>,
    /// `Original-Mail-From`: the envelope sender of the message.
    pub return_path: Option<String>,
    /// `Source-IP`: where the message came from.
    pub source_ip: Option<String>,
    /// `Original-Rcpt-To`, `Removal-Recipient` and the like: who complained. Empty where it is blanked or left out.
    pub original_recipients: Vec<String>,
    /// `Original-Message-ID`, which some give.
    pub message_id: Option<String>,
    /// `Reported-Domain`: whose mail it is said to be.
    pub reported_domain: Option<String>,
}

/// What the one who reports asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Not to be bothered again: the recipient took the mail for abuse.
    Peace,
    /// To be off the list.
    Leave,
    /// That somebody looks: forged, infected, or not authenticated. The recipient asks for nothing.
    Attention,
    /// Nothing: the mail was no spam.
    Nothing,
}

impl Complaint {
    /// What the report asks for, by its `Feedback-Type` (RFC 5965 §7.3, RFC 6430, RFC 6591). A word that nobody has
    /// registered is taken for abuse: a provider that reports wants the mail to stop.
    pub fn wish(&self) -> Wish {
        match self.feedback_type.as_str() {
            "not-spam" => Wish::Nothing,
            "opt-out" | "opt-out-list" | "unsubscribe" => Wish::Leave,
            "auth-failure" | "fraud" | "virus" | "dmarc" => Wish::Attention,
            _ => Wish::Peace,
        }
    }
}

/// Reads the fields of a feedback report, with `\n` line ends.
pub fn read(text: &str) -> Complaint {
    let mut complaint = Complaint::default();
    for (name, value) in fields(text) {
        let address = || addresses::of_field(&value).filter(|address| address.contains('@'));
        let first = |slot: &mut Option<String>, value: Option<String>| {
            if slot.is_none() {
                *slot = value;
            }
        };
        match name.as_str() {
            "feedback-type" if complaint.feedback_type.is_empty() => {
                complaint.feedback_type = value.split_whitespace().next().unwrap_or("").to_ascii_lowercase();
            }
            "reporting-mta" => {
                let host = value.rsplit(';').next().unwrap_or(&value).trim();
                complaint.reported_by = Some(host.to_owned());
            }
            "user-agent" => first(&mut complaint.reported_by, Some(value)),
            "original-mail-from" => first(&mut complaint.return_path, address()),
            "source-ip" => first(&mut complaint.source_ip, value.split_whitespace().next().map(str::to_owned)),
            "reported-domain" => {
                first(&mut complaint.reported_domain, value.split_whitespace().next().map(str::to_ascii_lowercase));
            }
            "original-message-id" => first(&mut complaint.message_id, Some(value)),
            "original-rcpt-to" | "removal-recipient" | "redacted-address" | "original-recipient"
            | "final-recipient" => {
                let known = &mut complaint.original_recipients;
                known.extend(
                    address().filter(|address| known.len() < super::dsn::RECIPIENTS_MAX && !known.contains(address)),
                );
            }
            _ => {}
        }
    }
    if complaint.feedback_type.is_empty() {
        complaint.feedback_type.push_str("abuse");
    }
    complaint
}

/// The fields of a text, unfolded: names in lower case.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    fields
}

/// Whether a program's text holds the fields of a feedback report, outside a part of its own.
pub fn is_in(text: &str) -> bool {
    let has = |name: &str| {
        text.lines().any(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    };
    has("Feedback-Type:") && (has("User-Agent:") || has("Version:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feedback_report_is_read() {
        let complaint = read(
            "Feedback-Type: Abuse\nUser-Agent: Loop/1.0\nVersion: 1\nOriginal-Mail-From: <news@here.example>\n\
             Original-Rcpt-To: <kim@there.example>\nOriginal-Rcpt-To: <kim@there.example>\nRemoval-Recipient:\n pat@there.example\n\
             Source-IP: 192.0.2.1 (mx)\nReporting-MTA: dns; mx.there.example\n",
        );
        assert_eq!(complaint.feedback_type, "abuse");
        assert_eq!(complaint.original_recipients, ["kim@there.example", "pat@there.example"]);
        assert_eq!(complaint.return_path.as_deref(), Some("news@here.example"));
        assert_eq!(complaint.source_ip.as_deref(), Some("192.0.2.1"));
        assert_eq!(complaint.reported_by.as_deref(), Some("mx.there.example"));
        assert_eq!(complaint.wish(), Wish::Peace);
    }

    #[test]
    fn types_ask_for_different_things() {
        let check = |kind: &str, wish| assert_eq!(read(&format!("Feedback-Type: {kind}\n")).wish(), wish, "{kind}");
        for kind in ["abuse", "ABUSE", "other", "miscategorized", "complaint", "x-spam", ""] {
            check(kind, Wish::Peace);
        }
        for kind in ["opt-out", "opt-out-list"] {
            check(kind, Wish::Leave);
        }
        for kind in ["auth-failure", "virus", "fraud"] {
            check(kind, Wish::Attention);
        }
        check("not-spam", Wish::Nothing);
    }

    #[test]
    fn fields_in_a_text_are_known() {
        assert!(is_in("hello\nfeedback-type: abuse\nversion: 1\n"));
        assert!(!is_in("the Feedback-Type: field"));
    }
}
