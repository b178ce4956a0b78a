//! Keys in ZeptoMail's shape: `<agent>.<kind>.<uuid>.<hex ms>`, where an agent's own key is `2d6f.<16 hex>`. What a key
//! names is in its uuid; the rest is there because clients expect it.

use uuid::Uuid;

use super::id::MessageId;
use super::time::Timestamp;

/// A mail, and the request that brought it.
pub const MAIL: &str = "m1";
/// A request to fill in a template, or to send each recipient a mail of its own; and the mails that came of it.
pub const TEMPLATED: &str = "t1";
/// A file of the cache.
pub const FILE: &str = "h1";
/// A template.
pub const TEMPLATE: &str = "k1";

/// What every key begins with.
const FIRST: &str = "2d6f.";

/// A mail agent's key.
pub fn of_agent(drawn: u64) -> String {
    format!("{FIRST}{drawn:016x}")
}

/// The key of what has this id, and belongs to the mail agent with that key. Agents of old have keys without a beginning.
pub fn key(agent: &str, kind: &str, id: Uuid, made_at: Timestamp) -> String {
    let first = if agent.starts_with(FIRST) { "" } else { FIRST };
    format!("{first}{agent}.{kind}.{id}.{:x}", made_at.as_millis())
}

/// The id in a key of one of these kinds, or in our own spelling of it: `prefix` and 32 digits.
pub fn uuid_of(text: &str, kinds: &[&str], prefix: &str) -> Option<Uuid> {
    if let Some(digits) = text.strip_prefix(prefix).filter(|digits| digits.len() == 32) {
        return Uuid::try_parse(digits).ok();
    }
    let mut parts = text.rsplit('.').skip(1);
    let (uuid, kind) = (parts.next()?, parts.next()?);
    Uuid::try_parse(uuid).ok().filter(|_| kinds.contains(&kind) && parts.next().is_some())
}

/// The mail that a key names: that of the mail itself, of its request, or what stands before the `@` of its reference.
/// References of old are 32 digits alone.
pub fn message_in(text: &str) -> Option<MessageId> {
    let own = uuid_of(text, &[MAIL, TEMPLATED], MessageId::PREFIX).map(MessageId::from_uuid);
    own.or_else(|| format!("{}{text}", MessageId::PREFIX).parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_what_they_are_of() {
        let id = Uuid::from_u128(7);
        let agent = of_agent(0x51c0_b7a9_4e2f_6d18);
        assert_eq!(agent, "2d6f.51c0b7a94e2f6d18");
        let key = key(&agent, FILE, id, Timestamp::from_millis(255));
        assert_eq!(key, "2d6f.51c0b7a94e2f6d18.h1.00000000-0000-0000-0000-000000000007.ff");
        assert_eq!(uuid_of(&key, &[FILE], "file_"), Some(id));
        assert_eq!(uuid_of(&key, &[TEMPLATE, FILE], "file_"), Some(id));
        assert_eq!(uuid_of(&format!("file_{}", id.simple()), &[FILE], "file_"), Some(id));
        for text in ["", "a.b.c", "2d6f.0.h1.x.ff", "h1.00000000-0000-0000-0000-000000000007.ff", "file_7", "welcome"] {
            assert_eq!(uuid_of(text, &[FILE], "file_"), None, "{text}");
        }
        assert_eq!(uuid_of(&key, &[TEMPLATE], "tpl_"), None);
        assert_eq!(message_in(&key), None);
        let old = super::key("51c0b7a94e2f6d18", MAIL, id, Timestamp::from_millis(255));
        assert_eq!(old, "2d6f.51c0b7a94e2f6d18.m1.00000000-0000-0000-0000-000000000007.ff");
        let message = Some(MessageId::from_uuid(id));
        let batch = old.replace("m1", "t1");
        for text in [&old, &batch, &id.simple().to_string(), &format!("msg_{}", id.simple())] {
            assert_eq!(message_in(text), message, "{text}");
        }
    }
}
