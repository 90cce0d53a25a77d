//! The verbs, one file each.

mod check;
#[cfg_attr(not(feature = "distill"), path = "no_distill.rs")]
mod distill;
mod drift;
mod dump;
mod import;
mod inspect;
mod keys;
mod onnx;
mod pack;
mod prompts;
mod quantize;
#[cfg(test)]
mod tests;
mod verify;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use terminal::Terminal;

/// Quantizes networks for chest radiographs and packs them into signed bundles
#[derive(Debug, Parser)]
#[command(name = "exporter", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(crate) terminal: Terminal,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Import(import::Import),
    Distill(distill::Distill),
    Quantize(Box<quantize::Quantize>),
    Onnx(onnx::Onnx),
    Prompts(prompts::Prompts),
    Verify(verify::Verify),
    Drift(drift::Drift),
    Inspect(inspect::Inspect),
    Keygen(keys::Keygen),
    Sign(keys::Sign),
    Check(check::Check),
    Completion(terminal::manual::Completion),
    Manual(terminal::manual::Manual),
    #[command(hide = true)]
    Dump(dump::Dump),
    #[command(hide = true)]
    Inputs(dump::Inputs),
}

impl Cli {
    pub(crate) fn run(self) -> Result<()> {
        let terminal = self.terminal;
        match self.verb {
            Verb::Import(verb) => verb.run(terminal),
            Verb::Distill(verb) => verb.run(terminal),
            Verb::Quantize(verb) => verb.run(terminal),
            Verb::Onnx(verb) => verb.run(terminal),
            Verb::Prompts(verb) => verb.run(terminal),
            Verb::Verify(verb) => verb.run(terminal),
            Verb::Drift(verb) => verb.run(terminal),
            Verb::Inspect(verb) => verb.run(terminal),
            Verb::Keygen(verb) => verb.run(terminal),
            Verb::Sign(verb) => verb.run(terminal),
            Verb::Check(verb) => verb.run(terminal),
            Verb::Completion(verb) => terminal.completion(Self::command(), &verb),
            Verb::Manual(verb) => terminal.manual(Self::command(), &verb),
            Verb::Dump(verb) => verb.run(terminal),
            Verb::Inputs(verb) => verb.run(terminal),
        }
    }
}
