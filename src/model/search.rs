//! What a message is found by: the words of its subject, its tags, and its recipients.
//!
//! A term is a number: a hash of the tenant and the word, so that one column finds whatever people search by, and one
//! tenant's words lead to nothing of another's. Letters are folded; scripts without blanks are cut into pairs.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::delivery::State;
use super::id::{AgentId, TenantId};
use super::message::Message;
use super::time::Timestamp;

/// Words of a subject that are looked at.
const WORDS_MAX: usize = 32;
/// Characters of a word that count.
const WORD_CHARS_MAX: usize = 40;
/// Words that one search may have.
pub const TERMS_MAX: usize = 5;

/// A word of a tenant's messages, as the store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub i64);

/// What a person looks for: messages that pass every line.
#[derive(Clone, Debug)]
pub struct Search {
    /// Whose.
    pub tenant: TenantId,
    /// Of one mail agent.
    pub agent: Option<AgentId>,
    /// With all of these, at most [`TERMS_MAX`].
    pub terms: Vec<Term>,
    /// With a delivery in this state.
    pub state: Option<State>,
    /// Accepted at or after.
    pub from: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
}

impl Search {
    /// Everything of a tenant.
    pub fn all_of(tenant: TenantId) -> Self {
        Self { tenant, agent: None, terms: Vec::new(), state: None, from: None, until: None }
    }

    /// Adds what a person typed: an address, `name@` or `@domain`, `tag:word`, or words of the subject.
    pub fn add(&mut self, typed: &str) {
        for text in typed.split_whitespace() {
            if let Some(tag) = text.strip_prefix("tag:").filter(|tag| !tag.is_empty()) {
                self.terms.push(tag_term(self.tenant, tag));
            } else if text.contains('@') {
                self.terms.push(term(self.tenant, 'r', &text.trim_matches(['<', '>', ',', ';']).to_lowercase()));
            } else {
                self.terms.extend(words(text).iter().map(|word| term(self.tenant, 'w', word)));
            }
        }
        let mut seen = BTreeSet::new();
        self.terms.retain(|term| seen.insert(*term));
        self.terms.truncate(TERMS_MAX);
    }

    /// The messages whose `Message-ID` is this, with or without its angle brackets.
    pub fn named(tenant: TenantId, message_id: &str) -> Self {
        Self { terms: vec![term(tenant, 'm', &bare(message_id))], ..Self::all_of(tenant) }
    }

    /// What a message to this address is found by among those of a tenant.
    pub fn recipient(tenant: TenantId, address: &str) -> Term {
        term(tenant, 'r', &address.to_lowercase())
    }

    /// Only what stayed in the sandbox.
    pub fn sandboxed(&mut self) {
        self.terms.truncate(TERMS_MAX - 1);
        self.terms.push(sandbox_term(self.tenant));
    }

    /// Adds a tag.
    pub fn tagged(&mut self, tag: &str) {
        self.terms.push(tag_term(self.tenant, tag));
        self.terms.truncate(TERMS_MAX);
    }
}

/// All terms of a message that goes to these addresses.
pub fn terms<'a>(message: &Message, addresses: impl IntoIterator<Item = &'a str>) -> BTreeSet<Term> {
    let tenant = message.tenant;
    let mut terms: BTreeSet<Term> = words(&message.facts.subject).iter().map(|word| term(tenant, 'w', word)).collect();
    terms.extend(message.facts.tags.iter().map(|tag| tag_term(tenant, tag)));
    if !message.facts.email_reference.is_empty() {
        terms.insert(term(tenant, 'm', &bare(&message.facts.email_reference)));
    }
    if message.facts.is_sandboxed {
        terms.insert(sandbox_term(tenant));
    }
    for address in addresses {
        let address = address.to_lowercase();
        if let Some(at) = address.rfind('@') {
            terms.insert(term(tenant, 'r', &address[..=at]));
            terms.insert(term(tenant, 'r', &address[at..]));
        }
        terms.insert(term(tenant, 'r', &address));
    }
    terms
}

/// A `Message-ID` without angle brackets, folded: some who quote it fold it too.
fn bare(message_id: &str) -> String {
    message_id.trim().trim_matches(['<', '>']).to_lowercase()
}

fn sandbox_term(tenant: TenantId) -> Term {
    term(tenant, 's', "")
}

fn tag_term(tenant: TenantId, tag: &str) -> Term {
    term(tenant, 't', &tag.trim().to_lowercase())
}

fn term(tenant: TenantId, kind: char, word: &str) -> Term {
    let mut hash = Sha256::new();
    hash.update(tenant.as_bytes());
    hash.update([kind as u8]);
    hash.update(word.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    Term(i64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// The words of a text, folded; scripts that set no blanks as pairs of characters.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let folded: Vec<char> = word.chars().flat_map(char::to_lowercase).take(WORD_CHARS_MAX).collect();
        if folded.iter().any(|c| is_unspaced(*c)) && folded.len() > 2 {
            words.extend(folded.windows(2).map(|pair| pair.iter().collect::<String>()));
        } else {
            words.push(folded.into_iter().collect());
        }
    }
    words.truncate(WORDS_MAX);
    words
}

/// Thai, Lao, Khmer, and everything from the radicals of Chinese characters on.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::MessageId;
    use crate::model::message::{Facts, Source};

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    fn message(subject: &str, tags: &[&str]) -> Message {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        Message {
            id: MessageId::from_bytes([2; 16]),
            tenant: TENANT,
            agent: AgentId::from_bytes([3; 16]),
            agent_key: String::new(),
            source: Source::Http,
            accepted_at: Timestamp::from_millis(0),
            facts: Facts { subject: subject.into(), tags, ..Facts::default() },
            size_bytes: 0,
        }
    }

    #[test]
    fn what_finds_a_message() {
        let own = terms(&message("Ihre Bestellung №1001: \u{dc}bersicht", &["Order Mail", "vip"]), ["Bob@Example.com"]);
        let check = |typed: &str, expected: bool| {
            let mut search = Search::all_of(TENANT);
            search.add(typed);
            assert_eq!(
                !search.terms.is_empty() && search.terms.iter().all(|term| own.contains(term)),
                expected,
                "{typed}"
            );
        };
        for typed in [
            "bestellung",
            "BESTELLUNG 1001",
            "\u{fc}bersicht",
            "bob@example.com",
            "<bob@example.COM>",
            "bob@",
            "@example.com",
        ] {
            check(typed, true);
        }
        for typed in
            ["", "bestell", "1002", "bob", "ob@example.com", "tag:order", "vip", "bestellung carol@example.com"]
        {
            check(typed, false);
        }
        check("tag:VIP", true);
        let mut tagged = Search::all_of(TENANT);
        tagged.tagged("order mail");
        assert!(own.contains(&tagged.terms[0]));
    }

    #[test]
    fn by_its_message_id() {
        let mut message = message("", &[]);
        message.facts.email_reference = "Abc.1@shop.example".into();
        let own = terms(&message, []);
        assert!(own.contains(&Search::named(TENANT, "<abc.1@shop.example>").terms[0]));
        assert!(!own.contains(&Search::named(TENANT, "abc.2@shop.example").terms[0]));
    }

    #[test]
    fn scripts_without_blanks() {
        let own = terms(&message("ご注文の確認", &[]), []);
        let mut search = Search::all_of(TENANT);
        search.add("注文の");
        assert!(search.terms.iter().all(|term| own.contains(term)));
    }

    #[test]
    fn tenants_share_no_terms_and_searches_have_a_bound() {
        let mut other = Search::all_of(TenantId::from_bytes([9; 16]));
        other.add("hello");
        assert!(!terms(&message("hello", &[]), []).contains(&other.terms[0]));
        other.add("a b c d e f g h i");
        assert_eq!(other.terms.len(), TERMS_MAX);
    }
}
