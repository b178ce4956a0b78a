//! Texts with placeholders, and what becomes of them when they are filled in: Mustache, with the part of Handlebars
//! that customers write.
//!
//! `{{name}}` is escaped in HTML, `{{{name}}}` and `{{&name}}` are not; `{{#list}}…{{/list}}`, `{{^list}}`, `{{#if}}`,
//! `{{#unless}}`, `{{#each}}`, `{{#with}}`, `{{else}}` and `{{else if}}`; `this`, `.`, `../`, `@index`, `@key`, `@first`,
//! `@last`, `@root`; comments, `~`, and `\{{`. Names are looked for from the inside out, dots lead into objects and
//! lists; what is not there is empty. No helpers of one's own, no partials, nothing is evaluated: a template is data.
//!
//! Whoever writes templates or their data is not trusted: size, depth, steps and output have limits, and work is linear
//! in what is read and written. The marks that the rewriter looks for stay in place.

mod parse;

mod render;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::mail::compose::SUBJECT_BYTES_MAX;
use crate::mail::html::PIXEL_MARK;
use crate::model::template::{Part, Texts};

/// Size of one text with placeholders, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Size of one text that was filled in, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Size of all that one request fills in, over all its recipients, in bytes.
pub const ALL_BYTES_MAX: usize = 128 << 20;
/// Sections inside each other.
pub const DEPTH_MAX: usize = 32;
/// Names of missing values that a preview lists.
pub const MISSING_MAX: usize = 100;

/// Why a text cannot be used. Always its author's fault, or that of the data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A tag that does not end.
    #[error("line {line}: a tag is opened with {{{{ and never closed")]
    Unclosed {
        /// Where it begins.
        line: usize,
    },
    /// A section that does not end.
    #[error("line {line}: the section {name:?} is never closed")]
    Open {
        /// Where it begins.
        line: usize,
        /// Its name.
        name: String,
    },
    /// The end, or the `else`, of a section that does not begin.
    #[error("line {line}: {name:?} does not belong to an open section")]
    NotOpen {
        /// Where.
        line: usize,
        /// Its name.
        name: String,
    },
    /// Partials, other delimiters, helpers.
    #[error("line {line}: {what:?} is not supported")]
    Unsupported {
        /// Where.
        line: usize,
        /// The tag.
        what: String,
    },
    /// A tag without a name.
    #[error("line {line}: a tag has no name")]
    Nameless {
        /// Where.
        line: usize,
    },
    /// Too many sections inside each other.
    #[error("line {line}: sections are more than {DEPTH_MAX} deep")]
    TooDeep {
        /// Where.
        line: usize,
    },
    /// A character that no mail may hold.
    #[error("the template holds a NUL")]
    Nul,
    /// The text itself is too large.
    #[error("the template is larger than {SOURCE_BYTES_MAX} bytes")]
    SourceTooLarge,
    /// What came out is too large.
    #[error("the filled in text is larger than {bytes_max} bytes")]
    OutputTooLarge {
        /// How large it may be.
        bytes_max: usize,
    },
    /// What came out for all recipients together is too large.
    #[error("all filled in texts are together larger than {ALL_BYTES_MAX} bytes")]
    AllTooLarge,
    /// It takes too long to fill in.
    #[error("filling in takes too many steps")]
    TooManySteps,
}

/// A fault, and which of a mail's texts has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct Flawed {
    /// Which text.
    pub part: Part,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What characters mean where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// HTML: values are escaped.
    Html,
    /// Plain text: values stay as they are.
    Plain,
}

/// How much work, and how much text, one request may cause over all its recipients.
#[derive(Clone, Debug)]
pub struct Budget {
    steps: u32,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 2_000_000, bytes: ALL_BYTES_MAX }
    }
}

impl Budget {
    /// Takes off what is written, or what each mail has a copy of besides.
    ///
    /// # Errors
    /// `AllTooLarge`.
    pub fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Fault::AllTooLarge)?;
        Ok(())
    }
}

/// One text with placeholders, read.
#[derive(Clone, Debug)]
pub struct Script {
    nodes: Vec<parse::Node>,
    escape: Escape,
    /// What may come out.
    bytes_max: usize,
}

impl Script {
    /// Reads a text.
    ///
    /// # Errors
    /// Any [`Fault`] of the text's own.
    pub fn new(source: &str, escape: Escape) -> Result<Self, Fault> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(Fault::SourceTooLarge);
        }
        if source.contains('\0') {
            return Err(Fault::Nul);
        }
        Ok(Self { nodes: parse::nodes(source)?, escape, bytes_max: OUTPUT_BYTES_MAX })
    }

    /// The text with the values of `data` in it.
    ///
    /// # Errors
    /// `OutputTooLarge`, `AllTooLarge`, `TooManySteps`.
    pub fn render(&self, data: &Value, budget: &mut Budget) -> Result<String, Fault> {
        render::render(self, data, budget, None)
    }
}

/// All texts of a mail, read.
#[derive(Clone, Debug)]
pub struct Compiled {
    subject: Script,
    html: Option<Script>,
    text: Option<Script>,
}

impl Compiled {
    /// Reads the texts.
    ///
    /// # Errors
    /// The first fault, and where it is.
    pub fn new(texts: &Texts) -> Result<Self, Flawed> {
        let script = |part, source: &str, escape| Script::new(source, escape).map_err(|fault| Flawed { part, fault });
        Ok(Self {
            subject: Script { bytes_max: SUBJECT_BYTES_MAX, ..script(Part::Subject, &texts.subject, Escape::Plain)? },
            html: texts.html.as_deref().map(|html| script(Part::Html, html, Escape::Html)).transpose()?,
            text: texts.text.as_deref().map(|text| script(Part::Text, text, Escape::Plain)).transpose()?,
        })
    }

    /// The texts for one recipient.
    ///
    /// # Errors
    /// `OutputTooLarge`, `AllTooLarge` or `TooManySteps`, and where.
    pub fn fill(&self, data: &Value, budget: &mut Budget) -> Result<Texts, Flawed> {
        self.rendered(data, budget, &mut None)
    }

    /// As [`Self::fill`], with the names of values that the data lacks: what a person wants to see beforehand.
    ///
    /// # Errors
    /// As [`Self::fill`].
    pub fn preview(&self, data: &Value) -> Result<Preview, Flawed> {
        let mut missing = Some(BTreeSet::new());
        let texts = self.rendered(data, &mut Budget::default(), &mut missing)?;
        Ok(Preview { texts, missing: missing.into_iter().flatten().collect() })
    }

    fn rendered(&self, data: &Value, budget: &mut Budget, missing: &mut Option<Missing>) -> Result<Texts, Flawed> {
        let mut fill = |part, script: &Script| {
            render::render(script, data, budget, missing.as_mut()).map_err(|fault| Flawed { part, fault })
        };
        Ok(Texts {
            subject: fill(Part::Subject, &self.subject)?,
            html: self.html.as_ref().map(|html| fill(Part::Html, html)).transpose()?,
            text: self.text.as_ref().map(|text| fill(Part::Text, text)).transpose()?,
        })
    }
}

/// A template as it would be sent, without sending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The filled in texts.
    pub texts: Texts,
    /// Names of values that were asked for and not there, sorted; at most [`MISSING_MAX`].
    pub missing: Vec<String>,
}

type Missing = BTreeSet<String>;

/// Whether a tag is a mark that the rewriter replaces later, and no value of the customer's.
fn is_mark(name: &str) -> bool {
    PIXEL_MARK.strip_prefix("{{").and_then(|mark| mark.strip_suffix("}}")) == Some(name)
}

#[cfg(test)]
mod tests;
