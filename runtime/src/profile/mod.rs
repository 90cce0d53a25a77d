//! What this machine computes with: how many threads, on which cores, and how many of them while it is too hot.
//!
//! ```text
//! machine   what the kernel tells        threads   the number, and the cores they are bound to
//! cooling   how hot it is from now on    verb      `runtime device`
//! ```
//!
//! `[worker]` has the last word: `threads`, `profile`, `pin`, `derate`. See `docs/device-profiles.md`.

mod cooling;
mod threads;
mod verb;

pub(crate) use cooling::Cooling;
pub(crate) use threads::Threads;
pub(crate) use verb::Device;

use crate::config::WorkerConfig;
use machine::{Board, Machine};
use protocol::{Heat, Power};
use serde::Serialize;

/// What is computed with, chosen once at the start.
#[derive(Debug)]
pub(crate) struct Compute {
    pub(crate) threads: Threads,
    pub(crate) cooling: Cooling,
    machine: Machine,
    profile: protocol::Profile,
}

/// For `/health`, the page and the metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Status {
    pub(crate) profile: String,
    /// How many there are, and how many of them work now.
    pub(crate) threads: usize,
    pub(crate) working: usize,
    /// The cores that they are bound to; empty: to none.
    pub(crate) cores: Vec<u16>,
    pub(crate) power: Vec<Power>,
    pub(crate) heat: Heat,
}

impl Compute {
    pub(crate) fn new(config: &WorkerConfig) -> Self {
        let machine = Machine::new(&config.sysroot);
        let board = config.profile.unwrap_or_else(|| machine.known_board());
        let profile = machine.profile(board);
        let threads = Threads::choose(&profile, config);
        let cooling = Cooling::new(machine.clone(), board, config.derate);
        Self { threads, cooling, machine, profile }
    }

    /// What it was taken for, and what it is by itself, if that is something else.
    pub(crate) fn contradiction(config: &WorkerConfig) -> Option<(Board, Board)> {
        let found = Machine::new(&config.sysroot).known_board();
        config.profile.filter(|told| *told != found).map(|told| (told, found))
    }

    /// How it is now. Reads what the kernel says.
    pub(crate) fn status(&self) -> Status {
        let heat = self.cooling.look();
        Status {
            profile: self.profile.name.clone(),
            threads: self.threads.count,
            working: heat.derating.threads(self.threads.count),
            cores: self.threads.cores.clone(),
            power: self.machine.power(),
            heat,
        }
    }

    pub(crate) fn log(&self) {
        let Threads { count, cores } = &self.threads;
        let bound = if cores.is_empty() { String::new() } else { format!(" on cores {cores:?}") };
        log::info!("{}: {count} threads{bound}", self.profile.name);
    }
}

impl Status {
    /// What somebody should look at.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let hot = (self.working < self.threads || self.heat.derating > protocol::Derating::None)
            .then(|| machine::hot(&self.heat))
            .flatten();
        let supply = self.power.iter().filter(|power| power.by == "supply");
        let supply =
            supply.filter_map(|power| Some(format!("{}: {}", power.mode, power.advice.as_ref()?)));
        hot.map(|what| format!("the machine is too hot: {what}; images take longer"))
            .into_iter()
            .chain(supply)
            .collect()
    }
}

#[cfg(test)]
mod tests;
