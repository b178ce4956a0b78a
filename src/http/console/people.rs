//! People: who may sign in, who is invited, who has done what.
//!
//! Owners of the installation see everybody; an owner of one tenant sees that tenant's people and what happened to it, and
//! to such an owner nobody else is there. Nobody changes their own role or removes themselves, so an owner is left; nor does
//! anybody's session alone get them a new password without the old one, or past their second factor.

use askama::Template;

use super::exposure::Exposure;
use super::form::Form;
use super::page::{self, Frame, Notice, Section, shown};
use super::session::{self, Browser, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
use super::visit::SignedIn;
use super::{Fault, Page};
use crate::http::Server;
use crate::http::query::encoded;
use crate::intake::provision;
use crate::model::id::{EventId, TenantId, UserId};
use crate::model::secret::Secret;
use crate::model::user::{AuditEntry, Deed, Invitation, Role, User, is_common};
use crate::store::StoreError;
use crate::store::users::Invited;

/// People on one page, links that wait, and bytes of either list besides names.
const PEOPLE_MAX: u32 = 50;
const LINKS_MAX: u32 = 50;
const LIST_BYTES_MAX: usize = 60_000;
const PERSON_BYTES: usize = 2_000;
const LINK_BYTES: usize = 500;
/// Lines of the audit log beside people, and on a page of its own.
const LATEST_MAX: u32 = 20;
const LINES_MAX: u32 = 100;
/// Bytes of what a line tells of.
const TEXT_BYTES_MAX: usize = 200;
/// Tenants to choose from; of more the slug is typed.
const TENANTS_MAX: u32 = 50;
/// Characters of a name and of an address.
const NAME_CHARS_MAX: usize = 100;
const EMAIL_BYTES_MAX: usize = 254;

#[derive(Template)]
#[template(path = "console/join.html")]
struct JoinPage<'t> {
    exposure: Option<Exposure>,
    secret: &'t str,
    role: &'static str,
    /// Somebody who is there chooses a new password.
    is_renewal: bool,
    complaint: Option<&'t str>,
    chars_min: usize,
}

/// The page that an invitation leads to.
pub(super) async fn join_page(server: &Server, browser: &Browser, secret: &str, complaint: Option<&str>) -> Page {
    let invitation = server.store().invitation(&session::digest(secret)).await?.ok_or(Fault::NotFound)?;
    page::page(&JoinPage {
        exposure: Exposure::of(server, browser),
        secret,
        role: invitation.role.as_str(),
        is_renewal: invitation.user.is_some(),
        complaint,
        chars_min: PASSWORD_CHARS_MIN,
    })
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
        return join_page(server, browser, secret, Some(&complaint)).await;
    }
    let password = session::hashed(server, password).await?;
    let user = server.store().renew(invitation.digest, user, password).await?.ok_or(Fault::NotFound)?;
    SignedIn { server, browser, user }.note("used password link", "").await?;
    session::page_after_renewal(server, browser)
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
        return join_page(server, browser, secret, Some(&complaint)).await;
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
            let person = SignedIn { server, browser, user };
            person.note("joined", person.user.role.as_str()).await?;
            session::begin(server, browser, &person.user).await
        }
        Ok(false) => Err(Fault::NotFound),
        Err(StoreError::Conflict) => {
            join_page(server, browser, secret, Some("There is a user with this address.")).await
        }
        Err(fault) => Err(fault.into()),
    }
}

fn is_address(text: &str) -> bool {
    text.len() <= EMAIL_BYTES_MAX && text.parse::<crate::model::address::Address>().is_ok()
}

struct Row {
    email: String,
    name: String,
    role: Role,
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

fn line((_, entry): (EventId, AuditEntry)) -> Line {
    let cut = |text: &str| page::cut(text, TEXT_BYTES_MAX);
    Line {
        at: shown(entry.at),
        actor: cut(&entry.actor),
        action: cut(&entry.action),
        object: cut(&entry.object),
        address: entry.address,
    }
}

/// A link that nobody has followed yet.
struct LinkRow {
    id: String,
    /// Who is to choose a new password; empty: somebody new.
    email: String,
    role: &'static str,
    tenant: String,
    until: String,
}

#[derive(Template)]
#[template(path = "console/people.html")]
struct PeoplePage<'t> {
    frame: Frame,
    people: Vec<Row>,
    links: Vec<LinkRow>,
    links_more: bool,
    lines: Vec<Line>,
    /// Slug and name of those that somebody can be invited to, where there is a choice among few.
    tenants: Vec<(String, String)>,
    /// There are more: one is named by its slug.
    names_tenant: bool,
    roles: [Role; 4],
    link: Option<&'t str>,
    /// The query of the next page of people.
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage {
    frame: Frame,
    lines: Vec<Line>,
    /// The query of the next page.
    next: Option<String>,
}

/// An owner, and whose people are theirs to look after.
struct Governor<'p, 's> {
    person: &'p SignedIn<'s>,
    /// The one tenant; `None`: all, and those of none.
    of: Option<TenantId>,
    /// The page of people begins after this address.
    after: &'p str,
}

/// What an owner asks for.
pub(super) async fn answer(person: &SignedIn<'_>, path: &[&str], is_change: bool, query: &Form, form: &Form) -> Page {
    person.may(Deed::Govern)?;
    let owner = Governor { person, of: person.user.tenant, after: query.get("after") };
    match (path, is_change) {
        ([], false) => owner.list(None, None).await,
        (["audit"], false) => owner.audit(query.get("before")).await,
        ([], true) => owner.invite(form).await,
        (["role"], true) => owner.set_role(form).await,
        (["remove"], true) => owner.remove(form).await,
        (["renew"], true) => owner.renew(form).await,
        (["revoke"], true) => owner.revoke(form).await,
        _ => Err(Fault::NotFound),
    }
}

impl Governor<'_, '_> {
    /// Everybody, and what was done lately.
    async fn list(&self, link: Option<&str>, notice: Option<Notice>) -> Page {
        let store = self.person.server.store();
        let mut tenants = if self.of.is_none() { store.tenants("", TENANTS_MAX + 1).await? } else { Vec::new() };
        let names_tenant = tenants.len() > TENANTS_MAX as usize;
        let mut users = store.users(self.of, self.after, PEOPLE_MAX + 1).await?;
        let has_more = users.len() > PEOPLE_MAX as usize;
        users.truncate(PEOPLE_MAX as usize);
        let bytes = |user: &User| PERSON_BYTES + 9 * page::written(&user.email) + page::written(&user.name);
        let has_more = page::fit(&mut users, LIST_BYTES_MAX, bytes) > 0 || has_more;
        let next = users.last().filter(|_| has_more).map(|last| format!("after={}", encoded(&last.email)));
        let mut invited = store.invitations(self.of, None, LINKS_MAX + 1).await?;
        let links_more = invited.len() > LINKS_MAX as usize;
        invited.truncate(LINKS_MAX as usize);
        let bytes = |one: &Invited| LINK_BYTES + 2 * page::written(one.email.as_deref().unwrap_or_default());
        let links_more = page::fit(&mut invited, LIST_BYTES_MAX / 3, bytes) > 0 || links_more;
        let of = users.iter().map(|user| user.tenant).chain(invited.iter().map(|one| one.invitation.tenant));
        for id in of.flatten().collect::<Vec<_>>() {
            if tenants.iter().all(|known| known.id != id) {
                tenants.extend(store.tenant_with_id(id).await?);
            }
        }
        let name = |id: Option<TenantId>| {
            let known = tenants.iter().find(|tenant| Some(tenant.id) == id);
            known.map_or_else(|| "all".to_owned(), |tenant| page::cut(&tenant.name, TEXT_BYTES_MAX))
        };
        let people = users.into_iter().map(|user| Row {
            role: user.role,
            tenant: name(user.tenant),
            since: shown(user.created_at).chars().take(10).collect(),
            has_second_factor: user.second_factor.is_some(),
            is_self: user.id == self.person.user.id,
            email: user.email,
            name: user.name,
        });
        let links = invited.into_iter().map(|one| LinkRow {
            id: one.invitation.id(),
            role: one.invitation.role.as_str(),
            tenant: name(one.invitation.tenant),
            until: shown(one.invitation.expires_at),
            email: one.email.unwrap_or_default(),
        });
        let choice = tenants.iter().filter(|_| !names_tenant);
        page::page(&PeoplePage {
            frame: self.person.frame("People", Section::People, notice).await?.here("/console/people".into()),
            people: people.collect(),
            links: links.collect(),
            links_more,
            lines: store.audit_log(self.of, None, LATEST_MAX).await?.into_iter().map(line).collect(),
            tenants: choice.map(|tenant| (tenant.slug.clone(), page::cut(&tenant.name, TEXT_BYTES_MAX))).collect(),
            names_tenant,
            roles: Role::ALL,
            link,
            next,
        })
    }

    /// What was done, newest first, before the line with this id.
    async fn audit(&self, before: &str) -> Page {
        let before: Option<EventId> = before.parse().ok();
        let mut lines = self.person.server.store().audit_log(self.of, before, LINES_MAX + 1).await?;
        let has_more = lines.len() > LINES_MAX as usize;
        lines.truncate(LINES_MAX as usize);
        let next = lines.last().filter(|_| has_more).map(|(id, _)| format!("before={id}"));
        let frame = self.person.frame("What was done", Section::People, None).await?;
        page::page(&AuditPage { frame, lines: lines.into_iter().map(line).collect(), next })
    }

    /// The person that a form names, if they are this owner's to look after, and somebody else.
    async fn other(&self, form: &Form) -> Result<User, Fault> {
        let found = self.person.server.store().user(form.get("email")).await?;
        let is_its = |user: &User| self.of.is_none() || self.of == user.tenant;
        let user = found.filter(is_its).ok_or(Fault::NotFound)?;
        if user.id == self.person.user.id { Err(Fault::Forbidden) } else { Ok(user) }
    }

    async fn link(&self, (invitation, secret): (Invitation, Secret)) -> Page {
        self.person.server.store().invite(invitation).await?;
        let link = format!("/console/join/{}", secret.reveal());
        self.list(Some(&link), Notice::good("Pass this link on; it works once.")).await
    }

    /// Makes a link for somebody new.
    async fn invite(&self, form: &Form) -> Page {
        let SignedIn { server, user, .. } = self.person;
        let role = Role::from_word(form.get("role")).ok_or(Fault::NotFound)?;
        let tenant = match form.get("tenant") {
            "" => self.of,
            slug => Some(server.store().tenant(slug).await?.ok_or(Fault::NotFound)?.id),
        };
        if user.tenant.is_some() && user.tenant != tenant {
            return Err(Fault::NotFound);
        }
        self.person.note_at(tenant, "invited", role.as_str()).await?;
        self.link(provision::invitation(role, tenant, server.clock(), server.ids())).await
    }

    /// Makes a link by which somebody else chooses a new password; with it their second factor is gone, when that is
    /// asked for.
    async fn renew(&self, form: &Form) -> Page {
        let server = self.person.server;
        let user = self.other(form).await?;
        if form.has("second_factor") {
            server.store().set_second_factor(user.id, None).await?;
            self.person.note_at(user.tenant, "removed second factor", &user.email).await?;
        }
        self.person.note_at(user.tenant, "made password link", &user.email).await?;
        self.link(provision::renewal(&user, server.clock(), server.ids())).await
    }

    /// Has a link lead nowhere.
    async fn revoke(&self, form: &Form) -> Page {
        let digest = Invitation::digest_of(form.get("id")).ok_or(Fault::NotFound)?;
        let revoked = self.person.server.store().revoke_invitation(self.of, digest).await?.ok_or(Fault::NotFound)?;
        let told = revoked.email.as_deref().unwrap_or(revoked.invitation.role.as_str());
        self.person.note_at(revoked.invitation.tenant, "revoked link", told).await?;
        self.list(None, Notice::good("The link leads nowhere any more.")).await
    }

    /// Sets what somebody else may do from now on.
    async fn set_role(&self, form: &Form) -> Page {
        let role = Role::from_word(form.get("role")).ok_or(Fault::NotFound)?;
        let user = self.other(form).await?;
        if !self.person.server.store().set_role(self.of, &user.email, role).await? {
            return Err(Fault::NotFound);
        }
        self.person.note_at(user.tenant, &format!("made {}", role.as_str()), &user.email).await?;
        self.list(None, Notice::good(format!("{}: {} from now on.", user.name, role.as_str()))).await
    }

    /// Removes somebody else.
    async fn remove(&self, form: &Form) -> Page {
        let user = self.other(form).await?;
        if !self.person.server.store().remove_user(self.of, &user.email).await? {
            return Err(Fault::NotFound);
        }
        self.person.note_at(user.tenant, "removed user", &user.email).await?;
        self.list(None, Notice::good(format!("Removed {}.", user.name))).await
    }
}
