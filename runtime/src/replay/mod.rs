//! `runtime replay`: does this result come from this image and this bundle?
//!
//! ```text
//! told      the result as it was kept: our JSON, or our SR        compare   JSON, part by part
//! report    the SR, made again from what comes out now            verdict   what is the same, what differs
//! ```
//!
//! The image is analysed again. Our results are the same bits on every processor, so whatever differs has another
//! cause: another image, another bundle, or a result that somebody or something has changed.

mod compare;
mod report;
mod told;
mod verdict;

use crate::{Output, analysis::Loaded, print_json};
use anyhow::{Context, Result, ensure};
use bundle::Bundle;
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};
use told::Told;
use verdict::Verdict;

/// Analyses an image again and says whether a result came from it and from a bundle, or what differs
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The result: JSON of `analyze` or of the spool, or our structured report
    result: PathBuf,
    /// The image that it is said to be about
    image: PathBuf,
    /// The bundle that is said to have spoken
    #[arg(long)]
    bundle: PathBuf,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
}

impl Replay {
    /// Fails if anything differs.
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let path = self.result.display().to_string();
        let told = fs::read(&self.result).with_context(|| format!("cannot read {path}"))?;
        let image = fs::read(&self.image)
            .with_context(|| format!("cannot read {}", self.image.display()))?;
        let verdict = self.judge(&told, &image).with_context(|| path.clone())?;
        if output.json {
            print_json(
                &json!({ "result": self.result, "same": verdict.is_same(), "parts": verdict.parts }),
            )?;
        } else {
            let mut out = io::stdout();
            for part in &verdict.parts {
                writeln!(out, "{part}")?;
            }
        }
        let differs: Vec<String> =
            verdict.differs_in().map(|part| format!("{}: {}", part.part, part.said)).collect();
        ensure!(
            differs.is_empty(),
            "{path} is no result of this image and this bundle: {}",
            differs.join("; ")
        );
        if !output.json {
            writeln!(io::stdout(), "this result came from this image and this bundle")?;
        }
        Ok(())
    }

    fn judge(&self, told: &[u8], image: &[u8]) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        let told = match Told::read(told) {
            Ok(told) => told,
            Err(error) => {
                verdict.differs("result", format!("it cannot be read: {error:#}"));
                return Ok(verdict);
            }
        };
        let bundle = match Bundle::open(&self.bundle) {
            Ok(bundle) => bundle,
            Err(error) => {
                let why = anyhow::Error::new(error);
                verdict.differs("bundle", format!("it cannot be used: {why:#}"));
                return Ok(verdict);
            }
        };
        verdict.compare("bundle", Some(told.bundle_digest()), &bundle.digest());
        let file = hex::encode(Sha256::digest(image));
        verdict.compare("image", told.file_digest(), &file);
        let loaded = Loaded::new(&bundle, self.threads as usize)
            .with_context(|| self.bundle.display().to_string())?;
        let now = loaded.analyse(told.file_name(), image)?.report;
        match &told {
            Told::Json(record) => {
                // Numbers as they are once they were written and read: the same way that the kept ones took.
                let now = serde_json::from_slice(&serde_json::to_vec(&now)?)?;
                compare::records(record, &now, &mut verdict)?;
            }
            Told::Report(report) => report::compare(report, now, image, &mut verdict)?,
        }
        Ok(verdict)
    }
}
