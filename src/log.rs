//! The log: one line an event, on standard error, as text for people or JSON for machines.
//!
//! Text is `time LEVEL part: message key=value …`; values that would break the line are quoted and escaped, so that
//! nobody outside can forge a line. The same fields have the same names in both forms. Set up once, by `main`.

mod lines;

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;
pub use lines::Written;

/// The log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `error`, `warn`, `info` (the mail log), `debug`, `trace`, or a filter like `info,postback::smtp=debug`.
    pub level: String,
    /// How a line looks.
    pub format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Text }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

impl Settings {
    /// What makes no sense, in one line.
    pub fn complaint(&self) -> Option<String> {
        let nonsense =
            || format!("log.level: `{}` is neither a level nor a filter like info,postback::smtp=debug", self.level);
        self.filter().is_none().then(nonsense)
    }

    /// A bare level is ours; what others write is shown from `warn` on.
    fn filter(&self) -> Option<EnvFilter> {
        if self.level.contains(['=', ',']) {
            return EnvFilter::try_new(&self.level).ok();
        }
        let level: tracing::level_filters::LevelFilter = self.level.parse().ok()?;
        EnvFilter::try_new(format!("warn,postback={level}")).ok()
    }
}

/// Sends every event of this program to standard error from now on. Hold what it gives back until nothing more is
/// told: dropping it waits until all is written. The second call changes nothing.
pub fn start(settings: &Settings, clock: Clock) -> Written {
    let line = Line { format: settings.format, clock };
    let filter = settings.filter().unwrap_or_default();
    let (lines, written) = lines::start(std::io::stderr());
    let writer = move || lines.clone();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).event_format(line);
    // Set already: by an earlier call, whose lines go to the same place.
    let _ = subscriber.try_init();
    written
}

struct Line {
    format: Format,
    clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (time, about) = (self.clock.now().rfc3339_millis(), event.metadata());
        match self.format {
            Format::Text => writeln!(out, "{}", text(&time, about.level().as_str(), about.target(), &fields.0)),
            Format::Json => writeln!(out, "{}", json(&time, about.level().as_str(), about.target(), fields.0)),
        }
    }
}

fn text(time: &str, level: &str, target: &str, fields: &Map<String, Value>) -> String {
    let part = target.strip_prefix("postback::").unwrap_or(target);
    let mut line = format!("{time} {level:<5} {part}:");
    for (name, value) in fields {
        let plain = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let is_message = name == "message";
        let breaks = |c: char| c.is_control() || (!is_message && (c.is_whitespace() || matches!(c, '"' | '=')));
        let _ = match (is_message, plain.is_empty() || plain.contains(breaks)) {
            (true, false) => write!(line, " {plain}"),
            (true, true) => write!(line, " {plain:?}"),
            (false, false) => write!(line, " {name}={plain}"),
            (false, true) => write!(line, " {name}={plain:?}"),
        };
    }
    line
}

fn json(time: &str, level: &str, target: &str, fields: Map<String, Value>) -> String {
    let head = [("time", time.to_owned()), ("level", level.to_lowercase()), ("part", target.to_owned())];
    let mut object: Map<String, Value> = head.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    object.extend(fields);
    Value::Object(object).to_string()
}

/// The fields of one event, in the order in which they were written; the message first, as tracing has it.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut told = value.to_string();
        let mut cause = value.source();
        while let Some(inner) = cause {
            let _ = write!(told, ": {inner}");
            cause = inner.source();
        }
        self.put(field, told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_line_or_a_field() {
        let fields = serde_json::json!({
            "message": "connection closed",
            "peer": "192.0.2.1",
            "helo": "x\r\n2026 ERROR forged",
            "quote": "a\"b c=d",
            "empty": "",
            "count": 3,
        });
        let Value::Object(fields) = fields else { unreachable!() };
        assert_eq!(
            text("T", "INFO", "postback::smtp::server", &fields),
            r#"T INFO  smtp::server: connection closed peer=192.0.2.1 helo="x\r\n2026 ERROR forged" quote="a\"b c=d" empty="" count=3"#
        );
        let line = json("T", "INFO", "postback::smtp", fields);
        assert!(
            line.starts_with(r#"{"time":"T","level":"info","part":"postback::smtp","message":"connection closed","#)
        );
        assert!(!line.contains('\n'));
    }

    #[test]
    fn levels_and_filters() {
        let complaint = |level: &str| Settings { level: level.into(), ..Settings::default() }.complaint();
        assert_eq!(complaint("debug"), None);
        assert_eq!(complaint("info,postback::smtp=debug"), None);
        assert!(complaint("loud").is_some());
        assert!(complaint("info,postback=loud").is_some());
    }
}
