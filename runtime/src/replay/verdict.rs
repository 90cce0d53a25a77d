//! What is the same and what differs, part by part.

use serde::Serialize;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Same,
    Differs,
    /// The result does not say.
    Unknown,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Part {
    pub(super) part: String,
    pub(super) outcome: Outcome,
    pub(super) said: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) parts: Vec<Part>,
}

impl Verdict {
    pub(super) fn same(&mut self, part: &str, said: impl Into<String>) {
        self.add(part, Outcome::Same, said.into());
    }

    pub(super) fn differs(&mut self, part: &str, said: impl Into<String>) {
        self.add(part, Outcome::Differs, said.into());
    }

    pub(super) fn unknown(&mut self, part: &str, said: impl Into<String>) {
        self.add(part, Outcome::Unknown, said.into());
    }

    /// A digest that the result tells beside the one that comes out now.
    pub(super) fn compare(&mut self, part: &str, told: Option<&str>, now: &str) {
        match told {
            Some(told) if told == now => self.same(part, now),
            Some(told) => self.differs(part, format!("the result says {told}, it is {now}")),
            None => self.unknown(part, "the result does not tell its digest"),
        }
    }

    pub(super) fn is_same(&self) -> bool {
        self.parts.iter().all(|part| part.outcome != Outcome::Differs)
    }

    /// What differs, in the order of the way from image to result.
    pub(super) fn differs_in(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.outcome == Outcome::Differs)
    }

    fn add(&mut self, part: &str, outcome: Outcome, said: String) {
        self.parts.push(Part { part: part.to_owned(), outcome, said });
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.outcome {
            Outcome::Same => "same    ",
            Outcome::Differs => "DIFFERS ",
            Outcome::Unknown => "-       ",
        };
        write!(f, "{mark} {}: {}", self.part, self.said)
    }
}
