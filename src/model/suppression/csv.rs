//! Suppressions as CSV, in and out (RFC 4180): one a line, columns by the names in the first.
//!
//! Out: `target,action,reason,note,created_at,expires_at`. In: `target` is needed, or one of the names that other
//! services' exports have for it; the other columns may be missing, unknown ones are passed over. A line that makes no
//! sense is told with its number, and does not spoil the others. Pure.

use super::{Action, Scope, Suppression, Target};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;

/// The first line of what we write.
pub const HEAD: &str = "target,action,reason,note,created_at,expires_at\r\n";

/// Longest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 500;

/// What other services call the column of addresses.
const TARGET_NAMES: [&str; 7] = ["target", "email", "address", "recipient", "emailaddress", "email_address", "value"];

/// A line that is no suppression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// Counted from 1, the first of a record that has several.
    pub line: usize,
    /// What is wrong with it, for people.
    pub why: String,
}

/// One line, line end included.
pub fn line(suppression: &Suppression) -> String {
    let until = suppression.expires_at.map(Timestamp::rfc3339_seconds).unwrap_or_default();
    let since = suppression.created_at.rfc3339_seconds();
    let (action, reason) = (suppression.action.as_str(), suppression.reason.as_str());
    let cells = [suppression.target.as_str(), action, reason, &suppression.note, &since, &until];
    let cells: Vec<String> = cells.into_iter().map(quoted).collect();
    format!("{}\r\n", cells.join(","))
}

/// A cell, in quotes where it needs them. What a spreadsheet would take for a formula gets an apostrophe.
fn quoted(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if is_formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', ';', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

/// Reads a whole file: each record as a suppression of `scope` made at `now`, or why it is none.
///
/// # Errors
/// The first line does not name the column of addresses.
pub fn read(text: &str, scope: Scope, now: Timestamp) -> Result<Vec<Result<Suppression, BadLine>>, BadLine> {
    let text = text.trim_start_matches('\u{feff}');
    let head = text.lines().next().unwrap_or_default();
    let separator = if head.contains(';') && !head.contains(',') { ';' } else { ',' };
    let mut records = Records { rest: text, line: 1, separator };
    let (_, head) = records.next().unwrap_or_default();
    let head: Vec<String> = head.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    let column = |names: &[&str]| head.iter().position(|name| names.contains(&name.as_str()));
    let Some(target) = column(&TARGET_NAMES) else {
        let why = format!("no column is called {}", TARGET_NAMES.join(", "));
        return Err(BadLine { line: 1, why });
    };
    let columns = Columns {
        target,
        action: column(&["action"]),
        reason: column(&["reason"]),
        note: column(&["note", "description"]),
        created_at: column(&["created_at", "created", "date"]),
        expires_at: column(&["expires_at"]),
    };
    let records = records.filter(|(_, cells)| cells.iter().any(|cell| !cell.trim().is_empty()));
    let read = |(line, cells): (usize, Vec<String>)| {
        columns.suppression(&cells, scope, now).map_err(|why| BadLine { line, why })
    };
    Ok(records.map(read).collect())
}

/// Where the columns are.
struct Columns {
    target: usize,
    action: Option<usize>,
    reason: Option<usize>,
    note: Option<usize>,
    created_at: Option<usize>,
    expires_at: Option<usize>,
}

impl Columns {
    fn suppression(&self, cells: &[String], scope: Scope, now: Timestamp) -> Result<Suppression, String> {
        let cell = |column: Option<usize>| {
            column.and_then(|at| cells.get(at)).map(|cell| cell.trim()).filter(|cell| !cell.is_empty())
        };
        let target = cell(Some(self.target)).ok_or("there is no address")?;
        let target: Target = target.parse().map_err(|fault| format!("{target:?}: {fault}"))?;
        let action = match cell(self.action) {
            Some(word) => word.to_ascii_lowercase().parse::<Action>().map_err(|fault| fault.to_string())?,
            None => Action::default(),
        };
        if !action.is_for(&target) {
            return Err(format!("{} is for addresses only", action.as_str()));
        }
        let note = cell(self.note).unwrap_or_default();
        if note.len() > NOTE_BYTES_MAX {
            return Err(format!("the note is longer than {NOTE_BYTES_MAX} bytes"));
        }
        // Other services have reasons of their own; that it was on a list is what we know then.
        let reason = cell(self.reason).and_then(|word| word.to_ascii_lowercase().parse().ok());
        let created_at = cell(self.created_at).and_then(|text| time(text).ok()).unwrap_or(now);
        let expires_at = cell(self.expires_at).map(time).transpose()?;
        let reason = reason.unwrap_or(Reason::Manual);
        let (note, created_by) = (note.to_owned(), String::new());
        Ok(Suppression { scope, target, action, reason, note, created_at, created_by, expires_at })
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let at: jiff::Timestamp = text.parse().map_err(|_| format!("{text:?} is not a time like 2026-03-02T08:15:00Z"))?;
    Ok(Timestamp::from_millis(at.as_millisecond()))
}

/// The records of a file with the numbers of their first lines. A quote that is never closed ends with the file.
struct Records<'t> {
    rest: &'t str,
    line: usize,
    separator: char,
}

impl Iterator for Records<'_> {
    type Item = (usize, Vec<String>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let first = self.line;
        let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
        let mut chars = self.rest.char_indices().peekable();
        let mut end = self.rest.len();
        while let Some((at, char)) = chars.next() {
            self.line += usize::from(char == '\n');
            match char {
                '"' if is_quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    chars.next();
                    cell.push('"');
                }
                '"' => is_quoted = !is_quoted,
                parts if parts == self.separator && !is_quoted => cells.push(std::mem::take(&mut cell)),
                '\n' if !is_quoted => {
                    end = at + 1;
                    break;
                }
                '\r' if !is_quoted => {}
                other => cell.push(other),
            }
        }
        self.rest = &self.rest[end..];
        cells.push(cell);
        Some((first, cells))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn read_all(text: &str) -> Vec<Result<Suppression, BadLine>> {
        read(text, Scope::Installation, NOW).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let suppression = Suppression {
            scope: Scope::Installation,
            target: "ann@example.com".parse().unwrap(),
            action: Action::Reject,
            reason: Reason::Complaint,
            note: "said \"no\",\ntwice".into(),
            created_at: NOW,
            created_by: String::new(),
            expires_at: Some(Timestamp::from_millis(1_900_000_000_000)),
        };
        let text = format!("{HEAD}{}", line(&suppression));
        assert_eq!(read_all(&text), [Ok(suppression)]);
    }

    #[test]
    fn exports_of_others() {
        let read = read_all("\u{feff}Status;Email;Reason\nx;Ann@Example.com;550 gone\n\n;b@example.com;user_unknown");
        let told: Vec<_> = read.into_iter().map(|read| read.map(|one| (one.target.to_string(), one.reason))).collect();
        let expected =
            [Ok(("ann@example.com".into(), Reason::Manual)), Ok(("b@example.com".into(), Reason::UserUnknown))];
        assert_eq!(told, expected);
        assert!(super::read("Status;Reason\nx;y\n", Scope::Installation, NOW).is_err());
        assert!(super::read("", Scope::Installation, NOW).is_err());
    }

    #[test]
    fn a_bad_line_is_told_and_spoils_no_other() {
        let read = read_all(
            "email,action,expires_at\nnobody,,\n\"a@example.com\n\",,\nb@example.com,drop,\nc@example.com,,soon\nd.example,suppress_tracking,\n",
        );
        let lines: Vec<_> = read.iter().map(|read| read.as_ref().map_err(|bad| bad.line).map(|_| ())).collect();
        assert_eq!(lines, [Err(2), Ok(()), Err(5), Err(6), Err(7)]);
    }

    #[test]
    fn nothing_is_a_formula() {
        assert_eq!(quoted("=cmd()"), "'=cmd()");
        assert_eq!(quoted("a@example.com"), "a@example.com");
    }

    proptest! {
        #[test]
        fn any_text(text in "[a@.\",;\r\n ]{0,200}") {
            let _ = read(&format!("email\n{text}"), Scope::Installation, NOW);
            let records = Records { rest: &text, line: 1, separator: ',' }.count();
            prop_assert!(records <= text.len());
        }
    }
}
