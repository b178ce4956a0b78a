//! The client behind a proxy that an operator has set.

use super::*;

/// Through a proxy that is set: to a judged address, and for what is public alone.
#[tokio::test]
async fn a_proxy_leads_to_public_addresses() {
    let (port, seen) = receiver(|_, mut peer| async move {
        if peer.request().await && peer.say("HTTP/1.1 200 Connection established\r\n\r\n").await {
            while peer.request().await && peer.say(OK).await {}
        }
    })
    .await;
    let (near, _) = answering(OK).await;
    let proxied = |port: u16| {
        let (allow_http, proxy) = (true, format!("http://127.0.0.1:{port}"));
        let policy = Policy::new(&Settings { allow_http, proxy, ..Settings::default() }).unwrap();
        client_with(policy.capturing(), limits(), None)
    };
    let client = proxied(port);
    for is_reused in [false, true] {
        let answer = client.post(to("http://public.test/hook"), &request()).await;
        assert_eq!((answer.post, answer.is_reused), (Post::Arrived { status: 200 }, is_reused));
        assert_eq!(answer.peer.unwrap().to_string(), "8.8.8.8:80");
    }
    let asked = seen.requests.lock().unwrap().clone();
    assert_eq!(asked[0], "CONNECT 8.8.8.8:80 HTTP/1.1\r\nHost: 8.8.8.8:80\r\n\r\n");
    assert!(asked[1].starts_with("POST /hook HTTP/1.1\r\nhost: public.test\r\n"), "{}", asked[1]);
    assert_eq!(client.post(to(&url(near)), &request()).await.post, Post::Arrived { status: 200 });
    assert_eq!((seen.connections(), seen.requests()), (1, 3));
    let refused = client.post(to("http://10.0.0.5/"), &request()).await;
    check_fault(&refused, "egress_blocked");

    let (busy, _) = answering("HTTP/1.1 503 Not now\r\n\r\n").await;
    // A port that is taken, and where nobody listens.
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let nobody = silent.local_addr().unwrap().port();
    let (endless, _) = answering(format!("HTTP/1.1 200 {}", "x".repeat(10_000))).await;
    for port in [busy, nobody, endless] {
        check_fault(&proxied(port).post(to("http://public.test/hook"), &request()).await, "proxy_failed");
    }
}
