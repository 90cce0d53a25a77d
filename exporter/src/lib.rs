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
mod card;
mod choose;
mod commands;
#[cfg(feature = "distill")]
mod distill;
mod files;
#[cfg(test)]
mod fixtures;
mod golden;
mod judge;
mod npy;
mod onnx;
mod operating;
mod package;
mod passes;
mod provenance;
mod read;
mod recipe;
mod sbom;
mod terminal;
mod verify;

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
