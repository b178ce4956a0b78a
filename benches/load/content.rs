//! What is sent, at either door: the same HTML of about 5 KB with ten links, alone or with its text.

use bytes::Bytes;
use serde_json::json;

fn html() -> String {
    let mut html = String::from("<html><body>\r\n");
    for link in 0..10 {
        html.push_str(&format!("<p><a href=\"https://shop.example/order/{link}?a=1&amp;b=2\">Item {link}</a></p>\r\n"));
        html.push_str(&format!("<p>{}</p>\r\n", "Thank you for shopping with us. ".repeat(12)));
    }
    html + "</body></html>\r\n"
}

fn text() -> String {
    let item = |link| format!("Item {link} <https://shop.example/order/{link}?a=1&b=2>\r\n");
    (0..10).map(|link| item(link) + "Thank you for shopping with us. ".repeat(12).trim_end() + "\r\n").collect()
}

const HEAD: &str =
    "From: Load <a@load.example>\r\nTo: reader@reader.example\r\nSubject: Your order\r\nMIME-Version: 1.0\r\n";

/// As a client of SMTP sends it, to its final dot.
pub fn mail() -> Vec<u8> {
    format!("{HEAD}Content-Type: text/html; charset=utf-8\r\n\r\n{}.\r\n", html()).into_bytes()
}

/// The same with its text.
pub fn mail_with_text() -> Vec<u8> {
    let (text, html) = (text(), html());
    format!(
        "{HEAD}Content-Type: multipart/alternative; boundary=\"=_1\"\r\n\r\n\
        --=_1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n\
        --=_1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n--=_1--\r\n.\r\n"
    )
    .into_bytes()
}

/// As a client of Mailtura's API sends it, to so many readers one after the other.
#[derive(Clone)]
pub struct Body(String, String);

impl Body {
    pub fn new() -> Self {
        Self::of(json!({"html": html()}))
    }

    /// The same with its text.
    pub fn with_text() -> Self {
        Self::of(json!({"html": html(), "text": text()}))
    }

    fn of(mut body: serde_json::Value) -> Self {
        for (name, value) in [("from", "Load <a@load.example>"), ("to", "@"), ("subject", "Your order")] {
            body[name] = value.into();
        }
        let body = body.to_string();
        let (head, tail) = body.split_once("\"@\"").unwrap();
        Self(format!("{head}\"r"), format!("@reader.example\"{tail}"))
    }

    pub fn to(&self, number: usize) -> Bytes {
        format!("{}{number}{}", self.0, self.1).into()
    }
}
