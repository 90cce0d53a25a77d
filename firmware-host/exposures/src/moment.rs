//! When something happened, by two clocks: one that people set, and one that nobody sets but a reboot.

use machine::Machine;
use protocol::BootId;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// Two moments of one boot are compared by the clock that nobody sets; others by the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Which boot of the machine; zeros where that is not known.
    pub boot: [u8; 16],
    /// Milliseconds since it, sleep included.
    pub since_boot: u64,
    /// Milliseconds since 1970 by the calendar clock.
    pub wall: u64,
}

impl Moment {
    pub fn now() -> Self {
        let protocol::Moment { boot, uptime, .. } = Machine::new("/".as_ref()).moment();
        let calendar = Self::of_wall(SystemTime::now());
        let known = boot != BootId::UNKNOWN;
        let since_boot = if known { milliseconds(uptime) } else { 0 };
        Self { boot: boot.0, since_boot, ..calendar }
    }

    /// One that is known by the calendar alone.
    pub fn of_wall(time: SystemTime) -> Self {
        let wall = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { boot: [0; 16], since_boot: 0, wall: milliseconds(wall) }
    }

    /// So much earlier. Before the boot there is only the calendar.
    #[must_use]
    pub fn earlier(self, by: Duration) -> Self {
        let by = milliseconds(by);
        let wall = self.wall.saturating_sub(by);
        match self.since_boot.checked_sub(by) {
            Some(since_boot) if self.boot != [0; 16] => Self { since_boot, wall, ..self },
            _ => Self { boot: [0; 16], since_boot: 0, wall },
        }
    }

    /// Milliseconds from `earlier` to here; negative if it is later.
    ///
    /// Across a reboot it is what the calendar says, and never less than the time since the boot.
    pub fn since(&self, earlier: &Self) -> i64 {
        let difference = |to: u64, from: u64| to.cast_signed().saturating_sub(from.cast_signed());
        if self.boot == earlier.boot && self.boot != [0; 16] {
            return difference(self.since_boot, earlier.since_boot);
        }
        let by_wall = difference(self.wall, earlier.wall);
        // Of an earlier boot: it was before this one began, whatever the calendar says.
        let both_known = self.boot != [0; 16] && earlier.boot != [0; 16];
        if both_known { by_wall.max(self.since_boot.cast_signed()) } else { by_wall }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(boot: u8, since_boot: u64, wall: u64) -> Moment {
        Moment { boot: [boot; 16], since_boot, wall }
    }

    #[test]
    fn a_clock_that_is_set_changes_nothing_within_a_boot() {
        let before = at(1, 1_000, 1_800_000_000_000);
        assert_eq!(at(1, 4_000, 7).since(&before), 3_000);
        assert_eq!(before.since(&at(1, 4_000, 7)), -3_000);
    }

    #[test]
    fn across_a_boot_the_calendar_counts_unless_it_went_back() {
        let before = at(1, 900_000, 1_000_000);
        assert_eq!(at(2, 5_000, 1_060_000).since(&before), 60_000);
        assert_eq!(at(2, 5_000, 10).since(&before), 5_000);
    }

    #[test]
    fn what_is_known_by_the_calendar_alone_is_compared_by_it() {
        let file = Moment::of_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        assert_eq!(at(2, 5_000, 1_060_000).since(&file), 60_000);
        assert_eq!(file.since(&at(2, 5_000, 1_060_000)), -60_000);
    }

    #[test]
    fn earlier_than_the_boot_is_no_moment_of_it() {
        let now = at(1, 5_000, 100_000);
        assert_eq!(now.earlier(Duration::from_secs(2)), at(1, 3_000, 98_000));
        assert_eq!(now.earlier(Duration::from_secs(9)), at(0, 0, 91_000));
    }

    #[test]
    fn this_machine_knows_its_boot_and_its_clock_runs() {
        let first = Moment::now();
        assert_ne!((first.boot, first.since_boot), ([0; 16], 0));
        assert!(Moment::now().since(&first) >= 0);
    }
}
