//! What rewriting would do to a message, for people and scripts: `inspect rewrite` and the console's preview.
//!
//! Tokens are sealed with a key that everybody knows, for a host that nobody tracks with, so that the output is the
//! same on every machine and opens nowhere.

use serde_json::{Value, json};

use super::rewrite::{LinkKind, Links, Rewritten, Wanted};
use crate::model::id::{DeliveryId, MessageId};
use crate::model::token::{Key, KeyRing, Reference, Sealer};

const HOST: &str = "t.example.com";
const BASE_URL: &str = "https://t.example.com";
const DELIVERY: DeliveryId = DeliveryId { message: MessageId::from_bytes([0; 16]), recipient: 0 };

/// What a demonstration tracks: opens, and clicks in HTML.
pub const WANTED: Wanted<'static> = Wanted {
    opens: true,
    pixel_on_top: false,
    hidden_link: false,
    clicks: true,
    clicks_auto: false,
    text_clicks: false,
    own_base_url: BASE_URL,
    skip_hosts: &[],
};

/// Seals with the fixed key.
#[derive(Clone)]
pub struct Demonstration {
    sealer: Option<Sealer>,
}

impl Default for Demonstration {
    fn default() -> Self {
        let ring = KeyRing::new(vec![Key { id: 0, secret: [0; 32] }]);
        Self { sealer: Sealer::new(&ring, 0, HOST) }
    }
}

impl Demonstration {
    fn url(&self, folder: &str, reference: &Reference) -> Option<String> {
        let token = self.sealer.as_ref()?.seal(DELIVERY, reference);
        Some(format!("{BASE_URL}/{folder}/{token}"))
    }
}

impl Links for Demonstration {
    fn pixel(&mut self) -> Option<String> {
        self.url("o", &Reference::Open)
    }

    fn link(&mut self, link: u16, kind: LinkKind, target: &str) -> Option<String> {
        let target = target.to_owned();
        let reference = match kind {
            LinkKind::Html => Reference::Click { link, target },
            LinkKind::Text => Reference::TextClick { link, target },
        };
        self.url("c", &reference)
    }
}

/// One line of `inspect rewrite --jsonl`.
pub fn inspect_line(file: &str, rewritten: &Rewritten<'_>) -> Value {
    let part = |part: &super::rewrite::PartReport| {
        json!({
            "path": part.path,
            "content_type": part.content_type,
            "action": if part.untouched.is_some() { "untouched" } else { "rewritten" },
            "reason": part.untouched,
        })
    };
    let link = |link: &super::rewrite::LinkReport| json!({ "original": link.original, "target": link.target, "tracked": link.tracked });
    let left = |left: &super::rewrite::LeftLink| json!({ "original": left.original, "reason": left.why.to_string() });
    json!({
        "file": file,
        "parts": rewritten.parts.iter().map(part).collect::<Vec<_>>(),
        "links": rewritten.links.iter().map(link).collect::<Vec<_>>(),
        "left": rewritten.left.iter().map(left).collect::<Vec<_>>(),
        "pixel": rewritten.pixel,
    })
}
