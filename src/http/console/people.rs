//! People: who may sign in, who is invited, who has done what.

use askama::Template;

use super::form::Form;
use super::page::{self, Frame, Notice, Section, shown};
use super::session::{self, Browser, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
use super::visit::note;
use super::{Fault, Page};
use crate::http::Server;
use crate::intake::provision;
use crate::model::id::UserId;
use crate::model::user::{Deed, Invitation, Role, User, is_common};
use crate::store::StoreError;

/// People, and lines of the audit log, on one page.
const ROWS_MAX: u32 = 200;
/// Characters of a name and of an address.
const NAME_CHARS_MAX: usize = 100;
const EMAIL_BYTES_MAX: usize = 254;

#[derive(Template)]
#[template(path = "console/join.html")]
struct JoinPage<'t> {
    secret: &'t str,
    role: &'static str,
    /// Somebody who is there chooses a new password.
    is_renewal: bool,
    complaint: Option<&'t str>,
    chars_min: usize,
}

/// The page that an invitation leads to.
pub(super) async fn join_page(server: &Server, secret: &str, complaint: Option<&str>) -> Page {
    let invitation = server.store().invitation(&session::digest(secret)).await?.ok_or(Fault::NotFound)?;
    let is_renewal = invitation.user.is_some();
    let role = invitation.role.as_str();
    page::page(&JoinPage { secret, role, is_renewal, complaint, chars_min: PASSWORD_CHARS_MIN })
}

/// What is wrong with a new password.
pub(super) fn complaint_about(password: &str) -> Option<String> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Some(format!("A password has at least {PASSWORD_CHARS_MIN} characters."));
    }
    is_common(password).then(|| "This password is one of the first that anybody would try.".to_owned())
}

/// Somebody who forgot their password has chosen a new one.
async fn renew(server: &Server, browser: &Browser, invitation: Invitation, secret: &str, password: &str) -> Page {
    let Some(user) = invitation.user else { return Err(Fault::NotFound) };
    if let Some(complaint) = complaint_about(password) {
        return join_page(server, secret, Some(&complaint)).await;
    }
    let password = session::hashed(server, password).await?;
    let user = server.store().renew(invitation.digest, user, password).await?.ok_or(Fault::NotFound)?;
    note(server, &user, &browser.address.to_string(), None, "used password link", "").await?;
    session::page_after_renewal()
}

/// A person follows an invitation: they are a user now, and signed in.
pub(super) async fn join(server: &Server, browser: &Browser, secret: &str, form: &Form) -> Page {
    let digest = session::digest(secret);
    let invitation = server.store().invitation(&digest).await?.ok_or(Fault::NotFound)?;
    if invitation.user.is_some() {
        return renew(server, browser, invitation, secret, form.raw("password")).await;
    }
    let (email, name, password) = (form.get("email").to_ascii_lowercase(), form.get("name"), form.raw("password"));
    let complaint = if !is_address(&email) {
        Some("This is no mail address.".to_owned())
    } else if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        Some("Say how you are called, in at most 100 characters.".to_owned())
    } else {
        complaint_about(password)
    };
    if let Some(complaint) = complaint {
        return join_page(server, secret, Some(&complaint)).await;
    }
    let now = server.clock().now();
    let user = User {
        id: UserId::from_uuid(server.ids().uuid(now)),
        email,
        name: name.to_owned(),
        password: session::hashed(server, password).await?,
        role: invitation.role,
        tenant: invitation.tenant,
        second_factor: None,
        created_at: now,
    };
    match server.store().join(digest, user.clone()).await {
        Ok(true) => {
            note(server, &user, &browser.address.to_string(), None, "joined", user.role.as_str()).await?;
            session::begin(server, browser, &user).await
        }
        Ok(false) => Err(Fault::NotFound),
        Err(StoreError::Conflict) => join_page(server, secret, Some("There is a user with this address.")).await,
        Err(fault) => Err(fault.into()),
    }
}

fn is_address(text: &str) -> bool {
    text.len() <= EMAIL_BYTES_MAX && text.parse::<crate::model::address::Address>().is_ok()
}

struct Row {
    email: String,
    name: String,
    role: &'static str,
    tenant: String,
    since: String,
    has_second_factor: bool,
    is_self: bool,
}

struct Line {
    at: String,
    actor: String,
    action: String,
    object: String,
    address: String,
}

#[derive(Template)]
#[template(path = "console/people.html")]
struct PeoplePage<'t> {
    frame: Frame,
    people: Vec<Row>,
    lines: Vec<Line>,
    tenants: Vec<(String, String)>,
    roles: [&'static str; 4],
    link: Option<&'t str>,
}

/// What an owner of the installation asks for.
pub(super) async fn answer(server: &Server, browser: &Browser, user: &User, path: &[&str], form: &Form) -> Page {
    match path {
        ["people"] if !form.has("role") => list(server, user, None).await,
        ["people"] => invite(server, browser, user, form).await,
        ["people", "remove"] => remove(server, browser, user, form).await,
        ["people", "renew"] => forgotten(server, browser, user, form).await,
        _ => Err(Fault::NotFound),
    }
}

/// Makes a link by which somebody chooses a new password; with it their second factor is gone, when that is asked for.
async fn forgotten(server: &Server, browser: &Browser, user: &User, form: &Form) -> Page {
    govern(user)?;
    let person = server.store().user(form.get("email")).await?.ok_or(Fault::NotFound)?;
    if form.has("second_factor") {
        server.store().set_second_factor(person.id, None).await?;
        note(server, user, &browser.address.to_string(), None, "removed second factor", &person.email).await?;
    }
    let (invitation, secret) = provision::renewal(&person, server.clock(), server.ids());
    server.store().invite(invitation).await?;
    note(server, user, &browser.address.to_string(), None, "made password link", &person.email).await?;
    list(server, user, Some(&format!("/console/join/{}", secret.reveal()))).await
}

/// Everybody, and what was done lately. Owners of the installation only.
async fn list(server: &Server, user: &User, link: Option<&str>) -> Page {
    govern(user)?;
    let store = server.store();
    let tenants = store.tenants("", ROWS_MAX).await?;
    let name = |id| tenants.iter().find(|tenant| Some(tenant.id) == id).map_or("all", |tenant| tenant.name.as_str());
    let people = store.users("", ROWS_MAX).await?;
    let people = people.into_iter().map(|person| Row {
        role: person.role.as_str(),
        tenant: name(person.tenant).to_owned(),
        since: shown(person.created_at),
        has_second_factor: person.second_factor.is_some(),
        is_self: person.id == user.id,
        email: person.email,
        name: person.name,
    });
    let lines = store.audit_log(None, ROWS_MAX).await?.into_iter().map(|entry| Line {
        at: shown(entry.at),
        actor: entry.actor,
        action: entry.action,
        object: entry.object,
        address: entry.address,
    });
    let notice = link.and_then(|_| Notice::good("Pass this link on; it works once."));
    let frame = Frame { notice, ..Frame::new(server, user, "People", Section::People) }.here("/console/people".into());
    let (people, lines) = (people.collect(), lines.collect());
    let tenants = tenants.iter().map(|tenant| (tenant.slug.clone(), tenant.name.clone())).collect();
    page::page(&PeoplePage { frame, people, lines, tenants, roles: Role::ALL.map(Role::as_str), link })
}

fn govern(user: &User) -> Result<(), Fault> {
    if user.role.may(Deed::Govern) && user.tenant.is_none() { Ok(()) } else { Err(Fault::Forbidden) }
}

/// Makes a link for somebody else.
async fn invite(server: &Server, browser: &Browser, user: &User, form: &Form) -> Page {
    govern(user)?;
    let role = Role::from_word(form.get("role")).ok_or(Fault::NotFound)?;
    let tenant = match form.get("tenant") {
        "" => None,
        slug => Some(server.store().tenant(slug).await?.ok_or(Fault::NotFound)?.id),
    };
    let (invitation, secret) = provision::invitation(role, tenant, server.clock(), server.ids());
    server.store().invite(invitation).await?;
    note(server, user, &browser.address.to_string(), None, "invited", role.as_str()).await?;
    list(server, user, Some(&format!("/console/join/{}", secret.reveal()))).await
}

/// Removes somebody else.
async fn remove(server: &Server, browser: &Browser, user: &User, form: &Form) -> Page {
    govern(user)?;
    let email = form.get("email");
    if email == user.email || !server.store().remove_user(email).await? {
        return Err(Fault::NotFound);
    }
    note(server, user, &browser.address.to_string(), None, "removed user", email).await?;
    list(server, user, None).await
}
