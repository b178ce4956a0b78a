//! What tracking makes of a mail, as the API tells it: before it is sent, and after.

use serde_json::Value;

use super::exchange::text;
use super::page;

/// Links that are listed, of either kind.
const LINKS_MAX: usize = 30;
/// Bytes of a link, and of where the pixel stands.
const LINK_BYTES_MAX: usize = 200;
const PLACE_BYTES_MAX: usize = 2_000;
/// Parts that are listed.
const PARTS_MAX: usize = 20;
/// Bytes of HTML before the pixel, to see where it stands.
const BEFORE_BYTES: usize = 100;

/// A link that was rewritten.
pub(super) struct Link {
    pub(super) original: String,
    pub(super) target: String,
    pub(super) tracked: String,
}

/// A part of the mail, and why it stayed as it was.
pub(super) struct Part {
    pub(super) path: String,
    pub(super) content_type: String,
    pub(super) untouched: String,
}

/// What was changed, what was not, and why.
#[derive(Default)]
pub(super) struct TrackedView {
    pub(super) pixel: String,
    /// The pixel where it stands, with what is before it.
    pub(super) place: String,
    pub(super) links: Vec<Link>,
    pub(super) more: usize,
    /// Links that stayed as they were, and why.
    pub(super) left: Vec<(String, String)>,
    pub(super) more_left: usize,
    pub(super) parts: Vec<Part>,
    /// Why nothing was even tried.
    pub(super) untouched: String,
}

fn cut(value: &Value, path: &str) -> String {
    page::cut(&text(value, path), LINK_BYTES_MAX)
}

impl TrackedView {
    /// What the API tells of a copy.
    pub(super) fn of(copy: &Value) -> Self {
        let list = |path: &str| copy.pointer(path).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let link = |link: &Value| Link {
            original: cut(link, "/original"),
            target: cut(link, "/target"),
            tracked: cut(link, "/tracked"),
        };
        let part = |part: &Value| Part {
            path: text(part, "/path"),
            content_type: cut(part, "/contentType"),
            untouched: text(part, "/untouched"),
        };
        let (links, left) = (list("/links"), list("/left"));
        Self {
            pixel: text(copy, "/pixel"),
            place: String::new(),
            links: links.iter().take(LINKS_MAX).map(link).collect(),
            more: links.len().saturating_sub(LINKS_MAX),
            left: left.iter().take(LINKS_MAX).map(|left| (cut(left, "/original"), text(left, "/reason"))).collect(),
            more_left: left.len().saturating_sub(LINKS_MAX),
            parts: list("/parts").iter().take(PARTS_MAX).map(part).collect(),
            untouched: text(copy, "/untouched"),
        }
    }

    /// The same, with the pixel shown where it stands in the HTML that became of it.
    pub(super) fn within(self, html: &str) -> Self {
        let at = Some(self.pixel.as_str()).filter(|pixel| !pixel.is_empty()).and_then(|pixel| html.find(pixel));
        let place = at.and_then(|at| {
            let tag = html.get(..at)?.rfind('<')?;
            let from = html.floor_char_boundary(tag.saturating_sub(BEFORE_BYTES));
            let end = at + html.get(at..)?.find('>')? + 1;
            html.get(from..end).map(|shown| if from > 0 { format!("…{shown}") } else { shown.to_owned() })
        });
        Self { place: page::cut(&place.unwrap_or_default(), PLACE_BYTES_MAX), ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn where_the_pixel_stands() {
        let check = |html: &str, expected: &str| {
            let view = TrackedView::of(&json!({ "pixel": "https://t.example/o/x" })).within(html);
            assert_eq!(view.place, expected, "{html}");
        };
        check(
            "<p>a</p><img src=\"https://t.example/o/x\" alt=\"\"></body>",
            "<p>a</p><img src=\"https://t.example/o/x\" alt=\"\">",
        );
        let long = format!("{}<img src=https://t.example/o/x>", "ñ".repeat(60));
        check(&long, &format!("…{}<img src=https://t.example/o/x>", "ñ".repeat(50)));
        check("<p>none</p>", "");
        check("https://t.example/o/x", "");
    }
}
