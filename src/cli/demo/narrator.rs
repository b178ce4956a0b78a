//! Tells the demo's story: a line a step for people, or a JSON object a line for programs.

use std::cell::RefCell;
use std::io::Write;

use postback::clock::Clock;
use serde_json::{Map, Value, json};

/// Prints the story.
pub struct Narrator {
    is_json: bool,
    clock: Clock,
    chapter: RefCell<String>,
}

impl Narrator {
    /// One that prints in this way.
    pub fn new(is_json: bool, clock: Clock) -> Self {
        Self { is_json, clock, chapter: RefCell::default() }
    }

    /// Begins a chapter.
    pub fn chapter(&self, title: &str) {
        title.clone_into(&mut self.chapter.borrow_mut());
        if !self.is_json {
            self.print(&format!("\n── {title} {}", "─".repeat(72_usize.saturating_sub(title.chars().count()))));
        }
    }

    /// One thing that happened: who or what, what happened, and what a program may want to know about it.
    pub fn step(&self, who: &str, what: &str, details: Value) {
        if !self.is_json {
            let now = self.clock.now().rfc3339_seconds();
            let time = now.get(11..19).unwrap_or(&now);
            self.print(&format!("{time}  {who:<14} {what}"));
            return;
        }
        let mut line = Map::new();
        line.insert("at".into(), json!(self.clock.now().rfc3339_millis()));
        line.insert("chapter".into(), json!(*self.chapter.borrow()));
        line.insert("who".into(), json!(who));
        line.insert("what".into(), json!(what));
        if let Value::Object(details) = details {
            line.extend(details);
        }
        self.print(&Value::Object(line).to_string());
    }

    /// Text for people only.
    pub fn aside(&self, text: &str) {
        if !self.is_json {
            self.print(text);
        }
    }

    fn print(&self, line: &str) {
        // Whoever closed our output does not want the story; the exit status still tells how it ended.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
