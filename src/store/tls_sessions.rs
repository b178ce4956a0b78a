//! TLS sessions with other people's hosts, counted by day, and the reports to their domains that are due.
//!
//! Owns the `tls_sessions` and `tls_reports` tables. What a session came to, `deliver::tls_sessions` says; what a report
//! says and to whom it goes, `mail::tls_report` and `app`. A report is written with the first session of its day; the
//! nodes share the work by moving `due_at` on, which one of them does first.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::db::{Result, Store};
use super::value::{Row, json};
use crate::model::statistics::Day;
use crate::model::time::Timestamp;
use crate::model::tls_session::TlsSession;

/// Days for which counts and reports are kept.
pub const DAYS_KEPT: u32 = 30;
/// Different sessions of a domain and day that are told.
pub const KINDS_MAX: u32 = 2_000;
/// Reports go out from so long after the end of their day: every node has told by then what it counted.
const DUE_AFTER: Duration = Duration::from_secs(15 * 60);
/// All of them are due within so long, spread, so that receivers do not hear from everybody at once (RFC 8460 §4.1).
pub const DUE_WITHIN: Duration = Duration::from_secs(4 * 3600);

/// Sessions that came to the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedSessions {
    /// On which day.
    pub day: Day,
    /// With exchangers of which domain.
    pub domain: String,
    /// What they came to.
    pub session: TlsSession,
    /// How many.
    pub sessions: u64,
}

/// A report that a domain may want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueReport {
    /// About which day.
    pub day: Day,
    /// About sessions with which domain.
    pub domain: String,
    /// When it is due.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Who has not got it yet; `None`: not looked up yet.
    pub readers: Option<Vec<String>>,
}

impl Store {
    /// Adds what was counted, and the reports that follow from it, in one commit.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn add_tls_sessions(&self, counted: Vec<CountedSessions>) -> Result<()> {
        const COUNT: &str = "insert into tls_sessions (day, domain, kind, session, sessions) values";
        const ADD: &str = "
            on conflict (day, domain, kind) do update
            set sessions = tls_sessions.sessions + excluded.sessions";
        const REPORT: &str = "insert into tls_reports (day, domain, due_at, attempts) values";
        let reports: BTreeSet<(Day, String)> = counted.iter().map(|one| (one.day, one.domain.clone())).collect();
        let mut counts: Vec<(Day, String, [u8; 16], String, u64)> = counted
            .into_iter()
            .map(|CountedSessions { day, domain, session, sessions }| {
                let session = json(&session);
                (day, domain, digest(session.as_bytes()), session, sessions)
            })
            .collect();
        // In one order on every node, so that none waits for another in a circle.
        counts.sort_unstable();
        let counts = counts.into_iter().map(|(day, domain, kind, session, sessions)| {
            vec![day.0.into(), domain.into(), kind.to_vec().into(), session.into(), sessions.into()]
        });
        let counts: Vec<_> = counts.collect();
        let reports = reports.into_iter().map(|(day, domain)| {
            let due_at = self.first_due(day, &domain);
            vec![day.0.into(), domain.into(), due_at.into(), 0u32.into()]
        });
        let reports: Vec<_> = reports.collect();
        self.transaction(move |tx| {
            Box::pin(async move {
                tx.later(COUNT, ADD, counts).await?;
                tx.later(REPORT, "on conflict do nothing", reports).await
            })
        })
        .await
    }

    /// When a report is due first. Another run of the program, and so another installation, draws another time.
    fn first_due(&self, day: Day, domain: &str) -> Timestamp {
        let [a, b, c, d, ..] = digest(format!("{} {} {domain}", self.holder(), day.0).as_bytes());
        let spread = u64::try_from((DUE_WITHIN - DUE_AFTER).as_millis()).unwrap_or(u64::MAX);
        let drawn = u64::from(u32::from_be_bytes([a, b, c, d])) % spread;
        day.next().start() + DUE_AFTER + Duration::from_millis(drawn)
    }

    /// What sessions with a domain came to on a day, at most [`KINDS_MAX`], the most frequent first.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn tls_sessions(&self, domain: &str, day: Day) -> Result<Vec<CountedSessions>> {
        const SQL: &str = "
            select session, sessions
            from tls_sessions
            where day = $1 and domain = $2
            order by sessions desc, kind
            limit $3";
        let read = |row: &Row| {
            let (session, sessions) = (row.json("session")?, row.small("sessions")?);
            Ok(CountedSessions { day, domain: domain.to_owned(), session, sessions })
        };
        self.rows(SQL, vec![day.0.into(), domain.into(), KINDS_MAX.into()]).await?.iter().map(read).collect()
    }

    /// Reports that are due, at most `limit`, the longest due first.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn due_tls_reports(&self, limit: u32) -> Result<Vec<DueReport>> {
        const SQL: &str = "
            select day, domain, due_at, attempts, readers
            from tls_reports
            where due_at <= $1
            order by due_at, domain
            limit $2";
        let read = |row: &Row| {
            let readers = row.maybe_text("readers")?;
            Ok(DueReport {
                day: Day(row.int("day")?),
                domain: row.text("domain")?,
                due_at: row.time("due_at")?,
                attempts: row.small("attempts")?,
                readers: readers.map(|_| row.json("readers")).transpose()?,
            })
        };
        self.rows(SQL, vec![self.now().into(), limit.into()]).await?.iter().map(read).collect()
    }

    /// Takes a due report in hand: whether it was this node that did. Unless told otherwise, it is due again at `until`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn claim_tls_report(&self, report: &DueReport, until: Timestamp) -> Result<bool> {
        const SQL: &str = "
            update tls_reports
            set due_at = $1, attempts = attempts + 1
            where day = $2 and domain = $3 and due_at = $4";
        let DueReport { day, domain, due_at, .. } = report;
        let values = vec![until.into(), day.0.into(), domain.as_str().into(), (*due_at).into()];
        Ok(self.run(SQL, values).await? > 0)
    }

    /// Leaves a report that was in hand, with who has not got it, to be tried again at `due_at`; `None`: never.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn leave_tls_report(&self, report: &DueReport, due_at: Option<Timestamp>) -> Result<()> {
        const SQL: &str = "update tls_reports set due_at = $1, readers = $2 where day = $3 and domain = $4";
        let DueReport { day, domain, readers, .. } = report;
        let readers = readers.as_ref().map(json);
        self.run(SQL, vec![due_at.into(), readers.into(), day.0.into(), domain.as_str().into()]).await.map(drop)
    }
}

/// Sixteen bytes that stand for a text.
fn digest(text: &[u8]) -> [u8; 16] {
    let whole: [u8; 32] = Sha256::digest(text).into();
    std::array::from_fn(|place| whole[place])
}
