//! AUTH PLAIN (RFC 4616) and AUTH LOGIN: from challenges and responses to a name and a secret (RFC 4954 §4).
//!
//! Pure. Whether the two are good is `intake`'s to say; who may try, and how often, is `session`'s.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::model::secret::Secret;

use super::command::Mechanism;

/// What the client has to answer next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// All of PLAIN.
    Plain,
    /// The name of LOGIN.
    LoginName,
    /// The secret of LOGIN.
    LoginSecret {
        /// The name given before.
        username: String,
    },
}

/// Where a response leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The server asks on.
    Challenge(Exchange),
    /// The client has said who it is.
    Credentials {
        /// The name.
        username: String,
        /// The proof.
        secret: Secret,
    },
}

/// Why a response leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFault {
    /// The client sent `*`.
    Cancelled,
    /// Not base64.
    NotBase64,
    /// Not the fields that the mechanism wants.
    Malformed,
    /// The client wants to act for somebody else, or gave nothing at all; answered as a wrong password.
    Refused,
}

impl Exchange {
    /// The text of the `334`, in base64.
    pub fn challenge(&self) -> &'static str {
        match self {
            Exchange::Plain => "",
            Exchange::LoginName => "VXNlcm5hbWU6",
            Exchange::LoginSecret { .. } => "UGFzc3dvcmQ6",
        }
    }

    /// Takes the client's response.
    ///
    /// # Errors
    /// Any [`AuthFault`]; the exchange is over.
    pub fn answer(self, line: &[u8]) -> Result<Progress, AuthFault> {
        if line == b"*" {
            return Err(AuthFault::Cancelled);
        }
        self.take(STANDARD.decode(line).map_err(|_| AuthFault::NotBase64)?)
    }

    fn take(self, response: Vec<u8>) -> Result<Progress, AuthFault> {
        let text = String::from_utf8(response).map_err(|_| AuthFault::Malformed)?;
        match self {
            Exchange::Plain => plain(&text),
            Exchange::LoginName => Ok(Progress::Challenge(Exchange::LoginSecret { username: text })),
            Exchange::LoginSecret { username } => Ok(Progress::Credentials { username, secret: Secret::new(text) }),
        }
    }
}

/// Begins with the `AUTH` command and the response that may have come with it; `=` is an empty one.
///
/// # Errors
/// Any [`AuthFault`] of that response.
pub fn begin(mechanism: Mechanism, initial: Option<&str>) -> Result<Progress, AuthFault> {
    let exchange = match mechanism {
        Mechanism::Plain => Exchange::Plain,
        Mechanism::Login => Exchange::LoginName,
    };
    match initial {
        None => Ok(Progress::Challenge(exchange)),
        Some("=") => exchange.take(Vec::new()),
        Some(initial) => exchange.answer(initial.as_bytes()),
    }
}

fn plain(text: &str) -> Result<Progress, AuthFault> {
    if text.is_empty() {
        return Err(AuthFault::Refused);
    }
    let mut fields = text.split('\0');
    let (Some(acts_for), Some(username), Some(secret), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(AuthFault::Malformed);
    };
    if !acts_for.is_empty() && acts_for != username {
        return Err(AuthFault::Refused);
    }
    Ok(Progress::Credentials { username: username.to_owned(), secret: Secret::new(secret) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(username: &str, secret: &str) -> Result<Progress, AuthFault> {
        Ok(Progress::Credentials { username: username.to_owned(), secret: Secret::new(secret) })
    }

    #[test]
    fn plain() {
        let check = |fields: &str, expected| {
            let encoded = STANDARD.encode(fields);
            assert_eq!(begin(Mechanism::Plain, Some(&encoded)), expected, "{fields:?}");
            assert_eq!(Exchange::Plain.answer(encoded.as_bytes()), expected, "{fields:?}");
        };
        check("\0user\0key", credentials("user", "key"));
        check("user\0user\0key", credentials("user", "key"));
        check("\0user\0", credentials("user", ""));
        check("other\0user\0key", Err(AuthFault::Refused));
        check("user\0key", Err(AuthFault::Malformed));
        check("\0user\0key\0", Err(AuthFault::Malformed));
        assert_eq!(begin(Mechanism::Plain, None), Ok(Progress::Challenge(Exchange::Plain)));
        assert_eq!(begin(Mechanism::Plain, Some("=")), Err(AuthFault::Refused));
    }

    #[test]
    fn login() {
        let secret = Exchange::LoginSecret { username: "user".into() };
        assert_eq!(begin(Mechanism::Login, None), Ok(Progress::Challenge(Exchange::LoginName)));
        assert_eq!(begin(Mechanism::Login, Some("dXNlcg==")), Ok(Progress::Challenge(secret.clone())));
        assert_eq!(Exchange::LoginName.answer(b"dXNlcg=="), Ok(Progress::Challenge(secret.clone())));
        assert_eq!(secret.answer(b"a2V5"), credentials("user", "key"));
        assert_eq!(STANDARD.decode(Exchange::LoginName.challenge()).unwrap(), b"Username:");
    }

    #[test]
    fn responses_that_are_none() {
        assert_eq!(Exchange::Plain.answer(b"*"), Err(AuthFault::Cancelled));
        assert_eq!(Exchange::Plain.answer(b"not base64!"), Err(AuthFault::NotBase64));
        assert_eq!(Exchange::LoginName.answer(b"/w=="), Err(AuthFault::Malformed));
    }
}
