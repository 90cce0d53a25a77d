//! Binary `exporter`: checkpoints in, ONNX files and signed bundles out.
//!
//! ```text
//! checkpoint ─▶ fold ─▶ calibrate ─▶ quantized ─▶ onnx/qdq ─▶ package ─▶ bundle
//! (config.toml,  BN into  ranges from   codes of      model.onnx   golden vectors, card,
//!  safetensors)  conv     images        every layer                SBOM, signature
//! ```
//!
//! `commands/quantize.rs` walks this line from left to right; start reading there.

mod bias;
mod calibrate;
mod card;
mod checkpoint;
mod choose;
mod commands;
mod equalize;
mod files;
#[cfg(test)]
mod fixtures;
mod fold;
mod golden;
mod images;
mod import;
mod index;
mod interpreter;
mod network;
mod noise;
mod npy;
mod onnx;
mod package;
mod quantized;
mod sbom;
mod simulate;
mod terminal;
mod verify;
mod weights;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
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
