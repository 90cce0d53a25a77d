//! `runtime selftest`: does this machine compute what the bundle's maker computed?

use crate::{
    Output,
    packs::{self, Packs},
    print_json,
};
use anyhow::{Context, Result, bail, ensure};
use bundle::Bundle;
use clap::Args;
use engine::{Engine, Options};
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Reproduces the golden vectors of a bundle and its packs on this machine, byte for byte
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
        let behind = Packs::of(&bundle).context(path.clone())?;
        let mut engine = Engine::open(&bundle, &Options::threads(self.threads as usize))
            .context(path.clone())?;
        let result = engine::selftest(&mut engine, &bundle).context(path.clone())?;
        let of_packs = behind.prove();
        if output.json {
            print_json(&json!({
                "bundle": { "id": bundle.manifest.id, "digest": bundle.digest() },
                "isa": engine.isa(),
                "threads": engine.threads(),
                "passed": result.passed() && of_packs.is_ok(),
                "vectors": result.vectors,
                "outputs": result.outputs,
                "unproven": result.unproven,
                "mismatch": result.mismatch,
                "packs": packs::names(&bundle),
                "pack_vectors": of_packs.as_ref().ok(),
            }))?;
        }
        if let Some(mismatch) = &result.mismatch {
            bail!("{path}: {mismatch} (instruction set {})", engine.isa());
        }
        let of_packs =
            of_packs.with_context(|| format!("{path} (instruction set {})", engine.isa()))?;
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
            if !result.unproven.is_empty() {
                let names = result.unproven.join(", ");
                writeln!(io::stdout(), "no golden vector holds {names}: nothing proves them")?;
            }
            if !bundle.packs().is_empty() {
                let names: Vec<_> = bundle.packs().iter().map(|pack| pack.name()).collect();
                writeln!(io::stdout(), "{of_packs} golden vectors of packs {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}
