//! What the commands say and where: results on stdout, everything else on stderr.

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::LevelFilter;
use serde::Serialize;
use std::io::{self, Write};

/// Flags every verb has.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Terminal {
    /// Print JSON on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

impl Terminal {
    pub(crate) fn start_log(self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Error,
            (false, 0) => LevelFilter::Warn,
            (false, 1) => LevelFilter::Info,
            (false, _) => LevelFilter::Debug,
        };
        // Libraries only from `-vv` on: tract tells every optimisation it makes.
        let others = if self.verbose > 1 { LevelFilter::Info } else { LevelFilter::Error };
        env_logger::Builder::new()
            .filter_level(others)
            .filter_module("exporter", level)
            .format_timestamp(None)
            .init();
    }

    /// A bar on stderr, invisible where nobody watches.
    pub(crate) fn progress(self, what: &'static str) -> ProgressBar {
        let target =
            if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}")
            .expect("the template is a constant");
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        bar.with_message(what)
    }

    /// One JSON object on a line of its own, or `text`.
    pub(crate) fn print(self, document: &impl Serialize, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(document)?)?;
        } else {
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// `error: outermost: … : cause`, on one line.
pub(crate) fn error(error: &anyhow::Error) {
    let text = format!("error: {error:#}").replace('\n', " ");
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
