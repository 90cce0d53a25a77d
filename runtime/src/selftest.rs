//! `runtime selftest`: does this machine compute what the bundle's maker computed?

use crate::{Output, print_json};
use anyhow::{Context, Result, bail, ensure};
use bundle::Bundle;
use clap::Args;
use engine::{Engine, Options};
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Reproduces the bundle's golden vectors on this machine, byte for byte
#[derive(Debug, Args)]
pub(crate) struct Selftest {
    /// Bundle written by `exporter quantize`
    #[arg(long)]
    bundle: PathBuf,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
}

impl Selftest {
    /// Fails with the first difference.
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let path = self.bundle.display().to_string();
        let bundle = Bundle::open(&self.bundle)?;
        let mut engine = Engine::open(&bundle, &Options::threads(self.threads as usize))
            .context(path.clone())?;
        let result = engine::selftest(&mut engine, &bundle).context(path.clone())?;
        if output.json {
            print_json(&json!({
                "bundle": { "id": bundle.manifest.id, "digest": bundle.digest() },
                "isa": engine.isa(),
                "threads": engine.threads(),
                "passed": result.passed(),
                "vectors": result.vectors,
                "outputs": result.outputs,
                "mismatch": result.mismatch,
            }))?;
        }
        if let Some(mismatch) = &result.mismatch {
            bail!("{path}: {mismatch} (instruction set {})", engine.isa());
        }
        ensure!(result.vectors > 0, "{path}: no golden vectors to reproduce");
        if !output.json {
            writeln!(
                io::stdout(),
                "{} {}: {} outputs of {} golden vectors reproduced to the bit on {}",
                bundle.manifest.id,
                bundle.manifest.version,
                result.outputs,
                result.vectors,
                engine.isa()
            )?;
        }
        Ok(())
    }
}
