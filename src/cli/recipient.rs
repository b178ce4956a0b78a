//! `postback recipient`: all that is kept of one recipient, given out or erased.

use anyhow::{Context, bail};
use clap::Subcommand;
use postback::config::Loaded;
use postback::model::address::Address;

use super::database::Guest;
use super::say;

#[derive(Subcommand)]
pub(super) enum RecipientCommand {
    /// Print all that is kept of a recipient: a line of JSON for each mail
    Export {
        /// The recipient's address
        address: Address,
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
    /// Erase all that is kept of a recipient, but suppressions and what is still queued
    Erase {
        /// The recipient's address
        address: Address,
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
        /// Do it; nothing brings it back
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(loaded: &Loaded, command: RecipientCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        RecipientCommand::Export { address, tenant } => {
            let tenant = guest.tenant(&tenant).await?;
            let mut after = None;
            loop {
                let page =
                    guest.store.deliveries_to(tenant.id, &address, after).await.context("look for their mail")?;
                let Some(last) = page.last() else { break };
                after = Some(*last);
                for id in page {
                    say(guest.store.export(id).await.with_context(|| format!("read {id}"))?.to_string());
                }
            }
            for suppression in
                guest.store.suppressions_of(tenant.id, &address).await.context("look for suppressions")?
            {
                say(suppression.to_string());
            }
        }
        RecipientCommand::Erase { address, tenant, yes } => {
            let tenant = guest.tenant(&tenant).await?;
            if !yes {
                bail!("nothing brings it back; add --yes to erase all that is kept of {address}");
            }
            let sum = guest.store.erase(tenant.id, &address).await.context("erase their mail")?;
            say(format!("erased {} deliveries, and {} messages with them", sum.deliveries, sum.messages));
            for (count, why) in [
                (sum.shared, "were to others too, and keep their header until retention takes them"),
                (sum.queued, "are still queued; erase again when they have ended"),
            ] {
                if count > 0 {
                    say(format!("{count} {why}"));
                }
            }
        }
    }
    guest.store.close().await;
    Ok(())
}
