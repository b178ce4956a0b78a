//! What hyper says by itself to a request that it cannot read, with a body.
//!
//! It answers such requests before anybody here sees them: a status, `content-length: 0`, and the connection closes. Every
//! error of these APIs has a body that clients read blindly; so on its way out such an answer is exchanged for one that
//! says the same, in both APIs' words, since nobody knows for which of them the request was.

use super::problem::Problem;

/// No answer of hyper's own is longer, in bytes.
const OWN_BYTES_MAX: usize = 256;

/// What to say instead, when `bytes` are an answer of hyper's own. All of ours say `x-content-type-options`.
pub(super) fn exchanged(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(b"HTTP/1.") || bytes.len() > OWN_BYTES_MAX {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let (first, fields) = head.split_once("\r\n")?;
    let is_empty = fields.split("\r\n").any(|field| field.eq_ignore_ascii_case("content-length: 0"));
    if !is_empty || fields.to_ascii_lowercase().contains("x-content-type-options") {
        return None;
    }
    let problem = match first.split(' ').nth(1)? {
        "400" => Problem::Malformed,
        "414" => Problem::TargetTooLong,
        "431" => Problem::HeaderTooLarge,
        _ => return None,
    };
    Some(told(first, &problem))
}

fn told(first: &str, problem: &Problem) -> Vec<u8> {
    let ((_, mut body), (_, zeptomail)) = (problem.mailtura(), problem.zeptomail(""));
    for (name, value) in zeptomail.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    let body = body.to_string();
    let fields = "connection: close\r\ncontent-type: application/json\r\ncache-control: no-store\r\nx-content-type-options: nosniff";
    format!("{first}\r\n{fields}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hyper_says_gets_a_body() {
        let own = |status: &str| {
            format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: Mon, 02 Mar 2026 08:15:00 GMT\r\n\r\n"
            )
        };
        for status in ["400 Bad Request", "414 URI Too Long", "431 Request Header Fields Too Large"] {
            let told = String::from_utf8(exchanged(own(status).as_bytes()).unwrap()).unwrap();
            let (head, body) = told.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(body["message"].is_string() && body["error"]["details"][0]["message"].is_string(), "{body}");
        }
    }

    #[test]
    fn what_we_say_stays() {
        for ours in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-content-type-options: nosniff\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n{}",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "{\"message\":\"HTTP/1.1 400\"}",
            "",
        ] {
            assert_eq!(exchanged(ours.as_bytes()), None, "{ours}");
        }
    }
}
