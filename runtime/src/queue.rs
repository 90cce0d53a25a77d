//! `runtime queue`: looks at the outbox and decides about single deliveries.
//!
//! It works on the database in the spool, whether a daemon runs or not. A running one looks every second, and writes
//! into the audit log who decided what.

use crate::{
    Output,
    config::Config,
    outbox::{self, Database, DatabaseError, Filter, Millis, Row, State},
    print_json,
};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

/// Deliveries of results: what waits, what failed, and what to do about it
#[derive(Debug, Args)]
pub(crate) struct Queue {
    /// Configuration of the daemon; it may run or not
    #[arg(long, global = true, default_value = "runtime.toml")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows deliveries, the newest first
    List {
        /// Also those that are delivered or dropped
        #[arg(long)]
        all: bool,
        /// Only waiting, sent, committed, dead or dropped ones
        #[arg(long)]
        state: Option<State>,
        /// Only those of one destination
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Sends again, or asks again for commitment: now
    Retry(Which),
    /// Leaves alone until released
    Hold(Which),
    /// Ends a hold
    Release(Which),
    /// Gives up for good; the image may then be purged
    Drop {
        #[command(flatten)]
        which: Which,
        /// Why, for whoever looks later; no patient's name
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Which deliveries.
#[derive(Debug, Args)]
#[group(required = true)]
struct Which {
    /// Numbers, see `list`
    #[arg(value_name = "ID")]
    ids: Vec<i64>,
    /// All dead ones
    #[arg(long, conflicts_with = "ids")]
    dead: bool,
}

impl Queue {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let config = Config::read(&self.config)?;
        let path = outbox::path_in(&config.spool.path);
        let now = outbox::wall_clock()();
        let mut database = Database::open_kept(&path, now as u64)?;
        let destinations = config.destinations;
        let rows = match self.verb {
            Verb::List { all, state, destination, limit } => {
                let open = !all && state.is_none();
                database.list(&Filter { state, open, destination, before: None, limit })?
            }
            Verb::Retry(which) => which.decide(&mut database, "retry", now, |database, id| {
                outbox::retry(database, id, &destinations, now)
            })?,
            Verb::Hold(which) => which.decide(&mut database, "hold", now, |database, id| {
                outbox::hold(database, id, true)
            })?,
            Verb::Release(which) => {
                which.decide(&mut database, "release", now, |database, id| {
                    outbox::hold(database, id, false)
                })?
            }
            Verb::Drop { which, reason } => {
                which.decide(&mut database, "drop", now, |database, id| {
                    outbox::drop_row(database, id, &reason, &destinations, now)
                })?
            }
        };
        if output.json { print_json(&rows) } else { table(&rows, now) }
    }
}

impl Which {
    fn decide(
        &self,
        database: &mut Database,
        decision: &str,
        now: Millis,
        act: impl Fn(&mut Database, i64) -> Result<Row, DatabaseError>,
    ) -> Result<Vec<Row>> {
        let ids: Vec<i64> = if self.dead {
            let limit = i64::MAX as usize;
            let dead = Filter { state: Some(State::Dead), limit, ..Filter::default() };
            database.list(&dead)?.iter().map(|row| row.id).collect()
        } else {
            // All or nothing: a number that is wrong is likely to be a mistake about the others too.
            for id in &self.ids {
                database.row(*id)?;
            }
            self.ids.clone()
        };
        let who = who();
        let decide = |id| database.decide(&who, decision, id, now, |database| act(database, id));
        Ok(ids.into_iter().map(decide).collect::<Result<_, _>>()?)
    }
}

/// Whom the audit log names: the user by number, and who logged in where that is another (`sudo`).
fn who() -> String {
    let user = rustix::process::getuid().as_raw();
    let log_in = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    // The largest number stands for nobody: a service, or a container.
    match log_in.trim().parse::<u32>() {
        Ok(other) if other != u32::MAX && other != user => {
            format!("runtime queue, uid {user}, logged in as uid {other}")
        }
        _ => format!("runtime queue, uid {user}"),
    }
}

fn table(rows: &[Row], now: Millis) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:>7}  {:<10} {:<4} {:<16} {:>7}  IMAGE", "ID", "STATE", "KIND", "TO", "AGE")?;
    for row in rows {
        let held = if row.held { " held" } else { "" };
        let urgent = if row.urgent { " urgent" } else { "" };
        let age = humantime::format_duration(std::time::Duration::from_secs(
            (now - row.created).max(0) as u64 / 1000,
        ));
        let age = age.to_string().split(' ').next().unwrap_or_default().to_owned();
        writeln!(
            out,
            "{:>7}  {:<10} {:<4} {:<16} {age:>7}  {}{urgent}{held}",
            row.id,
            row.progress.state.to_string(),
            row.kind.to_string(),
            row.via,
            row.source,
        )?;
        if let Some(reason) = &row.progress.reason {
            writeln!(out, "         {reason}")?;
        }
    }
    Ok(())
}
