//! People: who may sign in, who is invited, who has done what.

use askama::Template;

use super::page::{self, Form, Frame, Notice, Section, shown};
use super::session::{self, Browser, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
use super::{Fault, Page, note};
use crate::http::Server;
use crate::intake::provision;
use crate::model::id::UserId;
use crate::model::user::{Deed, Role, User};
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
    complaint: Option<&'t str>,
    chars_min: usize,
}

/// The page that an invitation leads to.
pub(super) async fn join_page(server: &Server, secret: &str, complaint: Option<&str>) -> Page {
    let invitation = server.store().invitation(&session::digest(secret)).await?.ok_or(Fault::NotFound)?;
    page::page(&JoinPage { secret, role: invitation.role.as_str(), complaint, chars_min: PASSWORD_CHARS_MIN })
}

/// A person follows an invitation: they are a user now, and signed in.
pub(super) async fn join(server: &Server, browser: &Browser, secret: &str, form: &Form) -> Page {
    let digest = session::digest(secret);
    let invitation = server.store().invitation(&digest).await?.ok_or(Fault::NotFound)?;
    let (email, name, password) = (form.get("email").to_ascii_lowercase(), form.get("name"), form.raw("password"));
    let complaint = if !is_address(&email) {
        Some("This is no mail address.".to_owned())
    } else if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        Some("Say how you are called, in at most 100 characters.".to_owned())
    } else if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        Some(format!("A password has at least {PASSWORD_CHARS_MIN} characters."))
    } else {
        None
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

/// Everybody, and what was done lately. Owners of the installation only.
pub(super) async fn list(server: &Server, user: &User, link: Option<&str>) -> Page {
    govern(user)?;
    let store = server.store();
    let tenants = store.tenants("", ROWS_MAX).await?;
    let name = |id| tenants.iter().find(|tenant| Some(tenant.id) == id).map_or("all", |tenant| tenant.name.as_str());
    let people = store.users("", ROWS_MAX).await?;
    let people = people.into_iter().map(|person| Row {
        role: person.role.as_str(),
        tenant: name(person.tenant).to_owned(),
        since: shown(person.created_at),
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
    let frame = Frame {
        title: "People".to_owned(),
        section: Section::People,
        tenant: None,
        person: user.name.clone(),
        may_manage: true,
        may_govern: true,
        notice: link.and_then(|_| Notice::good("Pass this link on; it works once, for seven days.")),
    };
    let (people, lines) = (people.collect(), lines.collect());
    let tenants = tenants.iter().map(|tenant| (tenant.slug.clone(), tenant.name.clone())).collect();
    page::page(&PeoplePage { frame, people, lines, tenants, roles: Role::ALL.map(Role::as_str), link })
}

fn govern(user: &User) -> Result<(), Fault> {
    if user.role.may(Deed::Govern) && user.tenant.is_none() { Ok(()) } else { Err(Fault::Forbidden) }
}

/// Makes a link for somebody else.
pub(super) async fn invite(server: &Server, browser: &Browser, user: &User, form: &Form) -> Page {
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
pub(super) async fn remove(server: &Server, browser: &Browser, user: &User, form: &Form) -> Page {
    govern(user)?;
    let email = form.get("email");
    if email == user.email || !server.store().remove_user(email).await? {
        return Err(Fault::NotFound);
    }
    note(server, user, &browser.address.to_string(), None, "removed user", email).await?;
    list(server, user, None).await
}
