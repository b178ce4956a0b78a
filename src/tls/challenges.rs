//! Answers that a certificate authority looks for to see that a name is ours (RFC 8555 §8.3, `http-01`): put here by
//! whoever orders a certificate, given out by the HTTP doors. In memory, and only as long as an order lasts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Where answers are looked for, before the token.
pub const PATH: &str = "/.well-known/acme-challenge/";

/// Answers by token. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<Mutex<HashMap<String, String>>>);

impl Challenges {
    /// What to answer at a path; `None` for a path of another kind, or where nothing is expected.
    pub fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// From now on, this is the answer for this token.
    pub fn expect(&self, token: &str, answer: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), answer.to_owned());
    }

    /// Nothing is expected any more.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
