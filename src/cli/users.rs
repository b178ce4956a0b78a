//! `postback user`: who may sign in to the console.

use anyhow::{Context, bail};
use clap::Subcommand;
use postback::config::Loaded;
use postback::http::console_url;
use postback::intake::provision;
use postback::model::secret::Secret;
use postback::model::user::Role;

use super::database::Guest;
use super::{LIST_MAX, removed, say, say_table};

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Print a link; whoever follows it first can sign in from then on
    Invite {
        /// owner, operator, support or read-only
        #[arg(long, default_value = "owner")]
        role: String,
        /// The one tenant that they see [default: all]
        #[arg(long, value_name = "SLUG")]
        tenant: Option<String>,
    },
    /// Print a link by which somebody chooses a new password
    Renew {
        /// With which address they sign in
        email: String,
        /// Remove their second factor, too
        #[arg(long)]
        without_code: bool,
    },
    /// Set what somebody may do
    Role {
        /// With which address they sign in
        email: String,
        /// owner, operator, support or read-only
        role: String,
    },
    /// Show everybody who can sign in
    List,
    /// Remove somebody, and end what they have open
    Remove {
        /// With which address they sign in
        email: String,
    },
}

pub(super) async fn run(loaded: &Loaded, command: UserCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        UserCommand::Invite { role, tenant } => invite(&guest, loaded, &role, tenant.as_deref()).await?,
        UserCommand::Renew { email, without_code } => renew(&guest, loaded, &email, without_code).await?,
        UserCommand::List => list(&guest).await?,
        UserCommand::Role { email, role } => {
            let set = guest.store.set_role(None, &email.to_ascii_lowercase(), role_of(&role)?).await;
            if !set.context("set the role")? {
                bail!("there is no user {email:?}");
            }
        }
        UserCommand::Remove { email } => {
            removed(guest.store.remove_user(None, &email.to_ascii_lowercase()).await, &format!("user {email}"))?;
        }
    }
    guest.store.close().await;
    Ok(())
}

fn role_of(word: &str) -> anyhow::Result<Role> {
    Role::from_word(word).with_context(|| format!("{word:?} is no role: owner, operator, support or read-only"))
}

async fn invite(guest: &Guest, loaded: &Loaded, role: &str, tenant: Option<&str>) -> anyhow::Result<()> {
    let role = role_of(role)?;
    let tenant = match tenant {
        None => None,
        Some(slug) => match guest.store.tenant(slug).await.context("look for the tenant")? {
            Some(tenant) => Some(tenant.id),
            None => bail!("there is no tenant {slug:?}"),
        },
    };
    let (invitation, secret) = provision::invitation(role, tenant, &guest.clock, &guest.ids);
    guest.store.invite(invitation).await.context("keep the invitation")?;
    say("Good for one person, within seven days:");
    say_link(loaded, &secret);
    Ok(())
}

fn say_link(loaded: &Loaded, secret: &Secret) {
    let http = &loaded.settings.http;
    let console = console_url(&loaded.settings.hostname, Some(http.address), http.tls_address).unwrap_or_default();
    say(format!("{console}join/{}", secret.reveal()));
}

async fn renew(guest: &Guest, loaded: &Loaded, email: &str, without_code: bool) -> anyhow::Result<()> {
    let user = guest.store.user(&email.to_ascii_lowercase()).await.context("look for the user")?;
    let Some(user) = user else { bail!("there is no user {email:?}") };
    if without_code {
        guest.store.set_second_factor(user.id, None).await.context("remove the second factor")?;
    }
    let (invitation, secret) = provision::renewal(&user, &guest.clock, &guest.ids);
    guest.store.invite(invitation).await.context("keep the link")?;
    say(format!("A new password for {}, within a day:", user.email));
    say_link(loaded, &secret);
    Ok(())
}

async fn list(guest: &Guest) -> anyhow::Result<()> {
    let users = guest.store.users(None, "", LIST_MAX).await.context("list the users")?;
    let rows = users.into_iter().map(|user| {
        let sees = if user.tenant.is_some() { "one tenant" } else { "all tenants" };
        [user.email, user.name, user.role.as_str().to_owned(), sees.to_owned(), user.created_at.to_string()]
    });
    say_table(["mail address", "name", "role", "sees", "since"], &rows.collect::<Vec<_>>());
    Ok(())
}
