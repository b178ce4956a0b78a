//! People of the console: users, invitations, sessions, and the log of what they did.
//!
//! Owns those four tables. Cookies and links are kept as their SHA-256 only.

use super::db::{Result, Store, StoreError, Tx};
use super::value::{Row, json};
use crate::model::id::{EventId, TenantId, UserId};
use crate::model::seal::MasterKey;
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::totp::SecondFactor;
use crate::model::user::{AuditEntry, Invitation, Role, User};

/// A signed-in browser.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who it is.
    pub user: User,
    /// When they signed in.
    pub created_at: Timestamp,
    /// When they were last seen, to the minute or so.
    pub seen_at: Timestamp,
    /// The password was right, the second factor is still asked for.
    pub is_waiting: bool,
}

/// An invitation, and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invited {
    /// The invitation.
    pub invitation: Invitation,
    /// With which they sign in who are to choose a new password; `None` for somebody new.
    pub email: Option<String>,
}

macro_rules! select_users {
    ($($rest:literal)*) => {
        concat!(
            "select id, email, name, password, role, tenant_id, totp, recovery, created_at from users ",
            $($rest),*
        )
    };
}

impl Store {
    /// Makes an invitation.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn invite(&self, invitation: Invitation) -> Result<()> {
        let sql = "insert into invitations (digest, role, tenant_id, user_id, expires_at) values ($1, $2, $3, $4, $5)";
        let Invitation { digest, role, tenant, user, expires_at } = invitation;
        let values = vec![digest.to_vec().into(), role.as_str().into(), tenant.into(), user.into(), expires_at.into()];
        self.run(sql, values).await.map(drop)
    }

    /// The invitation of a link, while it holds.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn invitation(&self, digest: &[u8; 32]) -> Result<Option<Invitation>> {
        const SQL: &str = "
            select digest, role, tenant_id, user_id, expires_at
            from invitations
            where digest = $1 and expires_at > $2";
        let row = self.row(SQL, vec![digest.to_vec().into(), self.now().into()]).await?;
        row.as_ref().map(read_invitation).transpose()
    }

    /// The invitations that hold, to one tenant or to all, those that end first first, after the one with this end and
    /// digest, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn invitations(
        &self,
        of: Option<TenantId>,
        after: Option<(Timestamp, [u8; 32])>,
        limit: u32,
    ) -> Result<Vec<Invited>> {
        const SQL: &str = "
            select digest, invitations.role, invitations.tenant_id, user_id, expires_at, email
            from invitations
            left join users on users.id = invitations.user_id
            where ($1 is null or invitations.tenant_id = $1) and expires_at > $2 and (expires_at, digest) > ($3, $4)
            order by expires_at, digest
            limit $5";
        let (end, digest) = after.map_or((self.now(), Vec::new()), |(end, digest)| (end, digest.to_vec()));
        let values = vec![of.into(), self.now().into(), end.into(), digest.into(), limit.into()];
        self.rows(SQL, values).await?.iter().map(read_invited).collect()
    }

    /// Has an invitation, to one tenant or to any, lead nowhere; which it was, if it was there.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn revoke_invitation(&self, of: Option<TenantId>, digest: [u8; 32]) -> Result<Option<Invited>> {
        const SQL: &str = "
            select digest, invitations.role, invitations.tenant_id, user_id, expires_at, email
            from invitations
            left join users on users.id = invitations.user_id
            where digest = $2 and ($1 is null or invitations.tenant_id = $1)";
        self.transaction(move |tx| {
            Box::pin(async move {
                let row = tx.row(SQL, vec![of.into(), digest.to_vec().into()]).await?;
                let sql = "delete from invitations where digest = $1";
                let was_there = row.is_some() && tx.run(sql, vec![digest.to_vec().into()]).await? > 0;
                row.as_ref().filter(|_| was_there).map(read_invited).transpose()
            })
        })
        .await
    }

    /// Adds a user and uses up the invitation that they followed; whether that was still there.
    ///
    /// # Errors
    /// `Conflict` when the address is taken; `Unavailable`.
    pub async fn join(&self, invitation: [u8; 32], user: User) -> Result<bool> {
        self.transaction(move |tx| {
            Box::pin(async move {
                let sql = "delete from invitations where digest = $1 and user_id is null";
                if tx.run(sql, vec![invitation.to_vec().into()]).await? == 0 {
                    return Ok(false);
                }
                let sql = "
                    insert into users (id, email, name, password, role, tenant_id, created_at)
                    values ($1, $2, $3, $4, $5, $6, $7)";
                let values = vec![
                    user.id.into(),
                    user.email.into(),
                    user.name.into(),
                    user.password.reveal().into(),
                    user.role.as_str().into(),
                    user.tenant.into(),
                    user.created_at.into(),
                ];
                tx.run(sql, values).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Sets the password of the user whom this link was made for, which ends all of their sessions and links, this one
    /// too. Who it is; `None` when the link was not there any more.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn renew(&self, invitation: [u8; 32], id: UserId, password: Secret) -> Result<Option<User>> {
        let master = self.0.master.clone();
        self.transaction(move |tx| {
            Box::pin(async move {
                // Of two links that are followed at the same time one comes after the other.
                let found = tx.held(select_users!("where id = $1"), vec![id.into()]).await?;
                let sql = "delete from invitations where digest = $1 and user_id = $2";
                if tx.run(sql, vec![invitation.to_vec().into(), id.into()]).await? == 0 {
                    return Ok(None);
                }
                set_password(tx, id, password).await?;
                found.map(|row| read_user(&row, &master)).transpose()
            })
        })
        .await
    }

    /// The user with this address.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn user(&self, email: &str) -> Result<Option<User>> {
        let sql = select_users!("where email = $1");
        let row = self.row(sql, vec![email.into()]).await?;
        row.map(|row| read_user(&row, &self.0.master)).transpose()
    }

    /// Users after `after`, of one tenant or of all, by address, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn users(&self, of: Option<TenantId>, after: &str, limit: u32) -> Result<Vec<User>> {
        let sql = select_users!("where ($1 is null or tenant_id = $1) and email > $2 order by email limit $3");
        let rows = self.rows(sql, vec![of.into(), after.into(), limit.into()]).await?;
        rows.iter().map(|row| read_user(row, &self.0.master)).collect()
    }

    /// Sets a user's password, which ends all of their sessions, and the links by which they could choose another.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn set_password(&self, id: UserId, password: Secret) -> Result<()> {
        self.transaction(move |tx| Box::pin(async move { set_password(tx, id, password).await })).await
    }

    /// Sets or removes a user's second factor.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn set_second_factor(&self, id: UserId, factor: Option<SecondFactor>) -> Result<()> {
        let sql = "update users set totp = $2, recovery = $3 where id = $1";
        let (secret, recovery) = factor.map_or((String::new(), Vec::new()), |factor| {
            (self.0.master.seal(&place(id), factor.secret.reveal()), factor.recovery)
        });
        self.run(sql, vec![id.into(), secret.into(), json(&recovery).into()]).await.map(drop)
    }

    /// Uses up a code's step, so that the code is good once; whether it was not used before.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn use_totp_step(&self, id: UserId, step: i64) -> Result<bool> {
        let sql = "update users set totp_step = $2 where id = $1 and totp_step < $2";
        Ok(self.run(sql, vec![id.into(), step.into()]).await? > 0)
    }

    /// Uses up a recovery code, by its SHA-256 in hexadecimal; whether it was there.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn use_recovery_code(&self, id: UserId, digest: String) -> Result<bool> {
        self.transaction(move |tx| {
            Box::pin(async move {
                let row = tx.held("select recovery from users where id = $1", vec![id.into()]).await?;
                let Some(row) = row else { return Ok(false) };
                let mut left: Vec<String> = row.json("recovery")?;
                let before = left.len();
                left.retain(|own| *own != digest);
                let sql = "update users set recovery = $2 where id = $1";
                tx.run(sql, vec![id.into(), json(&left).into()]).await?;
                Ok(left.len() < before)
            })
        })
        .await
    }

    /// Sets what a user, of one tenant or of all, may do from now on; whether there is one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn set_role(&self, of: Option<TenantId>, email: &str, role: Role) -> Result<bool> {
        let sql = "update users set role = $3 where email = $2 and ($1 is null or tenant_id = $1)";
        Ok(self.run(sql, vec![of.into(), email.into(), role.as_str().into()]).await? > 0)
    }

    /// Removes a user, of one tenant or of all, with their sessions; whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_user(&self, of: Option<TenantId>, email: &str) -> Result<bool> {
        let sql = "delete from users where email = $2 and ($1 is null or tenant_id = $1)";
        Ok(self.run(sql, vec![of.into(), email.into()]).await? > 0)
    }

    /// Begins a session; one that `is_waiting` for the second factor opens nothing yet.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn begin_session(&self, digest: [u8; 32], user: UserId, is_waiting: bool) -> Result<()> {
        const SQL: &str = "
            insert into sessions (digest, user_id, created_at, seen_at, is_waiting)
            values ($1, $2, $3, $3, $4)";
        let values = vec![digest.to_vec().into(), user.into(), self.now().into(), is_waiting.into()];
        self.run(SQL, values).await.map(drop)
    }

    /// The session of a cookie, however old: how old it may be is the console's affair.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn session(&self, digest: &[u8; 32]) -> Result<Option<Session>> {
        const SQL: &str = "
            select id, email, name, password, role, tenant_id, totp, recovery, users.created_at,
                sessions.created_at as begun_at, seen_at, is_waiting
            from sessions
            join users on users.id = sessions.user_id
            where digest = $1";
        let row = self.row(SQL, vec![digest.to_vec().into()]).await?;
        let read = |row: Row| {
            Ok(Session {
                user: read_user(&row, &self.0.master)?,
                created_at: row.time("begun_at")?,
                seen_at: row.time("seen_at")?,
                is_waiting: row.flag("is_waiting")?,
            })
        };
        row.map(read).transpose()
    }

    /// Notes that a session is in use.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn touch_session(&self, digest: &[u8; 32]) -> Result<()> {
        let sql = "update sessions set seen_at = $2 where digest = $1";
        self.run(sql, vec![digest.to_vec().into(), self.now().into()]).await.map(drop)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn end_session(&self, digest: &[u8; 32]) -> Result<()> {
        self.run("delete from sessions where digest = $1", vec![digest.to_vec().into()]).await.map(drop)
    }

    /// Forgets sessions that began, or were last seen, before these times, and invitations that have expired.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn forget_sessions(&self, begun_before: Timestamp, seen_before: Timestamp) -> Result<()> {
        let now = self.now();
        self.transaction(move |tx| {
            Box::pin(async move {
                let sql = "delete from sessions where created_at < $1 or seen_at < $2";
                tx.run(sql, vec![begun_before.into(), seen_before.into()]).await?;
                tx.run("delete from invitations where expires_at < $1", vec![now.into()]).await.map(drop)
            })
        })
        .await
    }

    /// Writes a line of the audit log; `id` orders it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn audit(&self, id: EventId, entry: AuditEntry) -> Result<()> {
        const SQL: &str = "
            insert into audit (id, at, actor, action, object, address, tenant_id)
            values ($1, $2, $3, $4, $5, $6, $7)";
        let AuditEntry { at, actor, action, object, address, tenant } = entry;
        let values =
            vec![id.into(), at.into(), actor.into(), action.into(), object.into(), address.into(), tenant.into()];
        self.run(SQL, values).await.map(drop)
    }

    /// The newest lines of the audit log before one, of one tenant or of all, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn audit_log(
        &self,
        of: Option<TenantId>,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<(EventId, AuditEntry)>> {
        const SQL: &str = "
            select id, at, actor, action, object, address, tenant_id
            from audit
            where ($1 is null or tenant_id = $1) and id < $2
            order by id desc
            limit $3";
        let read = |row: &Row| {
            let entry = AuditEntry {
                at: row.time("at")?,
                actor: row.text("actor")?,
                action: row.text("action")?,
                object: row.text("object")?,
                address: row.text("address")?,
                tenant: tenant(row)?,
            };
            Ok((EventId::from_bytes(row.id("id")?), entry))
        };
        let before = before.unwrap_or(EventId::from_bytes([0xff; 16]));
        self.rows(SQL, vec![of.into(), before.into(), limit.into()]).await?.iter().map(read).collect()
    }
}

fn read_invitation(row: &Row) -> Result<Invitation> {
    let user = row.maybe_bytes("user_id")?;
    Ok(Invitation {
        digest: row.array("digest")?,
        role: row.word("role", Role::from_word)?,
        tenant: tenant(row)?,
        user: if user.is_some() { Some(UserId::from_bytes(row.id("user_id")?)) } else { None },
        expires_at: row.time("expires_at")?,
    })
}

fn read_invited(row: &Row) -> Result<Invited> {
    Ok(Invited { invitation: read_invitation(row)?, email: row.maybe_text("email")? })
}

fn tenant(row: &Row) -> Result<Option<TenantId>> {
    match row.maybe_bytes("tenant_id")? {
        None => Ok(None),
        Some(_) => row.id("tenant_id").map(|id| Some(TenantId::from_bytes(id))),
    }
}

/// What a user's secret is sealed for.
fn place(id: UserId) -> String {
    format!("users.totp/{id}")
}

async fn set_password(tx: &mut Tx, id: UserId, password: Secret) -> Result<()> {
    let sql = "update users set password = $2 where id = $1";
    tx.run(sql, vec![id.into(), password.reveal().into()]).await?;
    tx.run("delete from sessions where user_id = $1", vec![id.into()]).await?;
    tx.run("delete from invitations where user_id = $1", vec![id.into()]).await.map(drop)
}

fn read_user(row: &Row, master: &MasterKey) -> Result<User> {
    let id = UserId::from_bytes(row.id("id")?);
    let sealed = row.text("totp")?;
    let second_factor = if sealed.is_empty() {
        None
    } else {
        let opened = master.open(&place(id), &sealed);
        let secret = opened.map_err(|fault| StoreError::Corrupt(format!("totp of {id}: {fault}")))?;
        Some(SecondFactor { secret: Secret::new(secret), recovery: row.json("recovery")? })
    };
    Ok(User {
        id,
        email: row.text("email")?,
        name: row.text("name")?,
        password: Secret::new(row.text("password")?),
        role: row.word("role", Role::from_word)?,
        tenant: tenant(row)?,
        second_factor,
        created_at: row.time("created_at")?,
    })
}
