//! The console's door, as a guesser meets it: passwords and codes are guessed a few times and then slowly, from one
//! network or from many, one by one or all at once; and no second factor takes another's place without its code.

use std::time::Duration;

use aws_lc_rs::hmac;
use postback::http::Settings;
use postback::model::secret::Secret;
use postback::model::totp;
use postback::model::user::{Invitation, Role};
use sha2::{Digest, Sha256};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{House, NOW, PATIENCE, Reply};

const PASSWORD: &str = "a horse of another colour";
const SECRET: [u8; 20] = *b"12345678901234567890";
const WRONG_PASSWORD: &str = "The address or the password is wrong.";
const WRONG_CODE: &str = "This is not the code";

/// The code of RFC 6238 that an app shows now.
fn code(house: &House) -> String {
    let step = house.clock.now().as_millis() / 30_000;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &SECRET);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 0x0f);
    let number = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

struct Person<'h> {
    house: &'h House,
    address: String,
    cookie: String,
    /// What the proxy says that they speak.
    proto: &'static str,
}

impl<'h> Person<'h> {
    fn at(house: &'h House, address: &str) -> Self {
        Self { house, address: address.into(), cookie: String::new(), proto: "http" }
    }

    /// A form, as a proxy that the house trusts hands it in.
    fn request(&self, path: &str, form: &[(&str, &str)]) -> String {
        let mut body = form_urlencoded::Serializer::new(String::new());
        let body = body.extend_pairs(form).finish();
        let Self { house, cookie, address, proto } = self;
        let house = house.address;
        format!(
            "POST /console/{path} HTTP/1.1\r\nHost: {house}\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\n\
             Cookie: {cookie}\r\nX-Forwarded-For: {address}\r\nX-Forwarded-Proto: {proto}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        Reply::read(&self.house.raw(self.request(path, form).as_bytes()).await)
    }

    fn keep_cookie(&mut self, reply: &Reply) {
        self.cookie = reply.field("set-cookie").split(';').next().unwrap().to_owned();
    }

    /// Gives address and password; what is answered, in a word or two.
    async fn sign_in(&mut self, password: &str) -> String {
        let reply = self.post("sign-in", &[("email", "ann@example.com"), ("password", password)]).await;
        self.keep_cookie(&reply);
        told(&reply)
    }

    async fn give(&mut self, code: &str) -> String {
        told(&self.post("sign-in/code", &[("code", code)]).await)
    }
}

/// Where somebody is led to, or what they are told.
fn told(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let notice =
        text.split_once("class=\"notice").and_then(|(_, rest)| Some(rest.split_once('>')?.1.split_once('<')?.0));
    notice.unwrap_or(reply.field("location")).to_owned()
}

/// A house behind a proxy, and Ann in it, who has a second factor if she wants.
async fn house(has_second_factor: bool) -> House {
    let settings = Settings { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..Settings::default() };
    let house = House::with(settings, |_| {}).await;
    let (digest, expires_at) = (Sha256::digest("invited").into(), NOW + Duration::from_secs(60));
    house.store.invite(Invitation { digest, role: Role::Owner, tenant: None, user: None, expires_at }).await.unwrap();
    let mut ann = Person::at(&house, "198.51.100.1");
    let form = [("email", "ann@example.com"), ("name", "Ann"), ("password", PASSWORD)];
    ann.keep_cookie(&ann.post("join/invited", &form).await);
    if has_second_factor {
        add_second_factor(&mut ann).await;
    }
    house
}

async fn add_second_factor(ann: &mut Person<'_>) -> Reply {
    let (secret, code) = (totp::secret_of(SECRET), code(ann.house));
    let reply = ann.post("account/second-factor", &[("secret", secret.reveal()), ("code", &code)]).await;
    ann.house.clock.advance(Duration::from_secs(90));
    reply
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_are_guessed_slowly_from_wherever() {
    let house = house(true).await;
    let mut guesser = Person::at(&house, "192.0.2.1");
    assert_eq!(guesser.sign_in(PASSWORD).await, "/console/sign-in/code");
    for _ in 0..4 {
        assert!(guesser.give("0").await.starts_with(WRONG_CODE));
    }
    assert_eq!(guesser.give("0").await, "Too many wrong codes. Sign in again.");
    assert_eq!(guesser.give(&code(&house)).await, "/console/sign-in", "the session has ended");
    // From elsewhere it is the same person whose code is guessed.
    for (wait, address) in [(1, "192.0.3.1"), (2, "2001:db8::1"), (4, "198.51.100.9")] {
        let mut guesser = Person::at(&house, address);
        assert_eq!(guesser.sign_in(PASSWORD).await, "/console/sign-in/code");
        let complaint = format!("Too many wrong passwords or codes. Try again in {wait} second");
        assert!(guesser.give(&code(&house)).await.starts_with(&complaint), "{address}");
        house.clock.advance(Duration::from_secs(wait));
        assert!(guesser.give("0").await.starts_with(WRONG_CODE), "{address}");
    }
    // Nobody is locked out: after the wait the right code is right, and good once.
    house.clock.advance(Duration::from_secs(8));
    let mut ann = Person::at(&house, "198.51.100.1");
    ann.sign_in(PASSWORD).await;
    assert_eq!(ann.give(&code(&house)).await, "/console/");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_guesses_at_one_time_are_no_more_than_one_by_one() {
    let house = house(true).await;
    let mut guesses = Vec::new();
    for host in 0..12 {
        let mut guesser = Person::at(&house, &format!("192.0.{host}.1"));
        guesser.sign_in(PASSWORD).await;
        guesses.push(guesser.request("sign-in/code", &[("code", "0")]));
    }
    let mut streams = Vec::new();
    for guess in guesses {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(guess.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let mut looked_at = 0;
    for mut stream in streams {
        let mut heard = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("an answer in time").unwrap();
        looked_at += usize::from(told(&Reply::read(&heard)).starts_with(WRONG_CODE));
    }
    assert_eq!(looked_at, 5);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_guessed_slowly_and_its_owner_waits_a_minute_at_most() {
    let house = house(false).await;
    for network in 0..5 {
        let mut guesser = Person::at(&house, &format!("192.0.{network}.1"));
        assert_eq!(guesser.sign_in("wrong").await, WRONG_PASSWORD);
    }
    let mut ann = Person::at(&house, "198.51.100.1");
    assert!(ann.sign_in(PASSWORD).await.starts_with("Too many wrong"));
    for network in 5..8 {
        house.clock.advance(Duration::from_secs(60));
        let mut guesser = Person::at(&house, &format!("192.0.{network}.1"));
        assert_eq!(guesser.sign_in("wrong").await, WRONG_PASSWORD);
    }
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(ann.sign_in(PASSWORD).await, "/console/");
    // Her old password is guessed no faster by whoever finds her browser.
    let form = [("old", "wrong"), ("new", "another horse of this colour")];
    assert_eq!(told(&ann.post("account/password", &form).await), "The old password is wrong.");
    assert!(told(&ann.post("account/password", &form).await).starts_with("Too many wrong"));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_link_that_is_used_is_noted_and_ends_the_others() {
    let house = house(false).await;
    let ann = house.store.user("ann@example.com").await.unwrap().unwrap();
    for secret in ["first", "second"] {
        let (digest, expires_at) = (Sha256::digest(secret).into(), NOW + Duration::from_secs(60));
        let invitation = Invitation { digest, role: ann.role, tenant: None, user: Some(ann.id), expires_at };
        house.store.invite(invitation).await.unwrap();
    }
    let mut browser = Person::at(&house, "198.51.100.7");
    let form = [("password", "another horse of this colour")];
    assert_eq!(told(&browser.post("join/first", &form).await), "The password is set. Sign in with it.");
    let log = house.store.audit_log(None, None, 10).await.unwrap();
    let (_, noted) = log.iter().find(|(_, entry)| entry.action == "used password link").unwrap();
    assert_eq!((noted.actor.as_str(), noted.address.as_str()), ("ann@example.com", "198.51.100.7"));
    assert_eq!(browser.post("join/second", &form).await.status, 404);
    assert_eq!(browser.sign_in("another horse of this colour").await, "/console/");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_factor_is_not_replaced_without_its_code() {
    let house = house(false).await;
    let mut ann = Person::at(&house, "198.51.100.1");
    assert_eq!(ann.sign_in(PASSWORD).await, "/console/");
    let offer = ann.post("account/second-factor", &[]).await;
    assert!(String::from_utf8_lossy(&offer.body).contains("name=\"secret\""));
    assert!(told(&add_second_factor(&mut ann).await).starts_with("From now on"));
    let before = house.store.user("ann@example.com").await.unwrap().unwrap().second_factor;
    assert_eq!(
        before.as_ref().map(|factor| factor.secret.clone()),
        Some(Secret::new(totp::secret_of(SECRET).reveal()))
    );
    let there_is = "There is a second factor. Switch it off first, with its code.";
    assert_eq!(told(&ann.post("account/second-factor", &[]).await), there_is);
    assert_eq!(told(&add_second_factor(&mut ann).await), there_is);
    assert_eq!(house.store.user("ann@example.com").await.unwrap().unwrap().second_factor, before);
    let code = code(&house);
    assert_eq!(told(&ann.post("account/second-factor/remove", &[("code", &code)]).await), "/console/account");
    assert_eq!(house.store.user("ann@example.com").await.unwrap().unwrap().second_factor, None);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_refuses_what_the_apis_refuse() {
    let house = house(false).await;
    let mut ann = Person::at(&house, "198.51.100.1");
    assert_eq!(ann.sign_in(PASSWORD).await, "/console/");
    let agent = format!("ours/agents/{}", house.ours.1.key);
    for (targets, action, expected) in [
        ("ann@example.com", "suppress_tracking", "Added 1."),
        ("example.com", "reject", "Added 1."),
        ("example.com", "suppress_tracking", "example.com is a domain: its mail is stopped, or left alone."),
    ] {
        let form = [("targets", targets), ("action", action)];
        assert_eq!(told(&ann.post(&format!("{agent}/suppressions"), &form).await), expected);
    }
    let form = |name| [("name", name), ("subject", "s"), ("text", "t")];
    assert_eq!(told(&ann.post(&format!("{agent}/templates"), &form("news")).await), "Saved as version 1.");
    let refused = told(&ann.post(&format!("{agent}/templates"), &form("new")).await);
    assert!(refused.starts_with("A name must be up to 100 letters"), "{refused}");
    let put = house.ask("PUT", "/console/ours/", &[], b"").await;
    assert_eq!((put.status, put.field("allow")), (405, "GET, HEAD, POST"));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_and_warnings_are_as_the_way_is() {
    let house = house(false).await;
    for (proto, address, name, is_secure, is_exposed) in [
        ("https", "198.51.100.1", "__Host-postback=", true, false),
        ("http", "198.51.100.1", "postback=", false, true),
        ("http", "127.0.0.1", "postback=", false, false),
    ] {
        let mut ann = Person { proto, ..Person::at(&house, address) };
        let wrong = ann.post("sign-in", &[("email", "ann@example.com"), ("password", "no")]).await;
        let is_told = |reply: &Reply| String::from_utf8_lossy(&reply.body).contains("Others can read this.");
        assert_eq!(is_told(&wrong), is_exposed, "{proto} {address}");
        let right = [("email", "ann@example.com"), ("password", PASSWORD)];
        let cookie = ann.post("sign-in", &right).await.field("set-cookie").to_owned();
        let check = |cookie: &str| {
            let flags = cookie.starts_with(name) && cookie.contains("; Path=/; HttpOnly; SameSite=Lax; Max-Age=");
            assert!(flags && cookie.ends_with("; Secure") == is_secure && !cookie.contains("Domain"), "{cookie}");
        };
        check(&cookie);
        ann.cookie = cookie.split(';').next().unwrap().to_owned();
        let page = ann.post("account/password", &[("old", "no"), ("new", "no")]).await;
        assert_eq!(told(&page), "The old password is wrong.", "{proto} {address}");
        assert_eq!(is_told(&page), is_exposed, "{proto} {address}");
        // A cookie that came in the clear is none over TLS, nor the other way round.
        let other = Person { proto: if is_secure { "http" } else { "https" }, cookie: ann.cookie.clone(), ..ann };
        assert_eq!(told(&other.post("account/password", &right).await), "/console/sign-in");
        let gone = Person { proto, ..other }.post("sign-out", &[("x", "")]).await.field("set-cookie").to_owned();
        check(&gone);
        assert!(gone.contains("=; Path=/;") && gone.contains("Max-Age=0"), "{gone}");
        // What was guessed wrong is forgotten.
        house.clock.advance(Duration::from_secs(3600));
    }
}
