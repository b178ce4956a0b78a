//! A mail taken apart for people to look at: its header, its bodies, its attachments.
//!
//! Nothing here makes HTML safe: whoever shows it does so in a frame that runs nothing and loads nothing. Pictures that
//! come with the mail are put into the HTML as `data:` URLs, since the frame could not fetch them.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{MessageParser, MimeHeaders, PartType};

use super::headers;

/// Pictures larger than this stay where they are, in bytes.
const PICTURE_BYTES_MAX: usize = 1 << 20;
/// HTML that has grown to this takes no more pictures in: a mail may show one of them any number of times.
const SHOWN_BYTES_MAX: usize = 8 << 20;
/// Header fields that are shown.
const FIELDS_MAX: usize = 200;

/// A mail to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Header fields, decoded, in order.
    pub header: Vec<(String, String)>,
    /// The HTML body, its own pictures put in; `None` when there is none.
    pub html: Option<String>,
    /// The plain body; `None` when there is none.
    pub text: Option<String>,
    /// What is attached, in order.
    pub attachments: Vec<Attachment>,
}

/// Something attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its file name, or a word for it.
    pub name: String,
    /// `type/subtype`.
    pub content_type: String,
    /// Decoded.
    pub content: Vec<u8>,
}

/// What a person sees of `message`; of what is no mail, the header and nothing more.
pub fn view(message: &[u8]) -> View {
    let fields = headers::fields(message).take(FIELDS_MAX);
    let header = fields.map(shown).collect();
    let Some(parsed) = MessageParser::default().parse(message) else { return View { header, ..View::default() } };
    let has = |parts: &[u32], wanted: fn(&PartType<'_>) -> bool| {
        parts.iter().filter_map(|id| parsed.part(*id)).any(|part| wanted(&part.body))
    };
    let html = has(&parsed.html_body, |body| matches!(body, PartType::Html(_))).then(|| parsed.body_html(0));
    let text = has(&parsed.text_body, |body| matches!(body, PartType::Text(_))).then(|| parsed.body_text(0));
    let mut pictures = HashMap::new();
    let mut attachments = Vec::new();
    for part in parsed.attachments() {
        let content_type = part.content_type().map_or_else(
            || "application/octet-stream".to_owned(),
            |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_ascii_lowercase(),
        );
        let content = part.contents();
        if let Some(id) = part.content_id().filter(|_| is_picture(&content_type) && content.len() <= PICTURE_BYTES_MAX)
        {
            let id = id.trim_matches(['<', '>']).to_owned();
            pictures.insert(id, format!("data:{content_type};base64,{}", STANDARD.encode(content)));
        }
        let name = part.attachment_name().unwrap_or("attachment").to_owned();
        attachments.push(Attachment { name, content_type, content: content.to_vec() });
    }
    let html = html.flatten().map(|html| with_pictures(&html, &pictures));
    View { header, html, text: text.flatten().map(std::borrow::Cow::into_owned), attachments }
}

fn shown(field: headers::Field<'_>) -> (String, String) {
    (String::from_utf8_lossy(field.name).into_owned(), field.decoded().trim().to_owned())
}

fn is_picture(content_type: &str) -> bool {
    matches!(content_type, "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "image/bmp")
}

/// `cid:` URLs of the mail's own pictures become those pictures.
fn with_pictures(html: &str, pictures: &HashMap<String, String>) -> String {
    let mut shown = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = memchr::memmem::find(rest.as_bytes(), b"cid:") {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let id = &from[4..];
        let end = id.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '>' | ')')).unwrap_or(id.len());
        let (id, after) = id.split_at(end);
        match pictures.get(id).filter(|picture| shown.len() + picture.len() <= SHOWN_BYTES_MAX) {
            Some(picture) => shown.push_str(picture),
            None => shown.push_str(&from[..4 + end]),
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_with_a_picture_and_a_file() {
        let mail = concat!(
            "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n",
            "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n",
            "--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p><img src=\"cid:one@x\"><img src=cid:two></p>\r\n",
            "--b\r\nContent-Type: image/png\r\nContent-ID: <one@x>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n",
            "--b\r\nContent-Type: text/csv; name=a.csv\r\nContent-Disposition: attachment; filename=a.csv\r\n\r\n1,2\r\n",
            "--b--\r\n",
        );
        let seen = view(mail.as_bytes());
        assert_eq!(seen.header[0], ("Subject".to_owned(), "Grüße".to_owned()));
        assert_eq!(
            seen.html.as_deref().map(str::trim_end),
            Some("<p><img src=\"data:image/png;base64,AAAA\"><img src=cid:two></p>")
        );
        assert_eq!(seen.text, None);
        let named: Vec<_> = seen.attachments.iter().map(|file| (file.name.as_str(), file.content.len())).collect();
        assert_eq!(named, [("attachment", 3), ("a.csv", 3)]);
    }

    #[test]
    fn a_picture_that_is_shown_very_often() {
        let pictures = HashMap::from([("a".to_owned(), "x".repeat(PICTURE_BYTES_MAX))]);
        let shown = with_pictures(&"cid:a ".repeat(1_000), &pictures);
        assert!(shown.len() < SHOWN_BYTES_MAX + 6_000 && shown.ends_with("cid:a "));
    }

    #[test]
    fn plain_text_and_nothing() {
        let seen = view(b"Subject: x\r\n\r\nHello\r\n");
        assert_eq!((seen.html, seen.text.as_deref().map(str::trim_end)), (None, Some("Hello")));
        assert_eq!(view(b""), View::default());
    }
}
