//! Who is signed in: the cookie, the password, the way in and out.
//!
//! The cookie holds 256 random bits, the store their SHA-256. A session ends after 12 hours without a request and 7 days
//! in any case. Passwords are Argon2id; hashing runs two at a time on threads of its own, so that sign-ins cannot starve
//! mail, and an unknown address costs as much time as a known one. Whoever has a second factor gets a session that opens
//! nothing until its code is right, which is then another session; after five wrong codes it ends. How often passwords and
//! codes may be guessed, `guesses` says.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use askama::Template;
use hyper::Request;
use hyper::header::{COOKIE, HeaderValue, SET_COOKIE};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::super::client::client_address;
use super::super::problem::Problem;
use super::super::server::{Answer, Peer};
use super::super::{Server, Settings, header};
use super::exposure::{Exposure, Way};
use super::form::Form;
use super::guesses::{Guesses, Target};
use super::visit::SignedIn;
use super::{Fault, Page, go, page};
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::totp;
use crate::model::user::User;
use crate::store::users::Session;

/// A session that is not used for so long has ended.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// A session ends after so long in any case.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// So long may somebody look for their code.
const WAITING: Duration = Duration::from_secs(15 * 60);
/// How exactly it is known when a session was last used.
const TOUCH: Duration = Duration::from_secs(60);
/// Wrong codes that end a session which waits for one.
const WRONG_CODES_MAX: u32 = 5;
/// Passwords hashed at one time.
const HASHING_MAX: usize = 2;
/// Bytes of a password.
pub(super) const PASSWORD_BYTES_MAX: usize = 1024;
/// Characters that a password must have.
pub(super) const PASSWORD_CHARS_MIN: usize = 12;

/// The browser behind a request.
#[derive(Debug)]
pub(super) struct Browser {
    /// Its address, proxies that we trust aside.
    pub address: IpAddr,
    /// It talks to us, or to a proxy that we trust, over TLS.
    pub is_https: bool,
    /// It does not, and others may listen.
    pub is_exposed: bool,
    /// What it calls us.
    pub host: String,
    cookie: Option<[u8; 32]>,
    /// A page that looks for news by itself: nobody need be there.
    is_watching: bool,
}

impl Browser {
    pub(super) fn of<B>(settings: &Settings, request: &Request<B>, peer: Peer) -> Self {
        let headers = request.headers();
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let is_proxied = settings.trusted_proxies.iter().any(|network| network.has(peer.ip));
        let is_https = peer.is_tls || is_proxied && header(headers, "x-forwarded-proto") == Some("https");
        let name = cookie_name(is_https);
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let own = cookies
            .flat_map(|value| value.split(';'))
            .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='));
        let address = client_address(peer.ip, forwarded, &settings.trusted_proxies);
        let way = Way { is_https, is_proxied, is_loopback: address.is_loopback() };
        Self {
            address,
            is_https,
            is_exposed: way.is_exposed(headers),
            host: header(headers, "host").unwrap_or_default().to_owned(),
            cookie: own.map(digest),
            is_watching: header(headers, "x-live").is_some(),
        }
    }
}

/// With TLS the browser itself sees to it that no other host and no clear-text page sets it.
fn cookie_name(is_https: bool) -> &'static str {
    if is_https { "__Host-postback" } else { "postback" }
}

/// Has the browser keep a cookie for so long; for no time: forget it. A browser does neither for a `__Host-` name that is
/// not `Secure`.
fn set_cookie(answer: &mut Answer, browser: &Browser, secret: &str, lasts: Duration) {
    let (name, secure) = (cookie_name(browser.is_https), if browser.is_https { "; Secure" } else { "" });
    let cookie = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}", lasts.as_secs());
    answer.headers_mut().extend(HeaderValue::try_from(cookie).ok().map(|cookie| (SET_COOKIE, cookie)));
}

/// SHA-256 of a secret that people carry.
pub(super) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Who is signed in.
///
/// # Errors
/// `SignIn` when nobody is, `SecondFactor` when somebody is half-way.
pub(super) async fn user(server: &Server, browser: &Browser) -> Result<User, Fault> {
    match session(server, browser).await? {
        Some(session) if session.is_waiting => Err(Fault::SecondFactor),
        Some(session) => Ok(session.user),
        None => Err(Fault::SignIn),
    }
}

/// The browser's session, if it has not ended.
async fn session(server: &Server, browser: &Browser) -> Result<Option<Session>, Fault> {
    let Some(cookie) = browser.cookie else { return Ok(None) };
    let Some(session) = server.store().session(&cookie).await? else { return Ok(None) };
    let now = server.clock().now();
    let lifetime = if session.is_waiting { WAITING } else { LIFETIME };
    if now.since(session.created_at) > lifetime || now.since(session.seen_at) > IDLE {
        server.store().end_session(&cookie).await?;
        return Ok(None);
    }
    if now.since(session.seen_at) > TOUCH && !browser.is_watching {
        server.store().touch_session(&cookie).await?;
    }
    Ok(Some(session))
}

#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct SignInPage<'t> {
    exposure: Option<Exposure>,
    complaint: Option<&'t str>,
    told: Option<&'t str>,
}

/// The sign-in page.
pub(super) fn page(server: &Server, browser: &Browser, complaint: Option<&str>) -> Page {
    page::page(&SignInPage { exposure: Exposure::of(server, browser), complaint, told: None })
}

/// The sign-in page for somebody who has just chosen a new password.
pub(super) fn page_after_renewal(server: &Server, browser: &Browser) -> Page {
    let told = Some("The password is set. Sign in with it.");
    page::page(&SignInPage { exposure: Exposure::of(server, browser), complaint: None, told })
}

/// A person gives address and password.
pub(super) async fn sign_in(server: &Server, browser: &Browser, form: &Form) -> Page {
    let email = form.get("email").to_ascii_lowercase();
    let check = async {
        let user = server.store().user(&email).await?;
        let known = user.as_ref().map_or_else(|| NOBODY.clone(), |user| user.password.clone());
        let is_right = is_password(server, form.raw("password"), known).await?;
        Ok(user.filter(|_| is_right))
    };
    let wrong = "The address or the password is wrong.";
    match guessed(server, browser, vec![Target::Password(digest(&email))], wrong, check).await? {
        Ok(user) => begin_with(server, browser, &user, user.second_factor.is_some()).await,
        Err(complaint) => page(server, browser, Some(&complaint)),
    }
}

/// What `check` finds, if one more guess may be made at these targets and from there; the complaint when not, or when it
/// finds nothing. The guess is counted before it is looked at, so that many at one time are no more than one by one.
async fn guessed<T>(
    server: &Server,
    browser: &Browser,
    mut targets: Vec<Target>,
    wrong: &str,
    check: impl Future<Output = Result<Option<T>, Fault>>,
) -> Result<Result<T, String>, Fault> {
    targets.extend(Target::origins(browser.address));
    let guesses = &server.sign_ins().guesses;
    let guess = match guesses.begin(targets, server.clock().now()) {
        Ok(guess) => guess,
        Err(wait) => {
            let secs = wait.as_millis().div_ceil(1000);
            let unit = if secs == 1 { "second" } else { "seconds" };
            return Ok(Err(format!("Too many wrong passwords or codes. Try again in {secs} {unit}.")));
        }
    };
    let Some(found) = check.await? else { return Ok(Err(wrong.to_owned())) };
    guesses.give_back(guess);
    Ok(Ok(found))
}

/// Whether it is the password of somebody who is signed in; the complaint when not.
pub(super) async fn proves_password(
    server: &Server,
    browser: &Browser,
    user: &User,
    typed: &str,
) -> Result<Result<(), String>, Fault> {
    let check = async { Ok(is_password(server, typed, user.password.clone()).await?.then_some(())) };
    let targets = vec![Target::Password(digest(&user.email))];
    guessed(server, browser, targets, "The old password is wrong.", check).await
}

/// Whether it is a code of the person's second factor, or one of their recovery codes, good this once; the complaint
/// when not.
pub(super) async fn proves_code(
    server: &Server,
    browser: &Browser,
    user: &User,
    typed: &str,
) -> Result<Result<(), String>, Fault> {
    let check = async { Ok(is_code(server, user, typed).await?.then_some(())) };
    let session = browser.cookie.map(Target::Session);
    let targets = session.into_iter().chain([Target::Code(user.id)]).collect();
    guessed(server, browser, targets, "This is not the code, or it was used before.", check).await
}

#[derive(Template)]
#[template(path = "console/code.html")]
struct CodePage<'t> {
    exposure: Option<Exposure>,
    complaint: Option<&'t str>,
}

/// The page that asks for the second factor.
pub(super) async fn code_page(server: &Server, browser: &Browser, complaint: Option<&str>) -> Page {
    match session(server, browser).await? {
        Some(session) if session.is_waiting => {
            page::page(&CodePage { exposure: Exposure::of(server, browser), complaint })
        }
        _ => Ok(go("/console/sign-in")),
    }
}

/// A person gives the code of their second factor, or one of their recovery codes.
pub(super) async fn pass(server: &Server, browser: &Browser, form: &Form) -> Page {
    let Some(user) = session(server, browser).await?.filter(|session| session.is_waiting).map(|session| session.user)
    else {
        return Ok(go("/console/sign-in"));
    };
    let proved = proves_code(server, browser, &user, form.get("code")).await?;
    let wrong = |cookie| server.sign_ins().guesses.count(Target::Session(cookie), server.clock().now());
    let is_over = browser.cookie.is_some_and(|cookie| wrong(cookie) >= WRONG_CODES_MAX);
    if let Some(cookie) = browser.cookie.filter(|_| proved.is_ok() || is_over) {
        server.store().end_session(&cookie).await?;
    }
    match proved {
        Ok(()) => begin(server, browser, &user).await,
        Err(_) if is_over => page(server, browser, Some("Too many wrong codes. Sign in again.")),
        Err(complaint) => code_page(server, browser, Some(&complaint)).await,
    }
}

/// Whether it is a code of the person's second factor, good this once.
async fn is_code(server: &Server, user: &User, typed: &str) -> Result<bool, Fault> {
    let Some(factor) = &user.second_factor else { return Ok(false) };
    if let Some(step) = totp::step_of(&factor.secret, typed, server.clock().now()) {
        return Ok(server.store().use_totp_step(user.id, step).await?);
    }
    Ok(server.store().use_recovery_code(user.id, hex(&digest(&totp::folded(typed)))).await?)
}

/// In hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Begins a session and goes on to the first page. Old sessions are swept out on the way.
pub(super) async fn begin(server: &Server, browser: &Browser, user: &User) -> Page {
    begin_with(server, browser, user, false).await
}

async fn begin_with(server: &Server, browser: &Browser, user: &User, is_waiting: bool) -> Page {
    let now = server.clock().now();
    server.store().forget_sessions(before(now, LIFETIME), before(now, IDLE)).await?;
    let secret = server.ids().secret("");
    server.store().begin_session(digest(&secret), user.id, is_waiting).await?;
    if !is_waiting {
        SignedIn { server, browser, user: user.clone() }.note("signed in", "").await?;
    }
    let mut answer = go(if is_waiting { "/console/sign-in/code" } else { "/console/" });
    set_cookie(&mut answer, browser, &secret, LIFETIME);
    Ok(answer)
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}

/// Ends the session here and in the store.
pub(super) async fn sign_out(server: &Server, browser: &Browser) -> Page {
    if let Some(cookie) = browser.cookie {
        server.store().end_session(&cookie).await?;
    }
    let mut answer = go("/console/sign-in");
    set_cookie(&mut answer, browser, "", Duration::ZERO);
    Ok(answer)
}

/// Argon2id with 46 MiB in one pass (OWASP's second choice).
fn argon2() -> Argon2<'static> {
    let params = Params::new(46 * 1024, 1, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// What sign-ins share: how many passwords are hashed at one time, and what was guessed wrong lately.
#[derive(Debug)]
pub(in crate::http) struct SignIns {
    hashing: Arc<Semaphore>,
    guesses: Guesses,
}

impl Default for SignIns {
    fn default() -> Self {
        Self { hashing: Arc::new(Semaphore::new(HASHING_MAX)), guesses: Guesses::default() }
    }
}

impl SignIns {
    /// Runs what takes long on a thread of its own, a few at a time.
    pub(super) async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        let broken = || Fault::Problem(Problem::Broken);
        let turn = self.hashing.clone().acquire_owned().await.map_err(|_| broken())?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| broken())
    }
}

/// The hash of nobody's password.
static NOBODY: LazyLock<Secret> = LazyLock::new(|| {
    let hash = argon2().hash_password_with_salt(b"nobody's", b"sixteen bytes ok");
    Secret::new(hash.map(|hash| hash.to_string()).unwrap_or_default())
});

/// Hashes a password.
pub(super) async fn hashed(server: &Server, password: &str) -> Result<Secret, Fault> {
    let (password, salt) = (password.to_owned(), server.ids().bytes::<16>());
    let hash = move || argon2().hash_password_with_salt(password.as_bytes(), &salt).map(|hash| hash.to_string());
    server.sign_ins().aside(hash).await?.map(Secret::new).map_err(|_| Fault::Problem(Problem::Broken))
}

/// Whether it is the password of this hash.
async fn is_password(server: &Server, password: &str, known: Secret) -> Result<bool, Fault> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Ok(false);
    }
    let password = password.to_owned();
    let work = move || {
        let hash = PasswordHash::new(known.reveal());
        hash.is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
    };
    server.sign_ins().aside(work).await
}
