//! What trainer and exporter say, and where: results on stdout, everything else on stderr.
//!
//! ```
//! # #[derive(clap::Parser)] struct Cli { #[command(flatten)] terminal: terminal::Terminal }
//! # use clap::Parser;
//! let terminal = Cli::parse_from(["tool", "--json"]).terminal; // flattened into the tool's own flags
//! terminal.json(&["one line", "one document"])?;
//! terminal.say("for people: not with --json")?;
//! # Ok::<(), std::io::Error>(())
//! ```

pub use ::manual;

use anyhow::Context;
use clap::{ArgAction, Args};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::LevelFilter;
use serde::Serialize;
use serde_json::json;
use std::io::{self, IsTerminal, Write};

/// Flags every verb takes.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Terminal {
    /// Machine-readable results: JSON on stdout, one document or one line per event
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// How a tool logs.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// Name of its crate.
    pub tool: &'static str,
    /// Without `-v` and `-q`.
    pub level: LevelFilter,
    /// Long work wants to know when; short work does not.
    pub clock: bool,
}

impl Terminal {
    /// No line, no bar: for work inside other work, and for tests.
    pub const SILENT: Self = Self { json: false, verbose: 0, quiet: true };

    pub fn start_log(self, log: Log) {
        let steps = usize::from(self.verbose);
        let more = LevelFilter::iter().filter(|level| *level >= log.level).nth(steps);
        let level =
            if self.quiet { LevelFilter::Error } else { more.unwrap_or(LevelFilter::Trace) };
        // Libraries only from `-vv` on: tract tells every optimisation it makes.
        let others = if self.verbose > 1 { LevelFilter::Info } else { LevelFilter::Error };
        let mut logger = env_logger::Builder::new();
        if !log.clock {
            logger.format_timestamp(None);
        }
        logger.filter_level(others).filter_module(log.tool, level).format_target(false).init();
    }

    /// One JSON line on stdout, if the user asked for JSON.
    pub fn json(&self, value: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
        line.push(b'\n');
        wanted(io::stdout().lock().write_all(&line))
    }

    /// A line for people on stdout; nothing with `--json` or `--quiet`.
    pub fn say(&self, line: impl AsRef<str>) -> io::Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        wanted(writeln!(io::stdout().lock(), "{}", line.as_ref()))
    }

    /// What the user asked for, as JSON or as text, with `--quiet` too.
    pub fn print(&self, document: &impl Serialize, text: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(self.json(document)?);
        }
        Ok(wanted(writeln!(io::stdout().lock(), "{}", text.trim_end()))?)
    }

    /// What a shell reads to complete the tool's words.
    pub fn completion(&self, tool: clap::Command, verb: &manual::Completion) -> anyhow::Result<()> {
        let script = manual::script(tool, verb.shell);
        let document = json!({ "shell": verb.shell.to_string(), "script": script });
        self.print(&document, &script)
    }

    /// Writes the tool's man pages.
    pub fn manual(&self, tool: clap::Command, verb: &manual::Manual) -> anyhow::Result<()> {
        let folder = &verb.folder;
        let pages = manual::write_pages(tool, folder)
            .with_context(|| format!("cannot write man pages into {}", folder.display()))?;
        let said = format!("{} pages in {}", pages.len(), folder.display());
        self.print(&json!({ "pages": pages }), &said)
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

/// A reader that has seen enough, such as `head`, is no failure.
fn wanted(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// `error: outermost: … : cause`, on one line.
pub fn error(error: &anyhow::Error) {
    let text = format!("error: {error:#}").replace('\n', " ");
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
