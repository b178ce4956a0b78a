//! What kind of thing a subject or a sentence tells: the word lists of `rules/notices.toml`.
//!
//! Each list is a [`Notice`]; a text is searched for all of them at once and answers with the set that it holds.

use std::collections::HashMap;

use serde::Deserialize;

use crate::mail::phrases::Phrases;

/// What a text may tell. The names are those of the lists in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A subject: not delivered.
    SubjectFailed,
    /// A subject: later.
    SubjectDelayed,
    /// A subject: delivered.
    SubjectDelivered,
    /// A subject: automatic reply.
    SubjectAutoreply,
    /// A subject: of a ticket system.
    SubjectTicket,
    /// A subject: prove that you are a person.
    SubjectChallenge,
    /// A subject: a moderator will look at it.
    SubjectModerated,
    /// A subject: marked as spam.
    SubjectComplaint,
    /// A subject: nothing but the wish to leave.
    SubjectOptout,
    /// A sentence: not delivered.
    BodyFailed,
    /// A sentence: still trying.
    BodyDelayed,
    /// A sentence: delivered.
    BodyDelivered,
    /// A sentence: no more trying.
    BodyFinal,
    /// A sentence of those who fish for passwords in the dress of a bounce.
    BodyLure,
    /// A sentence that asks the sender to prove himself.
    BodyChallenge,
    /// A sentence of an automatic reply.
    BodyAutoreply,
    /// A line before the returned message.
    Separator,
    /// Words before the address that failed.
    LabelRecipient,
    /// Words before another address.
    LabelOther,
}

/// A set of [`Notice`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notices(u32);

impl Notices {
    /// Adds the notice of this number.
    pub fn add(&mut self, notice: usize) {
        self.0 |= 1 << notice;
    }

    /// Whether the text tells this.
    pub fn has(self, notice: Notice) -> bool {
        self.0 & (1 << notice as u32) != 0
    }
}

/// The phrases of every list, each under its notice's number: those that `wanted` wants, given the notice and the phrase.
pub fn phrases(mut wanted: impl FnMut(Notice, &str) -> bool) -> Result<Phrases, String> {
    let lists: HashMap<Notice, Vec<String>> =
        toml::from_str(include_str!("../rules/notices.toml")).map_err(|bad| bad.to_string())?;
    let mut phrases = Phrases::default();
    for (notice, list) in &lists {
        let number = *notice as usize;
        if let Some(bad) = list.iter().find(|phrase| !phrases.add(phrase, number, |one| wanted(*notice, one))) {
            return Err(format!("{notice:?}: no use can be made of {bad:?}"));
        }
    }
    Ok(phrases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::rules::Rules;

    #[test]
    fn the_file_reads() {
        phrases(|_, _| true).unwrap();
    }

    #[track_caller]
    fn check(text: &str, notice: Notice) {
        assert!(Rules::default().notices_in(text).has(notice), "{text:?} should tell {notice:?}");
    }

    #[test]
    fn texts_tell() {
        check("Undelivered Mail Returned to Sender", Notice::SubjectFailed);
        check("Unzustellbar: Hallo", Notice::SubjectFailed);
        check("Warning: message delayed 24 hours", Notice::SubjectDelayed);
        check("Réponse automatique : lettre", Notice::SubjectAutoreply);
        check("Ihre Nachricht konnte nicht zugestellt werden", Notice::BodyFailed);
        check("has not yet been delivered", Notice::BodyDelayed);
        check("------ This is a copy of the message ------", Notice::Separator);
        assert_eq!(Rules::default().notices_in("Shall we have lunch on Friday?"), Notices::default());
    }
}
