//! `postback suppression`: whom a mail agent leaves alone, and taking somebody off that list.

use anyhow::Context;
use clap::Subcommand;
use postback::config::Loaded;
use postback::model::address::Address;
use postback::model::suppression::Suppression;

use super::database::Guest;
use super::tenants::Of;
use super::{LIST_MAX, printable, removed, say_table};

#[derive(Subcommand)]
pub(super) enum SuppressionCommand {
    /// Show the addresses that a mail agent leaves alone
    List {
        /// Only those after this address, for what does not fit one list
        #[arg(long, value_name = "ADDRESS", default_value = "")]
        after: String,
        #[command(flatten)]
        of: Of,
    },
    /// Let a mail agent send to an address again
    Remove {
        /// The address
        address: Address,
        #[command(flatten)]
        of: Of,
    },
}

pub(super) async fn run(loaded: &Loaded, command: SuppressionCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        SuppressionCommand::List { after, of } => {
            let agent = guest.agent(&of.tenant, &of.agent).await?;
            let suppressions = guest.store.suppressions(agent.id, &after.to_lowercase(), LIST_MAX).await;
            let rows: Vec<_> = suppressions.context("list suppressions")?.iter().map(row).collect();
            say_table(["ADDRESS", "REASON", "SINCE", "UNTIL"], &rows);
        }
        SuppressionCommand::Remove { address, of } => {
            let agent = guest.agent(&of.tenant, &of.agent).await?;
            let gone = guest.store.unsuppress(agent.id, &address).await;
            removed(gone, &format!("suppression of {}", printable(&address.to_string())))?;
        }
    }
    guest.store.close().await;
    Ok(())
}

fn row(suppression: &Suppression) -> [String; 4] {
    [
        printable(&suppression.address),
        suppression.reason.to_string(),
        suppression.created_at.to_string(),
        suppression.expires_at.map_or("removed".to_owned(), |until| until.to_string()),
    ]
}
