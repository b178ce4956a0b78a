//! What hostile requests to both surfaces are made of.

use serde_json::{Value, json};

/// What would become header fields of its own, if it got into a header.
pub const INJECTIONS: [&str; 5] =
    ["x\r\nBcc: v@e.example", "x\nBcc: v@e.example", "x\rBcc: v@e.example", "x\0y", "x\r\n\r\n<script>"];

/// One of each type that a field may wrongly have.
pub fn of_every_type() -> [Value; 8] {
    [
        json!(7),
        json!(-1.5e300),
        json!(true),
        json!("\u{0}\r\nX: y"),
        json!([[[]]]),
        json!({ "": { "": null } }),
        json!([null, 7]),
        json!("x".repeat(20_000)),
    ]
}

/// What is no address to send to.
pub fn no_addresses() -> Vec<String> {
    const SHORT: [&str; 22] = [
        "",
        " ",
        "@",
        "a@",
        "@b.example",
        "a",
        "a@b",
        "a@b@c.example",
        "a b@example.com",
        "a@exa mple.com",
        "a@[127.0.0.1]",
        "a@127.0.0.1",
        "a@.example",
        "a@example..com",
        "a@-x.example",
        "a,b@example.com",
        "a@example.com,b@example.com",
        "Ann <a@example.com",
        "a@example.com>",
        "(c)a@example.com",
        "a\u{202e}b@example.com",
        "\"a\r\n\"@example.com",
    ];
    let long = format!("{}@example.com", "a".repeat(65));
    SHORT.into_iter().map(str::to_owned).chain([long]).collect()
}

/// Bodies that are no object of any mail.
pub fn no_bodies() -> Vec<Vec<u8>> {
    const SHORT: [&[u8]; 14] = [
        b"",
        b"null",
        b"[]",
        b"[{}]",
        b"7",
        b"\"text\"",
        b"{",
        b"{\"from\":}",
        b"{\"to\":1}{\"to\":2}",
        b"{\"subject\":\"a\",\"subject\":\"b\"}",
        b"{\"subject\":\"\xff\xfe\"}",
        b"{\"subject\":\"\\ud800\"}",
        b"\xef\xbb\xbf{}",
        b"{\"to\":NaN}",
    ];
    let deep = [format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)), "{\"a\":".repeat(20_000)];
    let many = format!("{{\"to\":[{}\"a@example.com\"]}}", "\"a@example.com\",".repeat(120_000));
    let long = deep.into_iter().chain([many]).map(String::into_bytes);
    SHORT.into_iter().map(<[u8]>::to_vec).chain(long).collect()
}
