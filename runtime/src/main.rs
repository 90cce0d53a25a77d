//! The binary on the box: `serve`, `analyze`, `queue`, `drift`, `dicom`, `bench`, `acceptance`, `user`, ….
//!
//! Start at [`serve::run`] for the daemon, at [`analysis`] for what happens to one image.

mod acceptance;
mod analysis;
mod analyze;
mod audit;
mod bench;
mod check;
mod config;
mod configuration;
mod current;
mod device;
mod dial;
mod dicom;
mod dicomweb;
mod drift;
mod exposures;
mod forced;
mod health;
mod http;
mod instances;
mod logbook;
mod looks;
mod metrics;
mod model;
mod outbox;
mod overlay;
mod packs;
mod pictures;
mod profile;
mod queue;
mod reload;
mod replay;
mod running;
mod selftest;
mod serve;
mod setup;
mod shadow;
mod shutdown;
mod spool;
mod tls;
mod trouble;
mod trust;
mod uid;
mod user;
mod users;
mod worker;

use anyhow::{Context, Result};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use machine::{heartbeat, notify};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Chest radiographs in, findings out; on the box or at the desk
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    output: Output,
}

/// What goes where.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Print JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Findings for DICOM, PNG or JPEG files
    Analyze(analyze::Analyze),
    /// Receives images by DICOM and shows findings over HTTP
    Serve(Serve),
    /// Writes a checked configuration and tests the whole chain with it
    Setup(Box<setup::Setup>),
    /// Deliveries of results: what waits, what failed, and what to do about it
    Queue(queue::Queue),
    /// A second bundle that looks at the same images: how far it agrees
    Shadow(shadow::ShadowVerb),
    /// Whether images look as they did when the network was calibrated
    Drift(drift::DriftVerb),
    /// Talks to other DICOM nodes
    Dicom {
        #[command(subcommand)]
        verb: DicomVerb,
    },
    /// Measures latency, throughput and memory
    Bench(bench::Bench),
    /// Reproduces the bundle's golden vectors on this machine
    Selftest(selftest::Selftest),
    /// Shows what this machine computes with: cores, threads, power mode, heat
    Device(profile::Device),
    /// Says whether a result came from an image and a bundle, or what differs
    Replay(replay::Replay),
    /// Tests the daemon on a site's own studies with known truth, and writes a report to file
    Acceptance(acceptance::Acceptance),
    /// Looks at the audit log
    Audit(audit::AuditVerb),
    /// Says who may log in to the page
    User(user::User),
    Completion(manual::Completion),
    Manual(manual::Manual),
}

#[derive(Debug, Subcommand)]
enum DicomVerb {
    /// Asks a peer for an answer (C-ECHO), and what it would take from us
    Ping(dicom::ping::Ping),
    /// Prints the DICOM conformance statement of this build
    Conformance(dicom::conformance::Conformance),
}

/// Receives images by DICOM and shows findings over HTTP
#[derive(Debug, Args)]
struct Serve {
    /// Configuration, see runtime/runtime.toml
    #[arg(long)]
    config: PathBuf,
    /// Written once everything listens: {"dicom":"HOST:PORT","http":"HOST:PORT"}
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// Say what is wrong with the configuration, keys, certificates, bundle, folders; start nothing
    #[arg(long)]
    check: bool,
}

impl Output {
    /// Whether somebody wants to hear more than usual.
    pub(crate) fn is_verbose(self) -> bool {
        self.verbose > 0
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match (cli.output.quiet, cli.output.verbose) {
        (true, _) => "error",
        (_, 0) => "warn,runtime=info",
        (_, 1) => "info,runtime=debug",
        (_, _) => "debug",
    };
    let filter = env_logger::Env::default().default_filter_or(level);
    let logger = env_logger::Builder::from_env(filter).build();
    log::set_max_level(logger.filter());
    log::set_boxed_logger(Box::new(logbook::Tee(logger))).expect("the only logger");
    match run(cli) {
        Ok(code) => code,
        // `analyze … | head` is no failure of ours.
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.verb {
        Verb::Analyze(analyze) => analyze.run(cli.output),
        Verb::Serve(serve) => serve.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Setup(setup) => setup.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Queue(queue) => queue.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Shadow(shadow) => shadow.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Drift(drift) => drift.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Dicom { verb: DicomVerb::Ping(ping) } => {
            ping.run(cli.output).map(|()| ExitCode::SUCCESS)
        }
        Verb::Dicom { verb: DicomVerb::Conformance(conformance) } => {
            conformance.run(cli.output).map(|()| ExitCode::SUCCESS)
        }
        Verb::Bench(bench) => bench.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::User(user) => user.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Selftest(selftest) => selftest.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Device(device) => device.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Replay(replay) => replay.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Acceptance(acceptance) => acceptance.run(cli.output),
        Verb::Audit(audit) => audit.run(cli.output).map(|()| ExitCode::SUCCESS),
        Verb::Completion(completion) => {
            print_completion(&completion, cli.output).map(|()| ExitCode::SUCCESS)
        }
        Verb::Manual(manual) => write_manual(&manual, cli.output).map(|()| ExitCode::SUCCESS),
    }
}

impl Serve {
    fn run(self, output: Output) -> Result<()> {
        if self.check {
            return check::run(&self.config, output);
        }
        let config = config::Config::read(&self.config)?;
        serve::serve(&self.config, config, self.ready_file.as_deref(), |ready| {
            if output.json {
                let _ = print_json(ready);
            }
        })
    }
}

fn print_completion(completion: &manual::Completion, output: Output) -> Result<()> {
    let script = manual::script(Cli::command(), completion.shell);
    if output.json {
        return print_json(
            &serde_json::json!({ "shell": completion.shell.to_string(), "script": script }),
        );
    }
    Ok(io::stdout().write_all(script.as_bytes())?)
}

fn write_manual(manual: &manual::Manual, output: Output) -> Result<()> {
    let folder = &manual.folder;
    let pages = manual::write_pages(Cli::command(), folder)
        .with_context(|| format!("cannot write man pages into {}", folder.display()))?;
    if output.json {
        return print_json(&serde_json::json!({ "pages": pages }));
    }
    Ok(writeln!(io::stdout(), "{} pages in {}", pages.len(), folder.display())?)
}

/// One line of JSON on standard output.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    io::stdout().write_all(&line)?;
    Ok(())
}

/// What a panic says may quote an image; where it happened does not.
pub(crate) fn panics_without_their_words() {
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(place) => log::error!("panicked at {place}"),
        None => log::error!("panicked"),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
