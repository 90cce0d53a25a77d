//! All of it together, and for people.

use crate::{Board, Machine};
use protocol::{Derating, Heat, Profile};

impl Machine {
    /// What there is to compute with. `board`: what it is taken for, see [`Machine::known_board`].
    pub fn profile(&self, board: Board) -> Profile {
        let cores = self.cores();
        let choice = self.choose(&cores);
        Profile {
            name: board.to_string(),
            chosen: choice.cores,
            // The cores of a virtual machine are nobody's: its host moves them about.
            pinned: choice.pinned && board != Board::VirtualMachine,
            cores,
            power: self.power(),
            heat: self.heat(board, Derating::None),
        }
    }
}

/// A profile for people, a line a subject.
pub fn describe(profile: &Profile) -> Vec<String> {
    let Profile { name, cores, chosen, pinned, power, heat } = profile;
    let told = cores.len();
    let numbers: Vec<String> = chosen.iter().map(u16::to_string).collect();
    let how = if *pinned { "bound to" } else { "one each for" };
    let mut lines = vec![format!(
        "{name}: {} of {told} cores compute, threads {how} {}",
        chosen.len(),
        if numbers.is_empty() { "none".into() } else { numbers.join(", ") }
    )];
    lines.extend(power.iter().map(|power| match &power.advice {
        Some(advice) => format!("{} {}: {advice}", power.by, power.mode),
        None => format!("{} {}", power.by, power.mode),
    }));
    lines.extend(hot(heat));
    lines
}

/// The sensor that is nearest to its limit, and what follows.
pub fn hot(heat: &Heat) -> Option<String> {
    let (sensor, celsius, limit) = (heat.sensor.as_ref()?, heat.celsius?, heat.limit?);
    let follows = match heat.derating {
        Derating::None => "all threads",
        Derating::Threads => "half the threads until it is cooler",
        Derating::Pauses => "one thread, with pauses, until it is cooler",
    };
    Some(format!("{sensor} {celsius:.1} °C, limit {limit:.1} °C: {follows}"))
}
