//! What is sent, at either door: the same HTML of about 5 KB with ten links.

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

/// As a client of SMTP sends it, to its final dot.
pub fn mail() -> Vec<u8> {
    let head = "From: Load <a@load.example>\r\nTo: reader@reader.example\r\nSubject: Your order\r\nMIME-Version: 1.0\r\n\
                Content-Type: text/html; charset=utf-8\r\n\r\n";
    format!("{head}{}.\r\n", html()).into_bytes()
}

/// As a client of Mailtura's API sends it, to so many readers one after the other.
pub struct Body(String, String);

impl Body {
    pub fn new() -> Self {
        let body = json!({"from": "Load <a@load.example>", "to": "@", "subject": "Your order", "html": html()});
        let body = body.to_string();
        let (head, tail) = body.split_once("\"@\"").unwrap();
        Self(format!("{head}\"r"), format!("@reader.example\"{tail}"))
    }

    pub fn to(&self, number: usize) -> Bytes {
        format!("{}{number}{}", self.0, self.1).into()
    }
}
