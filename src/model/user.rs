//! People who sign in to the console, and what each role may do there.

use super::id::{TenantId, UserId};
use super::secret::Secret;
use super::time::Timestamp;
use super::totp::SecondFactor;

/// What a person may do, from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything, users included.
    Owner,
    /// All but users.
    Operator,
    /// Looks, and helps one mail at a time: retry, resend, lift a suppression.
    Support,
    /// Looks.
    ReadOnly,
}

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// See anything but secrets.
    Look,
    /// Help one mail or one address.
    Assist,
    /// Change agents, webhooks, templates, settings.
    Manage,
    /// Invite, change and remove users.
    Govern,
}

impl Role {
    /// Every role, from most to least.
    pub const ALL: [Role; 4] = [Role::Owner, Role::Operator, Role::Support, Role::ReadOnly];

    /// Its word, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Operator => "operator",
            Role::Support => "support",
            Role::ReadOnly => "read-only",
        }
    }

    /// The role with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// Whether the role may do it.
    pub const fn may(self, deed: Deed) -> bool {
        match deed {
            Deed::Look => true,
            Deed::Assist => !matches!(self, Role::ReadOnly),
            Deed::Manage => matches!(self, Role::Owner | Role::Operator),
            Deed::Govern => matches!(self, Role::Owner),
        }
    }
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// With which they sign in; lower-case, unique in the installation.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// Argon2id, as a PHC string.
    pub password: Secret,
    /// What they may do.
    pub role: Role,
    /// The one tenant that they see; `None` for all of them.
    pub tenant: Option<TenantId>,
    /// What they must know besides the password.
    pub second_factor: Option<SecondFactor>,
    /// When they joined.
    pub created_at: Timestamp,
}

/// A person asked to join, or to choose a new password; the link that they got has the secret, we keep its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// SHA-256 of the link's secret.
    pub digest: [u8; 32],
    /// The role that they will have.
    pub role: Role,
    /// The one tenant that they will see; `None` for all of them.
    pub tenant: Option<TenantId>,
    /// Who is to choose a new password; `None` for somebody new.
    pub user: Option<UserId>,
    /// After this time the link leads nowhere.
    pub expires_at: Timestamp,
}

impl Invitation {
    /// How it is named where it is listed: its digest in hexadecimal, from which nobody learns the secret.
    pub fn id(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The digest of the one that is named so.
    pub fn digest_of(id: &str) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        if id.len() != 2 * digest.len() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(id.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(digest)
    }
}

/// One line of the audit log. Written with what it tells of, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who, as they were called then.
    pub actor: String,
    /// What was done, in words: `webhook added`.
    pub action: String,
    /// To what: an id, an address; never a secret.
    pub object: String,
    /// From which address.
    pub address: String,
    /// Of which tenant; `None` for the installation.
    pub tenant: Option<TenantId>,
}

/// What passwords begin with that are tried first; with digits and signs around them, or told twice, they are no better.
const TRIED_FIRST: [&str; 30] = [
    "password",
    "passwort",
    "motdepasse",
    "contrasena",
    "passphrase",
    "qwerty",
    "qwertyuiop",
    "qwertyuiopasdfghjkl",
    "asdfghjkl",
    "zxcvbnm",
    "azertyuiop",
    "qwertz",
    "qwertzuiop",
    "iloveyou",
    "letmein",
    "welcome",
    "administrator",
    "admin",
    "superuser",
    "changeme",
    "changeit",
    "trustno",
    "football",
    "baseball",
    "princess",
    "sunshine",
    "monkey",
    "dragon",
    "postback",
    "abcdefghijklmnopqrstuvwxyz",
];
/// Other signs in a password that are too few.
const SIGNS_MIN: usize = 5;

/// Whether a password is one of those that anybody tries first: few signs, a row of digits, or a common word with
/// digits and signs around it.
pub fn is_common(password: &str) -> bool {
    let signs: std::collections::BTreeSet<char> = password.chars().collect();
    let folded = password.to_lowercase();
    let core = folded.trim_matches(|c: char| !c.is_alphabetic());
    let is_row = "01234567890123456789012345678909876543210987654321098765432109876543210".contains(password);
    let is_word = |word: &str| core.replace(word, "").chars().all(|c| !c.is_alphabetic());
    signs.len() < SIGNS_MIN || is_row || !core.is_empty() && TRIED_FIRST.iter().any(|word| is_word(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_tried_first() {
        for common in [
            "password1234",
            "Password!2026",
            "1234567890123",
            "987654321098",
            "aaaaaaaaaaaa",
            "QwertyQwerty1",
            "letmein-letmein",
            "abcabcabcabc",
        ] {
            assert!(is_common(common), "{common}");
        }
        for rare in [
            "correct horse battery",
            "my password is a secret",
            "another horse battery",
            "4711 times around",
            "zoë reads books",
        ] {
            assert!(!is_common(rare), "{rare}");
        }
    }

    #[test]
    fn who_may_do_what() {
        let check = |role: Role, expected: [bool; 4]| {
            let deeds = [Deed::Look, Deed::Assist, Deed::Manage, Deed::Govern];
            assert_eq!(deeds.map(|deed| role.may(deed)), expected, "{role:?}");
        };
        check(Role::Owner, [true, true, true, true]);
        check(Role::Operator, [true, true, true, false]);
        check(Role::Support, [true, true, false, false]);
        check(Role::ReadOnly, [true, false, false, false]);
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.as_str()), Some(role));
        }
    }
}
