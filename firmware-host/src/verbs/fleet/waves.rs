//! How many boxes at a time, and when to stop: pure rules.

use std::fmt;
use std::str::FromStr;

/// A part of the boxes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    Count(usize),
    /// Percent.
    Share(f64),
    Rest,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}, expected a count, a share such as 5% or \"rest\"");
        if text == "rest" {
            return Ok(Self::Rest);
        }
        match text.strip_suffix('%') {
            Some(share) => {
                let share = share.parse().map_err(|_| wrong())?;
                if share > 0.0 && share <= 100.0 { Ok(Self::Share(share)) } else { Err(wrong()) }
            }
            None => text.parse().ok().filter(|&n| n > 0).map(Self::Count).ok_or_else(wrong),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(share) => write!(f, "{share}%"),
            Self::Rest => write!(f, "rest"),
        }
    }
}

impl Part {
    /// Of `total`, rounded up.
    fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Share(share) => (total as f64 * share / 100.0).ceil() as usize,
            Self::Rest => total,
        }
    }
}

/// The sizes of the waves of `total` boxes. What the parts leave over is a last wave.
pub(super) fn sizes(parts: &[Part], total: usize) -> Vec<usize> {
    let mut left = total;
    let mut sizes = Vec::new();
    for part in parts.iter().copied().chain([Part::Rest]) {
        let size = part.of(total).min(left);
        if size > 0 {
            sizes.push(size);
            left -= size;
        }
    }
    sizes
}

/// Whether so many failures among the `size` boxes of a wave are too many.
pub(super) fn is_halted(limit: Part, failed: usize, size: usize) -> bool {
    failed > 0 && failed >= limit.of(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<Part> {
        text.split(',').map(|part| part.parse().unwrap()).collect()
    }

    #[test]
    fn waves_hold_every_box_once() {
        assert_eq!(sizes(&parts("1,5%,rest"), 200), [1, 10, 189]);
        assert_eq!(sizes(&parts("1,5%,rest"), 3), [1, 1, 1]);
        assert_eq!(sizes(&parts("1,5%,rest"), 1), [1]);
        assert_eq!(sizes(&parts("2"), 7), [2, 5]);
        assert_eq!(sizes(&parts("50%,50%"), 5), [3, 2]);
        for total in 1..300 {
            assert_eq!(sizes(&parts("3,7%,20%,rest"), total).iter().sum::<usize>(), total);
        }
    }

    #[test]
    fn a_part_is_written_as_it_is_read() {
        for text in ["1", "5%", "2.5%", "rest"] {
            assert_eq!(text.parse::<Part>().unwrap().to_string(), text);
        }
        for wrong in ["", "0", "-1", "0%", "101%", "NaN%", "all", "5 %"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wave_halts_at_a_count_or_a_share() {
        let halted = |limit: &str, failed, size| is_halted(limit.parse().unwrap(), failed, size);
        assert!(!halted("1", 0, 10) && halted("1", 1, 10));
        assert!(!halted("3", 2, 10) && halted("3", 3, 10));
        assert!(!halted("20%", 1, 10) && halted("20%", 2, 10));
        assert!(!halted("rest", 9, 10) && halted("rest", 10, 10));
        assert!(!halted("5%", 0, 3) && halted("5%", 1, 3));
    }
}
