//! `postback key ring`: the keys that pixels, links and return paths are sealed with.

use anyhow::{Context, bail};
use clap::Subcommand;
use postback::store::token_keys::{Revoked, TokenKey};

use super::database::Guest;
use super::{say, say_table};

#[derive(Subcommand)]
pub(super) enum RingCommand {
    /// Show the keys, without their secrets
    List,
    /// Make a new key; new mail is sealed with it within seconds, and the old ones go on opening what they sealed
    Rotate,
    /// Revoke a key that has leaked: links and return paths that it sealed lead nowhere any more, within seconds
    Revoke {
        /// Which: the number that `list` shows
        id: u8,
    },
}

pub(super) async fn run(guest: &Guest, command: RingCommand) -> anyhow::Result<()> {
    match command {
        RingCommand::List => {
            let keys = guest.store.token_keys().await.context("list the keys of the ring")?;
            let newest = keys.iter().position(|key| key.revoked_at.is_none());
            let rows: Vec<_> = keys.iter().enumerate().map(|(place, key)| row(key, Some(place) == newest)).collect();
            say_table(["ID", "MADE", "USE"], &rows);
        }
        RingCommand::Rotate => {
            let made = guest.store.rotate_token_key(guest.ids.bytes()).await.context("make a new key")?;
            let Some(id) = made else { bail!("all 32 keys are in use; revoke one that is too old to be missed") };
            say(format!("new mail is sealed with key {id}"));
        }
        RingCommand::Revoke { id } => {
            match guest.store.revoke_token_key(id).await.with_context(|| format!("revoke key {id}"))? {
                Revoked::Done => say(format!("key {id} opens nothing any more")),
                Revoked::Unknown => bail!("there is no key {id} in use; see `postback key ring list`"),
                Revoked::Last => bail!("key {id} is the only one; first `postback key ring rotate`"),
            }
        }
    }
    Ok(())
}

fn row(key: &TokenKey, is_newest: bool) -> [String; 3] {
    let use_ = match key.revoked_at {
        Some(at) => format!("revoked {}", at.rfc3339_seconds()),
        None if is_newest => "seals and opens".to_owned(),
        None => "opens".to_owned(),
    };
    [key.id.to_string(), key.created_at.rfc3339_seconds(), use_]
}
