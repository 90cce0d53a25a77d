//! What was done, step by step, and what to do about a step that failed.

use crate::Output;
use anyhow::Result;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Done,
    Failed,
    /// There was nothing to do, or an earlier step is missing.
    Skipped,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    pub(super) step: String,
    pub(super) outcome: Outcome,
    pub(super) said: String,
    pub(super) advice: Option<String>,
}

/// Tells each step as it ends; in JSON all at the end.
#[derive(Debug)]
pub(super) struct Steps {
    output: Output,
    pub(super) all: Vec<Step>,
}

impl Steps {
    pub(super) fn new(output: Output) -> Self {
        Self { output, all: Vec::new() }
    }

    pub(super) fn done(&mut self, step: &str, said: impl Into<String>) -> Result<()> {
        self.add(step, Outcome::Done, said.into(), None)
    }

    pub(super) fn skipped(&mut self, step: &str, said: impl Into<String>) -> Result<()> {
        self.add(step, Outcome::Skipped, said.into(), None)
    }

    pub(super) fn failed(
        &mut self,
        step: &str,
        said: impl Into<String>,
        advice: &str,
    ) -> Result<()> {
        self.add(step, Outcome::Failed, said.into(), Some(advice.to_owned()))
    }

    /// Names of the steps that failed.
    pub(super) fn failures(&self) -> Vec<&str> {
        let failed = self.all.iter().filter(|step| step.outcome == Outcome::Failed);
        failed.map(|step| step.step.as_str()).collect()
    }

    fn add(
        &mut self,
        step: &str,
        outcome: Outcome,
        said: String,
        advice: Option<String>,
    ) -> Result<()> {
        if !self.output.json {
            let mark = match outcome {
                Outcome::Done => "ok    ",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "-     ",
            };
            let mut out = io::stdout();
            writeln!(out, "{mark} {step}: {said}")?;
            if let Some(advice) = &advice {
                writeln!(out, "       what to do: {advice}")?;
            }
        }
        self.all.push(Step { step: step.to_owned(), outcome, said, advice });
        Ok(())
    }
}
