//! Mails and what they are, as people have labelled them.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// A mail and its label.
pub struct Labelled {
    pub label: Label,
    pub content: Vec<u8>,
}

#[derive(Deserialize)]
pub struct Label {
    pub file: String,
    #[serde(default)]
    pub source: String,
    pub kind: String,
    pub original_message_id: Option<String>,
    #[serde(default)]
    pub recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
pub struct Recipient {
    pub address: String,
    #[serde(default)]
    pub address_alt: Vec<String>,
    pub status: Option<String>,
    #[serde(default)]
    pub status_alt: Vec<String>,
    pub class: Option<String>,
    pub reason: Option<String>,
    #[serde(default)]
    pub disputed: bool,
}

impl Recipient {
    pub fn is(&self, address: &str) -> bool {
        std::iter::once(&self.address).chain(&self.address_alt).any(|own| plain(own) == plain(address))
    }

    pub fn has_status(&self, status: &str) -> bool {
        self.status.iter().chain(&self.status_alt).any(|own| own == status)
    }
}

pub fn plain(text: &str) -> String {
    text.trim().trim_matches(['<', '>']).trim().to_lowercase()
}

/// Reads `labels.jsonl` of a folder, and the mails that it names.
pub fn read(folder: &Path) -> anyhow::Result<Vec<Labelled>> {
    let path = folder.join("labels.jsonl");
    let labels = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let lines = labels.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let label: Label = serde_json::from_str(line).with_context(|| format!("read {line:.60}"))?;
            let path = folder.join(&label.file);
            let content = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            Ok(Labelled { label, content })
        })
        .collect()
}
