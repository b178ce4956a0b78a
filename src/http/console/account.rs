//! A person's own account: password, and the second factor.

use askama::Template;

use super::form::Form;
use super::page::{self, Frame, Notice, Section};
use super::people::complaint_about;
use super::session::{self, PASSWORD_CHARS_MIN};
use super::visit::SignedIn;
use super::{Fault, Page, go};
use crate::model::secret::Secret;
use crate::model::totp::{self, RECOVERY_CODES, SecondFactor};
use crate::model::user::User;

#[derive(Template)]
#[template(path = "console/account.html")]
struct AccountPage {
    frame: Frame,
    email: String,
    has_second_factor: bool,
    codes_left: usize,
    chars_min: usize,
    /// Recovery codes that were just made.
    codes: Vec<String>,
}

#[derive(Template)]
#[template(path = "console/second_factor.html")]
struct FactorPage {
    frame: Frame,
    secret: String,
    /// The secret as a picture for a telephone: the path of its dark modules, and how many there are a side.
    picture: Option<(String, i32)>,
}

/// Characters of a second factor's secret.
const SECRET_CHARS_MAX: usize = 64;

/// What a person asks for.
pub(super) async fn answer(person: &SignedIn<'_>, path: &[&str], is_change: bool, form: &Form) -> Page {
    match (path, is_change) {
        ([], false) => show(person, Vec::new(), None).await,
        (["password"], true) => set_password(person, form).await,
        // Whoever finds a browser signed in must not put a second factor of their own in place of the person's.
        (["second-factor"], true) if person.user.second_factor.is_some() => {
            let notice = Notice::bad("There is a second factor. Switch it off first, with its code.");
            show(person, Vec::new(), notice).await
        }
        (["second-factor"], true) if form.has("secret") => begin(person, form).await,
        (["second-factor"], true) => offer(person, &totp::secret_of(person.server.ids().bytes()), None).await,
        (["second-factor", "remove"], true) => remove(person, form).await,
        _ => Err(Fault::NotFound),
    }
}

async fn frame(person: &SignedIn<'_>, title: &str, notice: Option<Notice>) -> Result<Frame, Fault> {
    Ok(person.frame(title, Section::Account, notice).await?.here("/console/account".into()))
}

async fn show(person: &SignedIn<'_>, codes: Vec<String>, notice: Option<Notice>) -> Page {
    let user = &person.user;
    let page = AccountPage {
        frame: frame(person, "Your account", notice).await?,
        email: user.email.clone(),
        has_second_factor: user.second_factor.is_some(),
        codes_left: user.second_factor.as_ref().map_or(0, |factor| factor.recovery.len()),
        chars_min: PASSWORD_CHARS_MIN,
        codes,
    };
    page::page(&page)
}

/// A new password; whoever is signed in elsewhere is not any more.
async fn set_password(person: &SignedIn<'_>, form: &Form) -> Page {
    let SignedIn { server, browser, user } = person;
    if let Err(complaint) = session::proves_password(server, browser, user, form.raw("old")).await? {
        return show(person, Vec::new(), Notice::bad(complaint)).await;
    }
    if let Some(complaint) = complaint_about(form.raw("new")) {
        return show(person, Vec::new(), Notice::bad(complaint)).await;
    }
    let password = session::hashed(server, form.raw("new")).await?;
    server.store().set_password(user.id, password).await?;
    person.note("changed password", "").await?;
    session::begin(server, browser, user).await
}

/// A secret to be put into an app.
async fn offer(person: &SignedIn<'_>, secret: &Secret, notice: Option<Notice>) -> Page {
    let uri = totp::uri(secret, &person.user.email);
    let code = qrcodegen::QrCode::encode_text(&uri, qrcodegen::QrCodeEcc::Medium).ok();
    let picture = code.map(|code| {
        let size = code.size();
        let places = (0..size).flat_map(|y| (0..size).map(move |x| (x, y)));
        let dark = places.filter(|(x, y)| code.get_module(*x, *y));
        (dark.map(|(x, y)| format!("M{} {}h1v1h-1z", x + 4, y + 4)).collect::<String>(), size + 8)
    });
    let frame = frame(person, "Second factor", notice).await?;
    page::page(&FactorPage { frame, secret: secret.reveal().to_owned(), picture })
}

/// The app knows the secret when it tells its code; from then on it is asked for.
async fn begin(person: &SignedIn<'_>, form: &Form) -> Page {
    let SignedIn { server, browser, user } = person;
    let secret = Secret::new(form.get("secret"));
    if secret.reveal().len() > SECRET_CHARS_MAX {
        return Err(Fault::NotFound);
    }
    let Some(step) = totp::step_of(&secret, form.get("code"), server.clock().now()) else {
        return offer(person, &secret, Notice::bad("This is not the code of that secret. Look again.")).await;
    };
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| totp::recovery_code(server.ids().bytes())).collect();
    let digests = codes.iter().map(|code| session::hex(&session::digest(&totp::folded(code))));
    let factor = SecondFactor { secret, recovery: digests.collect() };
    server.store().set_second_factor(user.id, Some(factor.clone())).await?;
    server.store().use_totp_step(user.id, step).await?;
    person.note("added second factor", "").await?;
    let person = SignedIn { server, browser, user: User { second_factor: Some(factor), ..user.clone() } };
    show(&person, codes, Notice::good("From now on you are asked for a code when you sign in.")).await
}

/// Removes the second factor of whoever still has it.
async fn remove(person: &SignedIn<'_>, form: &Form) -> Page {
    let SignedIn { server, browser, user } = person;
    if let Err(complaint) = session::proves_code(server, browser, user, form.get("code")).await? {
        return show(person, Vec::new(), Notice::bad(complaint)).await;
    }
    server.store().set_second_factor(user.id, None).await?;
    person.note("removed second factor", "").await?;
    Ok(go("/console/account"))
}
