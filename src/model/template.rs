//! Mails that are kept ready, to be filled in for each recipient.
//!
//! A template belongs to one mail agent and is found by its name. A change makes a new version; which one a mail was
//! made from can be told for as long as the template is there. The language of its texts is `mail::template`'s affair.

use super::author::Authors;
use super::id::{AgentId, TemplateId, TenantId};
use super::time::Timestamp;

/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 100;

/// The texts of a mail: with placeholders as they are kept, without as they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// What the subject says.
    pub subject: String,
    /// The body for readers that show HTML.
    pub html: Option<String>,
    /// The body for those that do not.
    pub text: Option<String>,
}

/// One of a mail's texts. Each API has its own word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// [`Texts::subject`].
    Subject,
    /// [`Texts::html`].
    Html,
    /// [`Texts::text`].
    Text,
    /// The submitter's own reference, which may hold placeholders too.
    ClientReference,
}

/// A mail that is kept ready, in one of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// Whose.
    pub tenant: TenantId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// What submissions call it, unique within the agent: Mailtura's `name`, ZeptoMail's `template_alias`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Counted from 1.
    pub version: u32,
    /// The texts of this version.
    pub texts: Texts,
    /// When its first version was made.
    pub created_at: Timestamp,
    /// When this version was made.
    pub updated_at: Timestamp,
    /// Who made the first version, and who this one.
    pub authors: Authors,
}

/// Names that no template gets: paths of templates' own have them.
const RESERVED_NAMES: [&str; 2] = ["new", "preview"];
/// What a name must be, for people.
pub const NAME_RULE: &str = "up to 100 letters, digits, hyphens, underscores and dots, and neither `new` nor `preview`";

/// Whether a text can be a new template's name: what stands in a URL as it is, at most [`NAME_CHARS_MAX`], and leads to it.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && !RESERVED_NAMES.contains(&text)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && text.bytes().any(|byte| byte != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["welcome-email", "Order_7", "a.b", "7", "New", "previews"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "é", "new", "preview", &"x".repeat(101)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
