//! Checkpoints in, ONNX files and signed bundles out: all of the binary `exporter`.
//!
//! A library only so that `tests` can ask for the feature `distill`: building the workspace then builds
//! `exporter` with it, building `-p exporter` without libtorch.
//!
//! ```text
//! read        checkpoints, foreign networks, images
//! passes      fold, equalize, round, correct biases; the float and the eight-bit network
//! prompts     phrases folded into vectors: findings asked for in words
//! calibrate   observe, choose ranges and float layers by what each costs the task
//! write       ONNX, operating points, manifest, golden vectors, signed bundle
//! verify      int8 against float: what the task loses, and where
//! commands    the verbs; nothing needs them
//! distill     a student learns from a teacher (libtorch)
//! ```
//!
//! Rooms need each other in one direction: `commands → write → calibrate → verify → prompts → passes → read`. Start reading in
//! `commands/quantize.rs`, then `calibrate/mod.rs`.

mod calibrate;
mod commands;
#[cfg(feature = "distill")]
mod distill;
#[cfg(test)]
mod fixtures;
mod passes;
mod prompts;
mod read;
mod verify;
mod write;

use clap::Parser;
use log::LevelFilter;
use std::process::ExitCode;
use terminal::Log;

/// Runs the command line this process was started with.
pub fn run() -> ExitCode {
    let cli = commands::Cli::parse();
    cli.terminal.start_log(Log { tool: "exporter", level: LevelFilter::Warn, clock: false });
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error);
            ExitCode::FAILURE
        }
    }
}
