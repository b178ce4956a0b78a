//! `/api/v1/domains/{name}/records` and `…/keys`: what a domain publishes, looked up now, and new keys to sign with.

use hyper::StatusCode;

use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::shape::answer;
use super::super::{claims, json_answer};
use super::domains::{find, told};
use crate::dns::check::{self, Expected, Finding, Verdict};
use crate::model::signing_key::KeyState;

answer! {
    /// A record that a domain publishes or should, and what was found of it.
    pub(super) struct FoundRecord {
        /// `dkim`, `spf`, `dmarc`, `return_path`, `host`, `ptr`, `tracking` or `mx`.
        purpose "purpose": &'static str,
        /// Its type.
        kind "type": &'static str,
        /// Its name.
        name "name": String,
        /// `right`, `unwise`, `missing`, `wrong` or `unknown`.
        verdict "verdict": &'static str,
        /// What is there.
        found "found": Vec<String>,
        /// What should be; empty when it is there, or only you can know.
        publish "publish": String,
        /// In words.
        advice "advice": String,
    }
}

/// `GET /api/v1/domains/{name}/records`: looked up now; keys whose record is seen begin to sign.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let (domain, _) = find(&call).await?;
    let store = call.server.store();
    let keys = store.signing_keys(domain.tenant, &domain.name).await?;
    let house = call.server.house();
    let expected = Expected {
        domain: &domain.name,
        keys: &keys,
        hostname: &house.hostname,
        return_path_domain: &house.return_path_domain,
        tracking_host: &house.tracking_host,
        is_direct: house.is_direct,
        sources: &house.sources,
    };
    let found = check::check(call.server.resolver(), &expected).await;
    // A key of a domain that nobody has shown to be the tenant's signs nothing.
    for key in keys.iter().filter(|key| key.state == KeyState::Waiting && domain.verified_at.is_some()) {
        let is_right = |found: &Finding| found.verdict == Verdict::Right && found.name == key.record_name();
        if found.iter().any(is_right) {
            store.begin_signing(key).await?;
        }
    }
    Ok(json_answer(StatusCode::OK, &found.into_iter().map(shown).collect::<Vec<_>>()))
}

fn shown(found: Finding) -> FoundRecord {
    FoundRecord {
        purpose: found.purpose,
        kind: found.kind,
        name: found.name,
        verdict: found.verdict.as_str(),
        found: found.found,
        publish: found.publish,
        advice: found.advice,
    }
}

/// `POST /api/v1/domains/{name}/keys`: new keys, which sign when their records are seen; the old ones retire then.
pub(super) async fn renew(call: Call) -> Result<Answer, Problem> {
    let (domain, agent) = find(&call).await?;
    claims::new_keys(&call.server, &domain).await?;
    told(&call, &domain, &agent).await
}
