//! The client with what a webhook brings for TLS.

use super::*;

/// A root of the receiver's own, and the certificate that it wants to see: whoever brings others gets no further, and
/// nobody uses a connection that was made with another's.
#[tokio::test]
async fn what_a_webhook_brings_for_tls() {
    let (guest, key) = self_signed(&["postback"], false);
    let (_, strange_key) = self_signed(&["postback"], false);
    let (port, seen, ca) = tls_receiver(&["127.0.0.1"], false, Some(&guest)).await;
    let (certificate, key, strange_key) = (guest.pem(), key.serialize_pem(), strange_key.serialize_pem());
    let (url, client) = (format!("https://127.0.0.1:{port}/"), client());
    let whole = Identity { ca: &ca, certificate: &certificate, key: &key, is_anybody: false };
    let anybody = Identity { ca: "", is_anybody: true, ..whole };
    for (identity, expected) in [
        (Identity::default(), Err("tls_bad_certificate")),
        (Identity { ca: &ca, ..Identity::default() }, Err("tls_client_certificate")),
        (whole, Ok(false)),
        (whole, Ok(true)),
        (Identity { ca: &ca, ..Identity::default() }, Err("tls_client_certificate")),
        (Identity { ca: "", ..whole }, Err("tls_bad_certificate")),
        (anybody, Ok(false)),
        (Identity { ca: "", ..whole }, Err("tls_bad_certificate")),
        (Identity { ca: "x", ..whole }, Err("tls_bad_identity")),
        (Identity { key: &strange_key, ..whole }, Err("tls_bad_identity")),
    ] {
        let answer = client.post(Destination { url: &url, identity, timeout: Duration::MAX }, &request()).await;
        match expected {
            Err(word) => check_fault(&answer, word),
            Ok(is_reused) => {
                assert_eq!((&answer.post, answer.is_reused), (&Post::Arrived { status: 200 }, is_reused));
                assert!(answer.tls.starts_with("TLSv1.3 "), "{}", answer.tls);
                assert_eq!(answer.tls.ends_with(", unproved"), identity.is_anybody);
            }
        }
    }
    assert_eq!(seen.requests(), 3);
}
