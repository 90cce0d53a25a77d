//! What a person or a program sees: lines, JSON, progress. Logs go to stderr.

use clap::{ArgAction, Args};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::LevelFilter;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Flags every verb takes.
#[derive(Clone, Debug, Args)]
pub struct TerminalArgs {
    /// Machine-readable results: JSON on stdout, one document or one line per event
    #[arg(long, global = true)]
    json: bool,
    /// More log lines; repeat for more still
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    pub json: bool,
    pub quiet: bool,
}

impl TerminalArgs {
    /// Starts logging and says where results go.
    pub fn open(&self) -> Terminal {
        let level = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Error,
            (_, 0) => LevelFilter::Info,
            (_, 1) => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        };
        env_logger::Builder::new()
            .filter_level(LevelFilter::Warn)
            .filter_module("trainer", level)
            .format_target(false)
            .init();
        Terminal { json: self.json, quiet: self.quiet }
    }
}

impl Terminal {
    /// One JSON line on stdout, if the user asked for JSON.
    pub fn json(&self, value: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
        line.push(b'\n');
        io::stdout().lock().write_all(&line)
    }

    /// A line for people on stdout; nothing with `--json` or `--quiet`.
    pub fn say(&self, line: impl AsRef<str>) -> io::Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        writeln!(io::stdout().lock(), "{}", line.as_ref())
    }

    /// A bar over `length` units on stderr; invisible where nobody watches.
    pub fn progress(&self, length: u64) -> ProgressBar {
        let watched = !self.json && !self.quiet && io::stderr().is_terminal();
        let target =
            if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {eta} {wide_msg}")
            .expect("the template is valid");
        ProgressBar::with_draw_target(Some(length), target).with_style(style)
    }
}
