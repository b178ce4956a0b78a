//! Keys in ZeptoMail's shape: `<agent>.<16 hex>.<kind>.<uuid>.<hex ms>`. Ours say in the uuid what they name; the rest is
//! there because clients expect it.

use uuid::Uuid;

use super::time::Timestamp;

/// A mail's request.
pub const REQUEST: &str = "m1";
/// A file of the cache.
pub const FILE: &str = "h1";
/// A template.
pub const TEMPLATE: &str = "k1";

/// The key of what has this id.
pub fn key(kind: &str, id: Uuid, made_at: Timestamp) -> String {
    let (high, low) = id.as_u64_pair();
    format!("2d6f.{:016x}.{kind}.{id}.{:x}", high ^ low, made_at.as_millis())
}

/// The id in such a key, or in our own spelling of it: `prefix` and 32 digits.
pub fn uuid_of(text: &str, kind: &str, prefix: &str) -> Option<Uuid> {
    if let Some(digits) = text.strip_prefix(prefix).filter(|digits| digits.len() == 32) {
        return Uuid::try_parse(digits).ok();
    }
    let mut parts = text.split('.').skip(2);
    let uuid = parts.next().filter(|own| *own == kind).and(parts.next())?;
    Uuid::try_parse(uuid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_what_they_are_of() {
        let id = Uuid::from_u128(7);
        let key = key(FILE, id, Timestamp::from_millis(255));
        assert_eq!(key, "2d6f.0000000000000007.h1.00000000-0000-0000-0000-000000000007.ff");
        assert_eq!(uuid_of(&key, FILE, "file_"), Some(id));
        assert_eq!(uuid_of(&format!("file_{}", id.simple()), FILE, "file_"), Some(id));
        for text in ["", "a.b.c", "2d6f.0.h1.x.ff", "file_7", "welcome"] {
            assert_eq!(uuid_of(text, FILE, "file_"), None, "{text}");
        }
        assert_eq!(uuid_of(&key, TEMPLATE, "tpl_"), None);
    }
}
