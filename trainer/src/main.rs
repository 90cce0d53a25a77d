//! Command line of the trainer.

use clap::{CommandFactory, Parser, Subcommand};
use log::LevelFilter;
use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use trainer::terminal::{self, Log, Terminal};

/// Trains networks on chest radiographs and their reports
#[derive(Debug, Parser)]
#[command(name = "trainer", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    terminal: Terminal,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Pretrain(trainer::commands::PretrainArgs),
    Bench(trainer::commands::BenchArgs),
    Index(trainer::commands::IndexArgs),
    Phantom(trainer::commands::PhantomArgs),
    Finetune(Box<trainer::commands::FinetuneArgs>),
    Evaluate(trainer::commands::EvaluateArgs),
    Completion(terminal::manual::Completion),
    Manual(terminal::manual::Manual),
    #[command(hide = true)]
    Metrics(trainer::commands::MetricsArgs),
}

fn main() -> ExitCode {
    wait_without_spinning();
    let cli = Cli::parse();
    cli.terminal.start_log(Log { tool: "trainer", level: LevelFilter::Info, clock: true });
    match run(cli.verb, &cli.terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// libgomp's threads spin while they wait, many times slower on a busy machine, unless its variable says otherwise before
/// the process starts: so it starts once more. Whoever sets the variable is left alone.
fn wait_without_spinning() {
    const POLICY: &str = "OMP_WAIT_POLICY";
    if let (None, Ok(program)) = (env::var_os(POLICY), env::current_exe()) {
        let error =
            Command::new(program).args(env::args_os().skip(1)).env(POLICY, "PASSIVE").exec();
        log::debug!("cannot start again with {POLICY}: {error}");
    }
}

fn run(verb: Verb, terminal: &Terminal) -> anyhow::Result<()> {
    match verb {
        Verb::Pretrain(args) => args.run(terminal),
        Verb::Bench(args) => args.run(terminal),
        Verb::Index(args) => args.run(terminal),
        Verb::Phantom(args) => args.run(terminal),
        Verb::Finetune(args) => args.run(terminal),
        Verb::Evaluate(args) => args.run(terminal),
        Verb::Completion(verb) => terminal.completion(Cli::command(), &verb),
        Verb::Manual(verb) => terminal.manual(Cli::command(), &verb),
        Verb::Metrics(args) => args.run(terminal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
