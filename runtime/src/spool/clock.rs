//! A clock for purging by age. Pure.
//!
//! The clock on the wall may jump: a battery is empty, a time server is wrong, somebody types a year. A jump ahead would
//! make every image old at once. So the wall is followed as long as it goes about as fast as time does, and back
//! whenever it goes back. A jump ahead is believed once it has lasted for a day, in which somebody may notice. The
//! price: after a box was off, what is overdue stays a day longer.

use std::time::{Duration, Instant, SystemTime};

/// As much may the wall be ahead between two looks: a time server corrects that much.
const TOLERANCE: Duration = Duration::from_secs(600);
/// So long must a jump last until it is believed.
const DOUBT: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What was believed, and when by a clock that nobody sets.
    believed: (SystemTime, Instant),
    /// Since when the wall has been ahead.
    doubted: Option<Instant>,
}

impl Clock {
    /// `last`: the newest time that is known to have been, such as that of the newest file.
    pub(super) fn new(last: SystemTime, at: Instant) -> Self {
        Self { believed: (last, at), doubted: None }
    }

    /// The time to purge by.
    pub(super) fn now(&mut self, wall: SystemTime, at: Instant) -> SystemTime {
        let (time, then) = self.believed;
        let expected = time + at.saturating_duration_since(then);
        let ahead = wall.duration_since(expected).unwrap_or_default();
        if ahead > TOLERANCE {
            let since = *self.doubted.get_or_insert_with(|| {
                log::warn!("the clock jumped {ahead:?} ahead: nothing is purged by it for a day");
                at
            });
            if at.saturating_duration_since(since) < DOUBT {
                return expected;
            }
            log::warn!("the clock has been {ahead:?} ahead for a day: it is believed");
        }
        *self = Self::new(wall, at);
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A clock, and what it says so long after the start with the wall so far ahead of that.
    fn at(
        clock: &mut Clock,
        start: (SystemTime, Instant),
        after: Duration,
        ahead: Duration,
    ) -> Duration {
        let wall = start.0 + after + ahead;
        clock.now(wall, start.1 + after).duration_since(start.0).unwrap()
    }

    fn start() -> (Clock, (SystemTime, Instant)) {
        let start = (SystemTime::UNIX_EPOCH + HOUR * 24 * 20_000, Instant::now());
        (Clock::new(start.0, start.1), start)
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_believed_after_a_day_and_not_before() {
        let (mut clock, start) = start();
        let years = HOUR * 24 * 3650;
        assert_eq!(at(&mut clock, start, HOUR, Duration::ZERO), HOUR);
        for hours in 2..26 {
            assert_eq!(at(&mut clock, start, HOUR * hours, years), HOUR * hours);
        }
        assert_eq!(at(&mut clock, start, HOUR * 26, years), HOUR * 26 + years);
        assert_eq!(at(&mut clock, start, HOUR * 27, years), HOUR * 27 + years, "and from then on");
    }

    #[test]
    fn a_jump_that_is_taken_back_leaves_no_trace() {
        let (mut clock, start) = start();
        let years = HOUR * 24 * 3650;
        assert_eq!(at(&mut clock, start, HOUR, years), HOUR);
        assert_eq!(at(&mut clock, start, HOUR * 20, Duration::ZERO), HOUR * 20);
        assert_eq!(at(&mut clock, start, HOUR * 30, years), HOUR * 30, "doubted anew");
        assert_eq!(at(&mut clock, start, HOUR * 31, Duration::ZERO), HOUR * 31);
    }

    #[test]
    fn small_corrections_and_a_clock_that_goes_back_are_followed() {
        let (mut clock, start) = start();
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert_eq!(at(&mut clock, start, HOUR, minutes(9)), HOUR + minutes(9));
        let back = start.0 - HOUR * 100;
        assert_eq!(clock.now(back, start.1 + HOUR * 2), back);
    }
}
