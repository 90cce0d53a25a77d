//! `firmware-host`: agent on the box, verbs on the workstation.

mod address;
mod keys;
mod output;
mod verbs;

use address::Address;
use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Parser, Subcommand};
use firmware_host::agent::{self, Config, Logs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Brings bundles to a box, and looks after it
#[derive(Debug, Parser)]
#[command(version, after_help = firmware_host::exit_table())]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// One JSON document on stdout; failures too, as {"error", "code"}; the agent's log as JSON lines
    #[arg(long, global = true)]
    json: bool,
    /// Tell more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Only errors on stderr
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Agent(AgentArgs),
    /// Makes a key pair: NAME.key (private, readable by you alone) and NAME.pub
    Keygen(verbs::Keygen),
    /// Draws a one-time code at the box, for `enrol` at a workstation within 15 minutes
    Code(verbs::DrawCode),
    /// Makes our key known to a box, and its key to us, by a one-time code that the box drew
    Enrol(verbs::Enrol),
    /// The signed list of who may sign bundles and who may do what
    #[command(subcommand)]
    Keyring(verbs::Keyring),
    /// Looks for boxes on the local network
    Discover(verbs::Discover),
    /// Prints what the box is
    Info(Target),
    /// Measures the way there and back
    Ping(verbs::Ping),
    /// Sends a bundle, or a pack for the bundle that runs, into the slot that does not run
    Push(verbs::Push),
    /// Has the box check the files of its slots again
    Verify(verbs::Verify),
    /// Self-test on the box, then runs the pushed bundle on trial
    Activate(verbs::Activate),
    /// Keeps the bundle on trial, once the daemon's word proves it; without it the old one comes back
    Confirm(verbs::Confirm),
    /// How the trial stands, and what a confirm would lack
    Trial(Target),
    /// Goes back to the other confirmed slot
    Rollback(verbs::Rollback),
    /// Prints both slots and what went wrong last
    Slots(Target),
    /// Prints the box's latest log lines
    Logs(verbs::LogsArgs),
    /// Prints uptime, load, memory, disk and temperatures
    Telemetry(Target),
    /// Prints the X-ray room: lamp, exposures, missing images, detector, interlock
    Room(Target),
    /// Writes all that is known of the box into a folder, for a support case
    Dump(verbs::Dump),
    /// Measures the speed of the link
    Bench(verbs::Bench),
    /// Rolls a bundle or a pack out to the boxes of an inventory, wave by wave
    Fleet(verbs::Fleet),
    /// Installs an SWU image from a file or a USB stick, through the agent that runs on this box
    Offline(verbs::Offline),
    /// Stands between two peers, passes on what they say, and writes it down
    Record(verbs::Record),
    /// Says again what was recorded, and compares the answers
    Replay(verbs::Replay),
    /// Plays an X-ray controller or a box, with faults on request
    Simulate(verbs::Simulate),
    Completion(manual::Completion),
    Manual(manual::Manual),
    /// Wraps a bundle or a pack for update servers and USB sticks, or looks into such an image
    #[command(subcommand)]
    Swu(verbs::SwuVerb),
}

/// Runs the box's end of the link, until killed
#[derive(Debug, Args)]
struct AgentArgs {
    /// See agent.example.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Written once connections are accepted: {"tcp": "address:port", …}
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Whether anything is changed
#[derive(Clone, Copy, Debug, Args)]
struct DryRun {
    /// Change nothing: ask the box how it is, and print what would come of it
    #[arg(long)]
    dry_run: bool,
}

/// The box to talk to
#[derive(Clone, Debug, Args)]
struct Target {
    /// tcp://HOST:PORT, serial:///dev/ttyX[?baud=N] or pty://PATH
    #[arg(long, env = "CXR_DEVICE", value_name = "ADDRESS")]
    device: Address,
    #[command(flatten)]
    keys: keys::Keys,
    /// Give up when the box gives no sign of life for so long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Give up when a single call takes longer, however alive the box is
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    deadline: Duration,
    /// Try again for so long when the link breaks
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    retry: Duration,
    /// Record what crosses the link in a new file, for `replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[expect(clippy::print_stderr, reason = "the one place that prints errors")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut logger = env_logger::Builder::new();
    logger.filter_level(match (cli.quiet, cli.verbose) {
        (true, _) => log::LevelFilter::Error,
        (false, 0) => log::LevelFilter::Info,
        (false, 1) => log::LevelFilter::Debug,
        (false, _) => log::LevelFilter::Trace,
    });
    if cli.json && matches!(cli.verb, Verb::Agent(_)) {
        logger.format(output::log_line);
    }
    let installed = Logs::install(logger.build());
    let output = output::Output { json: cli.json, quiet: cli.quiet };
    let done = installed.map_err(Into::into).and_then(|()| run(cli.verb, output));
    let Err(error) = done else { return ExitCode::SUCCESS };
    if cli.json {
        output.failure(&error);
    }
    eprintln!("error: {}", format!("{error:#}").replace('\n', " "));
    output::kind(&error).status().into()
}

fn run(verb: Verb, output: output::Output) -> Result<()> {
    match verb {
        Verb::Agent(args) => agent::run(Config::read(&args.config)?, args.ready_file.as_deref()),
        Verb::Keygen(verb) => verb.run(output),
        Verb::Code(verb) => verb.run(output),
        Verb::Enrol(verb) => verb.run(output),
        Verb::Keyring(verb) => verb.run(output),
        Verb::Discover(verb) => verb.run(output),
        Verb::Info(target) => verbs::info(&target, output),
        Verb::Ping(verb) => verb.run(output),
        Verb::Push(verb) => verb.run(output),
        Verb::Verify(verb) => verb.run(output),
        Verb::Activate(verb) => verb.run(output),
        Verb::Confirm(verb) => verb.run(output),
        Verb::Trial(target) => verbs::trial_state(&target, output),
        Verb::Rollback(verb) => verb.run(output),
        Verb::Slots(target) => verbs::slots(&target, output),
        Verb::Logs(verb) => verb.run(output),
        Verb::Telemetry(target) => verbs::telemetry(&target, output),
        Verb::Room(target) => verbs::room(&target, output),
        Verb::Dump(verb) => verb.run(output),
        Verb::Bench(verb) => verb.run(output),
        Verb::Fleet(verb) => verb.run(output),
        Verb::Offline(verb) => verb.run(output),
        Verb::Record(verb) => verb.run(output),
        Verb::Replay(verb) => verb.run(output),
        Verb::Simulate(verb) => verb.run(output),
        Verb::Completion(manual::Completion { shell }) => {
            let script = manual::script(Cli::command(), shell);
            let document = serde_json::json!({ "shell": shell.to_string(), "script": script });
            output.say(script.trim_end(), &document)
        }
        Verb::Manual(manual::Manual { folder }) => {
            let pages = manual::write_pages(Cli::command(), &folder)
                .with_context(|| format!("cannot write man pages into {}", folder.display()))?;
            let said = format!("{} pages in {}", pages.len(), folder.display());
            output.say(&said, &serde_json::json!({ "pages": pages }))
        }
        Verb::Swu(verb) => verb.run(output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
