//! Checkpoints in, ONNX files and signed bundles out: all of the binary `exporter`.
//!
//! A library only so that `tests` can ask for the feature `distill`: building the workspace then builds
//! `exporter` with it, building `-p exporter` without libtorch.
//!
//! ```text
//! checkpoint ─▶ fold ─▶ calibrate ─▶ quantized ─▶ onnx/qdq ─▶ package ─▶ bundle
//! (config.toml,  BN into  ranges from   codes of      model.onnx   golden vectors, card,
//!  safetensors)  conv     images        every layer                SBOM, signature
//! ```
//!
//! `recipe.rs` and `commands/quantize.rs` walk this line from left to right; start reading there.

mod calibrate;
mod choose;
mod commands;
#[cfg(feature = "distill")]
mod distill;
#[cfg(test)]
mod fixtures;
mod judge;
mod passes;
mod read;
mod recipe;
mod terminal;
mod verify;
mod write;

use clap::Parser;
use std::process::ExitCode;

/// Runs the command line this process was started with.
pub fn run() -> ExitCode {
    let cli = commands::Cli::parse();
    cli.terminal.start_log();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error);
            ExitCode::FAILURE
        }
    }
}
