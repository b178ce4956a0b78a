//! What an installation's administrators have set about links, held in memory and read again every few seconds: tracking
//! hosts, blocked links, the ring of token keys, and whether hits are to be written before they are answered.
//!
//! Hits are answered and mail is planned without asking the store about any of it. While the store is away, what was
//! read last holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use url::Url;

use super::Intake;
use crate::model::id::{AgentId, DeliveryId};
use crate::model::tracking::{Block, TrackingHost};
use crate::store::{Store, StoreError};

/// What holds of links.
#[derive(Debug, Default)]
pub(super) struct Links(ArcSwap<Read>);

#[derive(Debug, Default)]
struct Read {
    hosts: HashMap<String, Arc<TrackingHost>>,
    host_of: HashMap<(AgentId, String), Arc<TrackingHost>>,
    blocks: HashSet<Block>,
    blocks_agents: bool,
    any_durable_hits: bool,
}

impl Links {
    pub(super) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let hosts: Vec<Arc<TrackingHost>> = store.tracking_hosts().await?.into_iter().map(Arc::new).collect();
        let any_durable_hits = store.has_durable_hits().await?;
        let blocks: HashSet<Block> = store.link_blocks().await?.into_iter().collect();
        self.0.store(Arc::new(Read {
            host_of: hosts.iter().map(|host| ((host.agent, host.domain.clone()), host.clone())).collect(),
            hosts: hosts.into_iter().map(|host| (host.host.clone(), host)).collect(),
            blocks_agents: blocks.iter().any(|block| matches!(block, Block::Agent(_))),
            blocks,
            any_durable_hits,
        }));
        Ok(())
    }
}

impl Intake {
    /// Reads again what administrators may have changed. What cannot be read stays as it was.
    ///
    /// # Errors
    /// The store is away.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        if self.0.store.refresh_ring(&self.0.ring).await? {
            tracing::info!(ring = ?self.0.ring, "the ring of token keys has changed");
        }
        self.0.links.refresh(&self.0.store).await
    }

    /// Where the links of mail from this domain of an agent lead through: its own host, else the installation's; the
    /// empty text while its own has not passed its check.
    pub(super) fn tracking_base_url(&self, agent: AgentId, domain: &str) -> String {
        match self.0.links.0.load().host_of.get(&(agent, domain.to_owned())) {
            Some(host) if host.is_ready() => host.base_url(),
            Some(_) => String::new(),
            None => self.0.settings.tracking_base_url.clone(),
        }
    }

    /// Whether any mail agent wants its hits written before they are answered.
    pub(super) fn any_durable_hits(&self) -> bool {
        self.0.links.0.load().any_durable_hits
    }

    /// The tracking host with this name, as the `Host` header names it.
    pub fn tracking_host(&self, host: &str) -> Option<Arc<TrackingHost>> {
        self.0.links.0.load().hosts.get(&host.to_ascii_lowercase()).cloned()
    }

    /// What proves to one of our own that this installation answers under `host`.
    pub fn proof(&self, host: &str, challenge: &str) -> Option<[u8; 32]> {
        self.0.ring.proofs(&host.to_ascii_lowercase(), challenge).into_iter().next()
    }

    /// Whether a link leads nowhere any more. Asks the store only when a mail agent is blocked; a store that is away
    /// blocks nothing.
    pub async fn is_blocked(&self, delivery: DeliveryId, target: &str) -> bool {
        let (is_blocked, blocks_agents) = {
            let rules = self.0.links.0.load();
            (!rules.blocks.is_empty() && rules.block(delivery, target), rules.blocks_agents)
        };
        if is_blocked || !blocks_agents {
            return is_blocked;
        }
        let message = self.0.store.message(delivery.message).await.ok().flatten();
        message.is_some_and(|message| self.0.links.0.load().blocks.contains(&Block::Agent(message.agent)))
    }
}

impl Read {
    fn block(&self, delivery: DeliveryId, target: &str) -> bool {
        if self.blocks.contains(&Block::Message(delivery.message)) {
            return true;
        }
        let url = Url::parse(target).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default().trim_end_matches('.');
        let places = host.match_indices('.').map(|(at, _)| at + 1);
        std::iter::once(0).chain(places).any(|at| self.blocks.contains(&Block::Target(host[at..].to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::MessageId;

    #[test]
    fn a_host_is_blocked_with_all_below_it() {
        let of = |number| DeliveryId { message: MessageId::from_bytes([number; 16]), recipient: 0 };
        let blocks = [Block::Target("evil.example".into()), Block::Message(of(7).message)];
        let rules = Read { blocks: blocks.into_iter().collect(), ..Read::default() };
        let check = |target: &str, is_blocked: bool| assert_eq!(rules.block(of(1), target), is_blocked, "{target}");
        check("https://evil.example/x", true);
        check("HTTPS://A.B.Evil.Example.:8443/x", true);
        check("https://notevil.example/", false);
        check("https://evil.example.com/", false);
        check("https://good.example/?evil.example", false);
        check("http://[2620::1]/", false);
        assert!(rules.block(of(7), "https://good.example/"));
    }
}
