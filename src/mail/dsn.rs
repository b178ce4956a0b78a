//! The fields of a delivery status notification: RFC 3464, RFC 6533, and what is written in their name.
//!
//! Reads the body of a `message/delivery-status` part, or the same fields where a program put them into its text.
//! Groups are told apart by blank lines and by fields that come twice, since either is missing in the wild.
//! Says what stands there; what it means is for `reply` and `report`.

use super::report::addresses;

/// How many recipients of one notification are read.
pub const RECIPIENTS_MAX: usize = 100;
/// A diagnostic that is longer than this is not added to.
const DIAGNOSTIC_BYTES_MAX: usize = 4 * 1024;

/// What a notification says in its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dsn {
    /// `Reporting-MTA`, without its type.
    pub reporting_mta: Option<String>,
    /// `Original-Envelope-Id`.
    pub envelope_id: Option<String>,
    /// `Original-Message-ID` and `X-Original-Message-ID`.
    pub message_id: Option<String>,
    /// `Disposition`, of a disposition notification (RFC 8098 §3.2.6).
    pub disposition: Option<String>,
    /// One for each recipient, in their order, at most [`RECIPIENTS_MAX`].
    pub groups: Vec<Group>,
    /// Whether there were more.
    pub cut: bool,
}

/// What a notification says about one recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `Original-Recipient`: the address that we sent to.
    pub original: Option<String>,
    /// `Final-Recipient`: the address that it came to in the end.
    pub last: Option<String>,
    /// `X-Actual-Recipient`.
    pub actual: Option<String>,
    /// `Action`.
    pub action: Option<Action>,
    /// `Status`, as `x.y.z`.
    pub status: Option<String>,
    /// What stands after the code in `Status`, often in brackets.
    pub status_comment: Option<String>,
    /// `Diagnostic-Code` without its type, or `X-Supplementary-Info`.
    pub diagnostic: Option<String>,
    /// Whether a program of the host was to take the mail, or speaks in the diagnostic.
    pub by_program: bool,
}

/// What was done for a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Still tried.
    Delayed,
    /// Put into the mailbox.
    Delivered,
    /// Handed to a system that will not tell.
    Relayed,
    /// Delivered, and on its way to more.
    Expanded,
}

impl Action {
    /// The word of RFC 3464.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        }
    }

    fn read(value: &str) -> Option<Self> {
        let word: String = value.trim().chars().take_while(char::is_ascii_alphabetic).collect();
        match word.to_ascii_lowercase().as_str() {
            "failed" | "failure" | "fail" | "error" | "expired" | "undeliverable" => Some(Action::Failed),
            "delayed" | "delay" | "deferred" => Some(Action::Delayed),
            "delivered" | "deliverable" | "success" => Some(Action::Delivered),
            "relayed" => Some(Action::Relayed),
            "expanded" => Some(Action::Expanded),
            _ => None,
        }
    }
}

impl Group {
    /// The address to act on: the one that we sent to where it is told, else the one that failed.
    pub fn address(&self) -> Option<&str> {
        let all = [&self.original, &self.last, &self.actual].map(Option::as_deref);
        let whole = all.into_iter().flatten().find(|address| address.contains('@'));
        whole.or(all.into_iter().flatten().next())
    }

    fn is_empty(&self) -> bool {
        self.original.is_none() && self.last.is_none() && self.actual.is_none() && !self.has_verdict()
    }

    /// Whether it says more than who.
    pub fn has_verdict(&self) -> bool {
        self.action.is_some() || self.status.is_some() || self.diagnostic.is_some()
    }

    /// Whether a field that comes now must belong to the next recipient.
    fn is_over(&self, field: &str, after_blank: bool) -> bool {
        let named = self.original.is_some() || self.last.is_some();
        match field {
            "final-recipient" => self.last.is_some() || (after_blank && named),
            "original-recipient" => self.original.is_some() || (after_blank && named),
            "action" => self.action.is_some() && after_blank && named,
            "status" => self.status.is_some() && after_blank && named,
            _ => false,
        }
    }

    fn set(&mut self, field: &str, value: &str) {
        match field {
            "original-recipient" => {
                let address = addresses::of_field(value).map(|address| addresses::without_xtext(&address));
                self.original = self.original.take().or(address);
            }
            "final-recipient" => {
                self.last = self.last.take().or_else(|| addresses::of_field(value));
                let target = without_type(value);
                self.by_program |= target.starts_with(['|', '/', '"']);
            }
            "x-actual-recipient" => self.actual = self.actual.take().or_else(|| addresses::of_field(value)),
            "action" => self.action = self.action.or_else(|| Action::read(value)),
            "status" if self.status.is_none() => {
                self.status = status_code(value);
                let comment = value.trim_start_matches(|char: char| char.is_ascii_digit() || char == '.').trim();
                self.status_comment = Some(comment.trim_matches(['(', ')']).to_owned()).filter(|text| !text.is_empty());
            }
            "diagnostic-code" => {
                self.diagnostic = Some(joined(self.diagnostic.take(), without_type(value)));
                // A program of the host speaks, not another host.
                if value.get(..6).is_some_and(|kind| kind.eq_ignore_ascii_case("x-unix")) {
                    self.by_program = true;
                }
            }
            "x-supplementary-info" if self.diagnostic.is_none() => {
                self.diagnostic = Some(without_type(value).to_owned())
            }
            _ => {}
        }
    }
}

fn joined(before: Option<String>, value: &str) -> String {
    match before {
        Some(before) if before.len() > DIAGNOSTIC_BYTES_MAX => before,
        Some(before) => format!("{before} {value}"),
        None => value.to_owned(),
    }
}

/// A value without the type before its `;`. A value that has no type may have a `;` too.
fn without_type(value: &str) -> &str {
    match value.split_once(';') {
        Some((kind, rest)) if kind.trim().chars().all(|char| char.is_ascii_alphanumeric() || "-/_.".contains(char)) => {
            rest.trim()
        }
        _ => value.trim(),
    }
}

/// The `x.y.z` that a text starts with.
fn status_code(value: &str) -> Option<String> {
    let code: String = value.trim().chars().take_while(|char| char.is_ascii_digit() || *char == '.').collect();
    let code = code.trim_end_matches('.');
    let parts: Vec<&str> = code.split('.').collect();
    let plausible = matches!(parts.as_slice(), ["2" | "4" | "5", subject, detail]
        if (1..=3).contains(&subject.len()) && (1..=3).contains(&detail.len()));
    plausible.then(|| code.to_owned())
}

/// Reads the fields of a text with `\n` line ends.
pub fn read(text: &str) -> Dsn {
    let mut dsn = Dsn::default();
    let mut group = Group::default();
    let mut field: Option<(String, String)> = None;
    let mut after_blank = false;
    for line in text.lines().chain([""]) {
        let starts = field_of(line);
        if starts.is_none() && !line.trim().is_empty() {
            if let Some((_, value)) = &mut field {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        if let Some((name, value)) = field.take() {
            dsn.take(&mut group, &name, &value, after_blank);
            after_blank = false;
        }
        after_blank |= starts.is_none();
        field = starts;
    }
    dsn.close(&mut group);
    dsn
}

impl Dsn {
    fn take(&mut self, group: &mut Group, name: &str, value: &str, after_blank: bool) {
        let first = |slot: &mut Option<String>, value: &str| {
            if slot.is_none() && !value.is_empty() {
                *slot = Some(value.to_owned());
            }
        };
        match name {
            "reporting-mta" => first(&mut self.reporting_mta, host(without_type(value))),
            "original-envelope-id" => first(&mut self.envelope_id, value.trim()),
            "original-message-id" | "x-original-message-id" => first(&mut self.message_id, value.trim()),
            "disposition" => first(&mut self.disposition, value.trim()),
            _ => {
                if group.is_over(name, after_blank) {
                    self.close(group);
                }
                group.set(name, value);
            }
        }
    }

    /// Ends a group. One that names nobody belongs to the one before it.
    fn close(&mut self, group: &mut Group) {
        let group = std::mem::take(group);
        if group.is_empty() {
            return;
        }
        if group.address().is_none()
            && let Some(last) = self.groups.last_mut()
        {
            last.action = last.action.or(group.action);
            last.status = last.status.take().or(group.status);
            last.diagnostic = last.diagnostic.take().or(group.diagnostic);
            return;
        }
        if self.groups.len() >= RECIPIENTS_MAX {
            self.cut = true;
        } else {
            self.groups.push(group);
        }
    }
}

fn host(value: &str) -> &str {
    value.split_whitespace().next().unwrap_or("").trim_matches(['<', '>', '[', ']'])
}

/// The field that starts on this line: its name in lower case, and what stands there of its value.
fn field_of(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim_end();
    let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let known = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    let other = name.contains('-') && !name.starts_with('-') && !name.bytes().next()?.is_ascii_digit();
    (named && (known || other)).then(|| (name.to_ascii_lowercase(), value.trim().to_owned()))
}

const NAMES: [&str; 3] = ["Action", "Status", "Disposition"];

/// Where the fields of a notification start in a program's text, if they do.
pub fn starts_in(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let name = field_of(line).map(|(name, _)| name);
        if name.is_some_and(|name| matches!(name.as_str(), "reporting-mta" | "final-recipient" | "original-recipient"))
        {
            return Some(at);
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Address, action, status and diagnostic of one recipient.
    type Expected<'a> = (&'a str, Option<Action>, Option<&'a str>, Option<&'a str>);

    #[track_caller]
    fn check(text: &str, expected: &[Expected<'_>]) {
        let dsn = read(text);
        let groups: Vec<_> = dsn
            .groups
            .iter()
            .map(|group| {
                (group.address().unwrap_or(""), group.action, group.status.as_deref(), group.diagnostic.as_deref())
            })
            .collect();
        assert_eq!(groups, expected, "{text}");
    }

    #[test]
    fn fields_are_read() {
        check(
            "Reporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1 (no)\n\
             Diagnostic-Code: smtp; 550 5.1.1\n  nobody; here\n",
            &[("a@b.example", Some(Action::Failed), Some("5.1.1"), Some("550 5.1.1 nobody; here"))],
        );
    }

    #[test]
    fn groups_are_told_apart() {
        let first = ("a@b.example", Some(Action::Failed), None, None);
        let second = ("c@d.example", Some(Action::Delayed), None, None);
        for text in [
            "Reporting-MTA: dns; m\nFinal-Recipient: rfc822;a@b.example\nAction: failed\n\
             Final-Recipient: rfc822;c@d.example\nAction: delayed",
            "Reporting-MTA: dns; m\n\n\n\nAction: failed\nFinal-Recipient: rfc822;a@b.example\n\n\n\
             Action: delayed\nFinal-Recipient: rfc822;c@d.example\n\n",
            "Original-Recipient: rfc822;a@b.example\nFinal-Recipient: rfc822;x@y.example\nAction: failed\n \n\
             Original-Recipient: rfc822;c@d.example\nFinal-Recipient: rfc822;z@y.example\nAction: Delayed (2nd)\n",
        ] {
            check(text, &[first, second]);
        }
    }

    #[test]
    fn the_address_that_we_sent_to_comes_first() {
        check(
            "Final-Recipient: rfc822; z@y.example\nOriginal-Recipient: rfc822;a+2Bb@c.example",
            &[("a+b@c.example", None, None, None)],
        );
        check(
            "Original-Recipient: rfc822; anna\nFinal-Recipient: rfc822; anna@c.example",
            &[("anna@c.example", None, None, None)],
        );
    }

    #[test]
    fn a_crowd_is_cut() {
        let crowd = "Final-Recipient: rfc822;a@b.example\nAction: failed\n\n".repeat(RECIPIENTS_MAX + 1);
        let dsn = read(&crowd);
        assert_eq!((dsn.groups.len(), dsn.cut), (RECIPIENTS_MAX, true));
    }
}
