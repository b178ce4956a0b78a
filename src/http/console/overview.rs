//! The first page of a tenant: how it goes, what waits, what to do next. And the list of tenants.

use askama::Template;

use super::chart::{self, Series};
use super::messages::Line;
use super::page::{self, Frame, Section, number, share, span};
use super::visit::{SignedIn, main_agent};
use super::{Fault, Page, Visit};
use crate::model::delivery::State;
use crate::model::pulse::{Measure, Pulse, Span};
use crate::model::tenant::Tenant;
use crate::model::time::Timestamp;
use crate::model::webhook::Switch;

/// Messages on this page.
const LATEST: u32 = 8;
/// How far waiting mail is counted.
const COUNTED_MAX: u32 = 100_000;
/// Webhooks whose health is looked at, those in trouble that are named, and bytes of a URL.
const WEBHOOKS_MAX: u32 = 200;
const FAILING_MAX: usize = 10;
const URL_BYTES_MAX: usize = 300;
/// Tenants on one page, by their bytes, and what one takes besides its name.
const TENANTS_BYTES_MAX: usize = 100_000;
const TENANT_BYTES: usize = 250;

#[derive(Template)]
#[template(path = "console/tenants.html")]
struct TenantsPage {
    frame: Frame,
    tenants: Vec<Tenant>,
    /// The query of the next page.
    next: Option<String>,
}

/// The tenants after those on the page before, by their slugs.
pub(super) fn tenants(person: &SignedIn<'_>, mut tenants: Vec<Tenant>) -> Page {
    let more = page::fit(&mut tenants, TENANTS_BYTES_MAX, |tenant| TENANT_BYTES + page::written(&tenant.name));
    let next = tenants.last().filter(|_| more > 0).map(|last| format!("after={}", last.slug));
    page::page(&TenantsPage { frame: Frame::new(person, "Tenants", Section::None), tenants, next })
}

/// Something that a new installation still lacks.
struct Step {
    text: &'static str,
    why: &'static str,
    path: String,
    is_done: bool,
    /// Without it there is something wrong; a mailbox for developers may stay one.
    is_needed: bool,
}

/// A plot with its legend.
pub(super) struct Plot {
    title: &'static str,
    svg: String,
    series: Vec<Series>,
}

/// A figure on top: what, how much, and what to compare it with.
struct Figure {
    label: &'static str,
    value: String,
    more: String,
}

/// A webhook that fares badly.
struct Failing {
    url: String,
    trouble: String,
    /// Where its log is.
    path: String,
}

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage {
    frame: Frame,
    span: Span,
    spans: [(&'static str, &'static str); 4],
    figures: Vec<Figure>,
    plots: Vec<Plot>,
    latest: Vec<Line>,
    waiting: String,
    oldest: Option<String>,
    failing: Vec<Failing>,
    failing_more: usize,
    webhooks: usize,
    steps: Vec<Step>,
    is_new: bool,
}

pub(super) async fn show(visit: &Visit<'_>) -> Page {
    let store = visit.server.store();
    let now = visit.server.clock().now();
    let span = Span::from_word(visit.query.get("span")).unwrap_or_default();
    let pulses = store.pulse(visit.tenant.id, None, span).await?;
    let latest = store.messages(visit.tenant.id, None, LATEST).await?;
    let waiting = store.count_in_state(visit.tenant.id, State::Queued, COUNTED_MAX).await?;
    let oldest = store.oldest_in_state(visit.tenant.id, State::Queued).await?;
    let steps = steps(visit, !latest.is_empty()).await?;
    let (webhooks, mut failing) = failing(visit, now).await?;
    let failing_more = failing.len().saturating_sub(FAILING_MAX);
    failing.truncate(FAILING_MAX);
    let page = OverviewPage {
        frame: visit.frame("Overview", Section::Overview, None),
        span,
        spans: Span::ALL.map(|span| (span.as_str(), label_of(span))),
        figures: figures(&pulses),
        plots: plots(&pulses, span),
        waiting: number(waiting),
        oldest: oldest.map(|oldest| page::span(now.since(oldest))),
        failing,
        failing_more,
        webhooks,
        is_new: steps.iter().any(|step| !step.is_done && step.is_needed),
        steps,
        latest: Line::of_all(store, &latest).await?,
    };
    page::page(&page)
}

const fn label_of(span: Span) -> &'static str {
    match span {
        Span::Hour => "Hour",
        Span::Day => "Day",
        Span::Week => "Week",
        Span::Month => "Month",
    }
}

fn sum(pulses: &[Pulse], measure: Measure) -> u64 {
    pulses.iter().map(|pulse| pulse.of(measure)).sum()
}

fn figures(pulses: &[Pulse]) -> Vec<Figure> {
    let of = |measure| sum(pulses, measure);
    let (sent, delivered) = (of(Measure::Sent), of(Measure::Delivered));
    let (hard, soft) = (of(Measure::HardBounced), of(Measure::SoftBounced));
    let (opened, clicked) = (of(Measure::OpenedByPeople), of(Measure::ClickedByPeople));
    let figure = |label, value: u64, more: String| Figure { label, value: number(value), more };
    vec![
        figure("Accepted", sent, String::new()),
        figure("Delivered", delivered, share(delivered, sent)),
        figure("Bounced", hard + soft, format!("{} hard, {} soft", number(hard), number(soft))),
        figure("Complaints", of(Measure::Complained), share(of(Measure::Complained), delivered)),
        figure("Opens by people", opened, format!("{} by machines", number(of(Measure::OpenedByMachines)))),
        figure("Clicks by people", clicked, format!("{} by machines", number(of(Measure::ClickedByMachines)))),
    ]
}

fn plots(pulses: &[Pulse], span: Span) -> Vec<Plot> {
    let labels: Vec<String> = pulses.iter().map(|pulse| time_of(pulse.start, span)).collect();
    let plot = |title, wanted: &[(Measure, &'static str, &'static str)]| {
        let one = |(measure, class, label): &(Measure, &'static str, &'static str)| Series {
            class,
            label,
            values: pulses.iter().map(|pulse| pulse.of(*measure)).collect(),
        };
        let series: Vec<Series> = wanted.iter().map(one).collect();
        Plot { title, svg: chart::columns(title, &labels, &series), series }
    };
    vec![
        plot("Accepted", &[(Measure::Sent, "c1", "Accepted")]),
        plot(
            "What became of it",
            &[
                (Measure::Delivered, "c2", "Delivered"),
                (Measure::Deferred, "c3", "Put off"),
                (Measure::SoftBounced, "c4", "Bounced, soft"),
                (Measure::HardBounced, "c5", "Bounced, hard"),
                (Measure::Complained, "c6", "Complaints"),
                (Measure::Failed, "c7", "Never attempted"),
            ],
        ),
        plot(
            "Opens",
            &[(Measure::OpenedByPeople, "c1", "By people"), (Measure::OpenedByMachines, "c8", "By machines")],
        ),
        plot(
            "Clicks",
            &[(Measure::ClickedByPeople, "c1", "By people"), (Measure::ClickedByMachines, "c8", "By machines")],
        ),
    ]
}

/// When a step began: `14:05` within a day, `03-02` beyond.
fn time_of(start: Timestamp, span: Span) -> String {
    let text = start.rfc3339_seconds();
    let part = match span {
        Span::Hour | Span::Day => text.get(11..16),
        Span::Week | Span::Month => text.get(5..10),
    };
    part.unwrap_or_default().to_owned()
}

/// How many webhooks there are, and those that fare badly.
async fn failing(visit: &Visit<'_>, now: Timestamp) -> Result<(usize, Vec<Failing>), Fault> {
    let store = visit.server.store();
    let webhooks = store.webhooks(visit.tenant.id, None, WEBHOOKS_MAX).await?;
    let agents = visit.agents().await?;
    let mut failing = Vec::new();
    for webhook in &webhooks {
        let trouble = if webhook.switch == Switch::OffByUs {
            "switched off after failing for long".to_owned()
        } else {
            let health = store.webhook_health(webhook.id).await?;
            let Some(since) = health.and_then(|health| health.failing_since) else { continue };
            format!("failing for {}", span(now.since(since)))
        };
        let own = agents.iter().find(|agent| Some(agent.id) == webhook.agent).or_else(|| main_agent(&agents));
        let key = own.map(|agent| agent.key.as_str()).unwrap_or_default();
        let path = visit.path(&format!("agents/{key}/webhooks/{}/log?status=failed", webhook.id));
        failing.push(Failing { url: page::cut(&webhook.url, URL_BYTES_MAX), trouble, path });
    }
    Ok((webhooks.len(), failing))
}

async fn steps(visit: &Visit<'_>, has_sent: bool) -> Result<Vec<Step>, Fault> {
    let agents = visit.agents().await?;
    let Some(agent) = main_agent(&agents) else { return Ok(Vec::new()) };
    let store = visit.server.store();
    let has_domain = !store.domains(agent.id).await?.is_empty();
    let has_webhook = !store.webhooks(visit.tenant.id, None, 1).await?.is_empty();
    let path = |tab: &str| visit.path(&format!("agents/{}/{tab}", agent.key));
    let step = |text, why, path, is_done| Step { text, why, path, is_done, is_needed: true };
    Ok(vec![
        step("Send a first mail", "By HTTP or SMTP; examples are ready to paste.", path("setup"), has_sent),
        step(
            "Add the domain that you send from",
            "Its DNS records are made for you and checked.",
            path("domains"),
            has_domain,
        ),
        Step {
            is_needed: false,
            ..step(
                "Let mail leave",
                "Until then it is captured: set deliver.mode to smarthost, your relay, or to mx.",
                visit.path("operations"),
                !visit.server.house().is_capture,
            )
        },
        step("Add a webhook", "Your application hears of bounces, opens and clicks.", path("webhooks"), has_webhook),
    ])
}
