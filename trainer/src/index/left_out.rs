//! What a data set has and its index has not: nothing is left out without a word.

use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, fmt};

/// What a thing left out is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Images,
    /// Of studies whose images stay.
    Reports,
    /// That are no images.
    Files,
    /// Drawn in images nobody knows.
    Boxes,
}

/// Reasons of images that a partial download has not.
pub(super) const MISSING: [&str; 2] = ["that do not exist", "that are empty"];

/// Names of what was left out, by kind and reason. As JSON, their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeftOut(BTreeMap<Kind, BTreeMap<String, Vec<String>>>);

impl LeftOut {
    pub fn add(&mut self, kind: Kind, reason: impl Into<String>, name: impl Into<String>) {
        self.0.entry(kind).or_default().entry(reason.into()).or_default().push(name.into());
    }

    /// Images that are not there.
    pub(super) fn missing(&self) -> usize {
        let reasons = self.0.get(&Kind::Images).into_iter().flatten();
        let missing = reasons.filter(|(reason, _)| MISSING.contains(&reason.as_str()));
        missing.map(|(_, names)| names.len()).sum()
    }

    /// Every one of them, for who asks with `-v`.
    pub fn log(&self) {
        for (kind, reasons) in &self.0 {
            for (reason, names) in reasons {
                names.iter().for_each(|name| log::debug!("left out: {kind} ({reason}): {name}"));
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "images",
            Self::Reports => "reports",
            Self::Files => "files",
            Self::Boxes => "boxes",
        })
    }
}

/// `\nleft out: 3 reports (2 fewer than 4 sentences, 1 empty)`, a line for each kind.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, reasons) in &self.0 {
            let all: usize = reasons.values().map(Vec::len).sum();
            let each: Vec<String> =
                reasons.iter().map(|(reason, names)| format!("{} {reason}", names.len())).collect();
            write!(f, "\nleft out: {all} {kind} ({})", each.join(", "))?;
        }
        Ok(())
    }
}

impl Serialize for LeftOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = self.0.iter().map(|(kind, reasons)| {
            let counts: BTreeMap<&str, usize> =
                reasons.iter().map(|(reason, names)| (reason.as_str(), names.len())).collect();
            (kind, counts)
        });
        serializer.collect_map(counts)
    }
}
