//! Counts what was read right.

use postback::mail::report::{Kind, Recipient, Report};

use super::labels::{self, Labelled};

pub const HEADINGS: &str =
    "source            mails   kind  det-P  det-R  rec-P  rec-R status  class  f-hard f-soft reason     id";

/// So many of so many.
#[derive(Clone, Copy, Default)]
struct Share {
    right: u32,
    of: u32,
}

impl Share {
    fn add(&mut self, right: bool) {
        self.right += u32::from(right);
        self.of += 1;
    }

    fn cell(self) -> String {
        match self.of {
            0 => "     -".to_owned(),
            of => format!("{:6.2}", 100.0 * f64::from(self.right) / f64::from(of)),
        }
    }
}

/// What was read right and wrong.
#[derive(Default)]
pub struct Score {
    mails: u32,
    /// In the order of [`HEADINGS`].
    shares: [Share; 11],
    /// What went wrong, a line each.
    pub misses: Vec<String>,
}

const KIND: usize = 0;
const DETECT_PRECISION: usize = 1;
const DETECT_RECALL: usize = 2;
const RECIPIENT_PRECISION: usize = 3;
const RECIPIENT_RECALL: usize = 4;
const STATUS: usize = 5;
const CLASS: usize = 6;
const FALSE_HARD: usize = 7;
const FALSE_SOFT: usize = 8;
const REASON: usize = 9;
const ID: usize = 10;

impl Score {
    /// Counts one mail.
    pub fn add(&mut self, mail: &Labelled, report: &Report) {
        let (label, kind) = (&mail.label, report.kind.as_str());
        self.mails += 1;
        self.count(KIND, kind == label.kind, || format!("{}: kind {} read as {kind}", label.file, label.kind));
        let is_bouncy = |kind: &str| matches!(kind, "bounce" | "delayed");
        let (labelled, read) = (is_bouncy(&label.kind), is_bouncy(kind));
        if read {
            self.shares[DETECT_PRECISION].add(labelled);
        }
        if labelled {
            self.shares[DETECT_RECALL].add(read);
        }
        let is_report = is_bouncy(&label.kind) || matches!(label.kind.as_str(), "success" | "relayed");
        if let Some(id) = label.original_message_id.as_ref().filter(|_| is_report || label.kind == "complaint") {
            let told = report.original_message_id.as_deref().unwrap_or_default();
            let right = labels::plain(told) == labels::plain(id);
            self.count(ID, right, || format!("{}: id {id} read as {told}", label.file));
        }
        if is_report {
            self.add_recipients(mail, report);
        }
    }

    fn add_recipients(&mut self, mail: &Labelled, report: &Report) {
        let file = &mail.label.file;
        let mut left: Vec<&Recipient> = match report.kind {
            Kind::Autoreply | Kind::Ordinary => Vec::new(),
            _ => report.recipients.iter().collect(),
        };
        for label in &mail.label.recipients {
            let at = left.iter().position(|read| label.is(&read.address));
            let read = at.map(|at| left.remove(at));
            self.count(RECIPIENT_RECALL, read.is_some(), || format!("{file}: recipient {} not found", label.address));
            if read.is_some() {
                self.shares[RECIPIENT_PRECISION].add(true);
            }
            let cause = read.map(|read| &read.cause);
            let status = cause.and_then(|cause| cause.status.as_deref()).unwrap_or("none");
            if let Some(wanted) = &label.status {
                self.count(STATUS, label.has_status(status), || format!("{file}: status {wanted} read as {status}"));
            }
            let class = cause.map_or("none", |cause| cause.class.as_str());
            let (reason, rule) = cause.map_or(("none", ""), |cause| (cause.reason.as_str(), cause.rule.as_str()));
            if let Some(wanted) = label.class.as_deref().filter(|class| *class != "undetermined" && !label.disputed) {
                let told = || format!("{file}: class {wanted} read as {class} ({reason} by {rule})");
                self.count(CLASS, class == wanted, told);
                let (other, worse) = if wanted == "soft" { ("hard", FALSE_HARD) } else { ("soft", FALSE_SOFT) };
                self.shares[worse].add(class == other);
            }
            if let Some(wanted) = label.reason.as_deref().filter(|reason| !matches!(*reason, "unknown" | "delivered")) {
                self.count(REASON, reason == wanted, || format!("{file}: reason {wanted} read as {reason} by {rule}"));
            }
        }
        let labelled = |read: &&Recipient| mail.label.recipients.iter().any(|label| label.is(&read.address));
        left.retain(|read| !labelled(read));
        for extra in left.iter().filter(|_| !mail.label.recipients.is_empty()) {
            self.count(RECIPIENT_PRECISION, false, || format!("{file}: recipient {} is none", extra.address));
        }
    }

    fn count(&mut self, share: usize, right: bool, miss: impl FnOnce() -> String) {
        self.shares[share].add(right);
        if !right {
            self.misses.push(miss());
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: Score) {
        self.mails += other.mails;
        for (own, other) in self.shares.iter_mut().zip(other.shares) {
            own.right += other.right;
            own.of += other.of;
        }
        self.misses.extend(other.misses);
    }

    /// A line of the table.
    pub fn line(&self, source: &str) -> String {
        let cells: Vec<String> = self.shares.iter().map(|share| share.cell()).collect();
        format!("{source:16} {:6} {}", self.mails, cells.join(" "))
    }
}
