//! Removing a mail agent, with all that hangs on it: one rule for both APIs and the console.

use super::Server;
use super::problem::Problem;
use crate::model::tenant::{CredentialKind, DEFAULT_AGENT, Grant, MailAgent};

/// Removes a mail agent with its domains, keys, webhooks and suppressions.
///
/// # Errors
/// `Conflict`, when it is the tenant's `default` or holds the key that asks; `OperatorOnly`, when it holds an operator's
/// key and no operator asks; `NotFound`.
pub(super) async fn remove(server: &Server, grant: &Grant, agent: &MailAgent) -> Result<(), Problem> {
    if agent.name == DEFAULT_AGENT {
        return Err(Problem::Conflict("A tenant keeps its mail agent `default`"));
    }
    let store = server.store();
    if store.grant_of(grant.credential).await?.is_some_and(|asking| asking.agent.id == agent.id) {
        return Err(Problem::Conflict("The key that asks belongs to this mail agent and would go with it"));
    }
    if grant.kind != CredentialKind::OperatorKey && store.has_operator_key(agent.id).await? {
        return Err(Problem::OperatorOnly);
    }
    let is_gone = store.remove_agent(agent.tenant, &agent.name).await?;
    if is_gone { Ok(()) } else { Err(Problem::NotFound("Mail agent")) }
}
