//! What there is under `/console/<tenant>/`, in one table, which the test that walks along the walls reads too.

use std::pin::Pin;

use super::webhook_trial::Trial;
use super::{
    Page, Visit, activity, agents, domains, inbox, mail, message, messages, operations, overview, queue, suppressions,
    templates, tracking, webhook_log, webhooks,
};

/// An answer that is waited for.
type Waited<'v> = Pin<Box<dyn Future<Output = Page> + Send + 'v>>;

/// What stands in a path where its route has names in braces.
#[derive(Clone, Copy)]
pub(super) struct Places<'v>(&'v [&'v str]);

impl<'v> Places<'v> {
    pub(super) fn of(places: &'v [&'v str]) -> Self {
        Self(places)
    }

    fn at(self, place: usize) -> &'v str {
        self.0.get(place).copied().unwrap_or_default()
    }
}

/// A page, or a change.
pub(super) struct Route {
    /// It changes something: POST.
    pub(super) is_change: bool,
    /// Its path under the tenant's; `{name}` stands for any segment.
    pub(super) path: &'static str,
    /// The operation of the API that does or tells the same.
    pub(super) twin: &'static str,
    /// It may carry files and long texts.
    pub(super) is_large: bool,
    pub(super) work: for<'v> fn(&'v Visit<'v>, Places<'v>) -> Waited<'v>,
}

macro_rules! routes {
    ($($method:ident $path:literal = $twin:literal => |$visit:ident, $places:ident| $work:expr;)*) => {
        &[$(Route {
            is_change: routes!(is_change $method),
            is_large: routes!(is_large $method),
            path: $path,
            twin: $twin,
            work: |$visit, $places| Box::pin(async move { $work.await }),
        },)*]
    };
    (is_change get) => { false };
    (is_change post) => { true };
    (is_change upload) => { true };
    (is_large get) => { false };
    (is_large post) => { false };
    (is_large upload) => { true };
}

pub(super) const ROUTES: &[Route] = routes![
    get "" = "getPulse" => |visit, _p| overview::show(visit);
    get "inbox" = "listEmails" => |visit, _p| inbox::list(visit);
    get "messages" = "listEmails" => |visit, _p| messages::list(visit);
    get "messages/{message}" = "listCopies" => |visit, p| message::show(visit, p.at(0), None);
    get "messages/{message}/html" = "getContent" => |visit, p| mail::html(visit, p.at(0));
    get "messages/{message}/source" = "getContent" => |visit, p| mail::source(visit, p.at(0));
    get "messages/{message}/attachments/{number}" = "getContent" => |visit, p| mail::attachment(visit, p.at(0), p.at(1));
    get "messages/{message}/copies/{number}/html" = "getContent" => |visit, p| mail::copy(visit, p.at(0), p.at(1));
    post "messages/{message}/retry" = "retryQueue" => |visit, p| message::retry(visit, p.at(0));
    post "messages/{message}/cancel" = "cancelQueue" => |visit, p| message::cancel(visit, p.at(0));
    post "messages/{message}/resend" = "resendEmail" => |visit, p| message::resend(visit, p.at(0));
    get "activity" = "getActivity" => |visit, _p| activity::show(visit, None);
    get "activity/reports/{report}" = "getReport" => |visit, p| activity::report(visit, p.at(0));
    post "activity/reports/{report}/close" = "closeReport" => |visit, p| activity::close(visit, p.at(0));
    get "operations" = "getInstallation" => |visit, _p| operations::show(visit, None);
    post "operations/retry" = "retryQueue" => |visit, _p| operations::retry(visit);
    post "operations/pause" = "pauseQueue" => |visit, _p| operations::pause(visit);
    get "operations/queue" = "listQueue" => |visit, _p| queue::show(visit, None);
    post "operations/queue" = "cancelQueue" => |visit, _p| queue::act(visit);
    post "operations/resume" = "resumeQueue" => |visit, _p| operations::resume(visit);
    get "agents" = "listAgents" => |visit, _p| agents::list(visit, None);
    post "agents" = "addAgent" => |visit, _p| agents::add(visit);
    get "agents/{agent}" = "getAgent" => |visit, p| agents::tab(visit, p.at(0), "setup", None);
    get "agents/{agent}/setup" = "listKeys" => |visit, p| agents::tab(visit, p.at(0), "setup", None);
    get "agents/{agent}/settings" = "getAgent" => |visit, p| agents::tab(visit, p.at(0), "settings", None);
    post "agents/{agent}/settings" = "changeAgent" => |visit, p| agents::set(visit, p.at(0));
    post "agents/{agent}/keys" = "addKey" => |visit, p| agents::add_key(visit, p.at(0));
    post "agents/{agent}/keys/remove" = "removeKey" => |visit, p| agents::remove_key(visit, p.at(0));
    get "agents/{agent}/tracking" = "listTrackingHosts" => |visit, p| tracking::show(visit, p.at(0), None);
    upload "agents/{agent}/tracking/preview" = "previewEmail" => |visit, p| tracking::preview(visit, p.at(0));
    post "agents/{agent}/tracking/hosts" = "addTrackingHost" => |visit, p| tracking::add(visit, p.at(0));
    post "agents/{agent}/tracking/hosts/check" = "checkTrackingHost" => |visit, p| tracking::check(visit, p.at(0));
    post "agents/{agent}/tracking/hosts/remove" = "removeTrackingHost" => |visit, p| tracking::remove(visit, p.at(0));
    get "agents/{agent}/domains" = "listDomains" => |visit, p| domains::list(visit, p.at(0), None);
    post "agents/{agent}/domains" = "addDomain" => |visit, p| domains::add(visit, p.at(0));
    post "agents/{agent}/domains/remove" = "removeDomain" => |visit, p| domains::remove(visit, p.at(0));
    get "agents/{agent}/domains/{domain}" = "listRecords" => |visit, p| domains::show(visit, p.at(0), p.at(1), None);
    post "agents/{agent}/domains/{domain}/keys" = "renewDomainKeys" => |visit, p| domains::make_keys(visit, p.at(0), p.at(1));
    get "agents/{agent}/suppressions" = "listSuppressions" => |visit, p| suppressions::list(visit, p.at(0), None);
    post "agents/{agent}/suppressions" = "addSuppression" => |visit, p| suppressions::add(visit, p.at(0));
    post "agents/{agent}/suppressions/remove" = "removeSuppression" => |visit, p| suppressions::remove(visit, p.at(0));
    get "agents/{agent}/suppressions/csv" = "listSuppressions" => |visit, p| suppressions::export(visit, p.at(0));
    upload "agents/{agent}/suppressions/csv" = "addSuppression" => |visit, p| suppressions::import(visit, p.at(0));
    get "agents/{agent}/templates" = "listTemplates" => |visit, p| templates::list(visit, p.at(0), None);
    get "agents/{agent}/templates/new" = "addTemplate" => |visit, p| templates::new(visit, p.at(0));
    upload "agents/{agent}/templates" = "addTemplate" => |visit, p| templates::save(visit, p.at(0), None);
    upload "agents/{agent}/templates/preview" = "previewDraft" => |visit, p| templates::preview(visit, p.at(0));
    get "agents/{agent}/templates/{template}" = "getTemplate" => |visit, p| templates::edit(visit, p.at(0), p.at(1), None);
    upload "agents/{agent}/templates/{template}" = "changeTemplate" => |visit, p| templates::save(visit, p.at(0), Some(p.at(1)));
    post "agents/{agent}/templates/{template}/remove" = "removeTemplate" => |visit, p| templates::remove(visit, p.at(0), p.at(1));
    upload "agents/{agent}/templates/{template}/test" = "sendEmail" => |visit, p| templates::test(visit, p.at(0), p.at(1));
    get "agents/{agent}/webhooks" = "listWebhooks" => |visit, p| webhooks::list(visit, p.at(0), None);
    post "agents/{agent}/webhooks" = "addWebhook" => |visit, p| webhooks::save(visit, p.at(0), None);
    post "agents/{agent}/webhooks/test" = "testWebhookDraft" => |visit, p| webhooks::test(visit, p.at(0), None, Trial::Send);
    post "agents/{agent}/webhooks/preview" = "previewWebhookDraft" => |visit, p| webhooks::test(visit, p.at(0), None, Trial::Look);
    post "agents/{agent}/authentication-key" = "changeAgent" => |visit, p| webhooks::set_authentication_key(visit, p.at(0));
    get "agents/{agent}/webhooks/new" = "addWebhook" => |visit, p| webhooks::new(visit, p.at(0));
    get "agents/{agent}/webhooks/{webhook}" = "getWebhook" => |visit, p| webhooks::edit(visit, p.at(0), p.at(1));
    post "agents/{agent}/webhooks/{webhook}" = "changeWebhook" => |visit, p| webhooks::save(visit, p.at(0), Some(p.at(1)));
    post "agents/{agent}/webhooks/{webhook}/delete" = "removeWebhook" => |visit, p| webhooks::remove(visit, p.at(0), p.at(1));
    post "agents/{agent}/webhooks/{webhook}/test" = "testWebhook" => |visit, p| webhooks::test(visit, p.at(0), Some(p.at(1)), Trial::Send);
    post "agents/{agent}/webhooks/{webhook}/preview" = "previewWebhook" => |visit, p| webhooks::test(visit, p.at(0), Some(p.at(1)), Trial::Look);
    post "agents/{agent}/webhooks/{webhook}/secret" = "rotateWebhookSecret" => |visit, p| webhook_log::secret(visit, p.at(0), p.at(1));
    get "agents/{agent}/webhooks/{webhook}/log" = "listWebhookAttempts" => |visit, p| webhook_log::list(visit, p.at(0), p.at(1), None);
    get "agents/{agent}/webhooks/{webhook}/log/{event}" = "getWebhookDispatch" => |visit, p| webhook_log::show(visit, p.at(0), p.at(1), p.at(2), None);
    post "agents/{agent}/webhooks/{webhook}/log/{event}/resend" = "replayEvent" => |visit, p| webhook_log::resend(visit, p.at(0), p.at(1), p.at(2));
    post "agents/{agent}/webhooks/{webhook}/replays" = "addReplay" => |visit, p| webhook_log::replay(visit, p.at(0), p.at(1));
    post "agents/{agent}/webhooks/{webhook}/replays/{replay}/cancel" = "cancelReplay" => |visit, p| webhook_log::cancel(visit, p.at(0), p.at(1), p.at(2));
];

/// The route of a path, and what stands in its braces.
pub(super) fn find<'p>(is_change: bool, segments: &[&'p str]) -> Option<(&'static Route, Vec<&'p str>)> {
    ROUTES.iter().filter(|route| route.is_change == is_change).find_map(|route| {
        let pattern: Vec<&str> = route.path.split('/').filter(|segment| !segment.is_empty()).collect();
        if pattern.len() != segments.len() {
            return None;
        }
        let pairs = || pattern.iter().zip(segments);
        let fits = pairs().all(|(wanted, segment)| wanted.starts_with('{') || wanted == segment);
        fits.then(|| (route, pairs().filter(|(wanted, _)| wanted.starts_with('{')).map(|(_, at)| *at).collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::mailtura;

    #[test]
    fn paths_find_their_route() {
        let check = |is_change: bool, path: &str, expected: Option<(&str, &[&str])>| {
            let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
            let found = find(is_change, &segments);
            let found = found.as_ref().map(|(route, places)| (route.path, places.as_slice()));
            assert_eq!(found, expected, "{path}");
        };
        check(false, "", Some(("", &[])));
        check(true, "", None);
        check(false, "messages/m1", Some(("messages/{message}", &["m1"])));
        check(false, "messages/m1/attachments/2", Some(("messages/{message}/attachments/{number}", &["m1", "2"])));
        check(false, "agents/a/templates/new", Some(("agents/{agent}/templates/new", &["a"])));
        check(false, "agents/a/templates/x", Some(("agents/{agent}/templates/{template}", &["a", "x"])));
        check(true, "agents/a/templates/preview", Some(("agents/{agent}/templates/preview", &["a"])));
        check(true, "messages/m1", None);
        check(false, "nothing", None);
    }

    #[test]
    fn everything_is_in_the_api_too() {
        let operations: Vec<&str> = mailtura::TABLES.iter().copied().flatten().map(|operation| operation.id).collect();
        for route in ROUTES {
            assert!(operations.contains(&route.twin), "{} has no twin {}", route.path, route.twin);
        }
    }

    #[test]
    fn no_route_hides_another() {
        for route in ROUTES {
            let segments: Vec<&str> = route.path.split('/').filter(|segment| !segment.is_empty()).collect();
            assert_eq!(find(route.is_change, &segments).unwrap().0.path, route.path);
        }
    }
}
