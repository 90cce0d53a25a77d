//! `runtime audit verify`.

use super::files;
use crate::{Output, config::Config, print_json};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Looks at the audit log
#[derive(Debug, Args)]
pub(crate) struct AuditVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Follows the chain from the first line to the last; names the first line that does not fit
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    /// The daemon's configuration; its spool holds the log
    #[arg(long, required_unless_present = "spool", conflicts_with = "spool")]
    config: Option<PathBuf>,
    /// The folder that holds the log
    #[arg(long)]
    spool: Option<PathBuf>,
}

impl AuditVerb {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Verb::Verify(Verify { config, spool }) = self.verb;
        let folder = match (config, spool) {
            (_, Some(spool)) => spool,
            (Some(config), None) => Config::read(&config)?.spool.path,
            (None, None) => bail!("--config or --spool is needed"),
        };
        let verified = files::verify(&folder).context("the audit log is not what it was")?;
        let (lines, sha256) = (verified.head.number, hex::encode(verified.head.sha256));
        if output.json {
            return print_json(&json!({ "lines": lines, "sha256": sha256, "torn": verified.torn }));
        }
        let mut out = io::stdout();
        writeln!(out, "{lines} lines, unbroken; the last one has SHA-256 {sha256}")?;
        if verified.torn > 0 {
            let torn = verified.torn;
            writeln!(
                out,
                "{torn} bytes of an unfinished line behind it: a power cut, or a daemon at work"
            )?;
        }
        Ok(())
    }
}
