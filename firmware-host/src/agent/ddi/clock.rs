//! When the box comes again: the server's interval, spread, and longer pauses after failures.

use std::time::Duration;

/// Whatever a server says, a box comes at most and at least so often.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The first pause after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// `HH:MM:SS`.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("pause {text:?}, expected HH:MM:SS");
    let parts: Vec<u64> = text
        .split(':')
        .map(|part| {
            let plain = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten().ok_or_else(wrong)
        })
        .collect::<Result<_, _>>()?;
    let [hours, minutes, seconds] = parts[..] else { return Err(wrong()) };
    let time = Duration::from_secs(hours * 3600 + minutes * 60 + seconds);
    Ok(time.clamp(SHORTEST, LONGEST))
}

/// Between nine and eleven tenths, so that boxes switched on together do not stay together.
pub(super) fn spread(time: Duration, random: u8) -> Duration {
    time.mul_f64(0.9 + 0.2 * f64::from(random) / 255.0)
}

/// After so many failures in a row: 5 s, 10 s, 20 s … but no longer than the interval, nor less than the server asks.
pub(super) fn pause(interval: Duration, failures: u32, asked: Option<Duration>) -> Duration {
    let grown = RETRY * 2_u32.pow(failures.saturating_sub(1).min(12));
    let pause = if failures == 0 { interval } else { grown.min(interval) };
    pause.max(asked.unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_interval_is_read_and_kept_within_reason() {
        let seconds = |text| interval(text).map(|time| time.as_secs());
        assert_eq!(seconds("00:05:30"), Ok(330));
        assert_eq!(seconds("1:0:0"), Ok(3600));
        assert_eq!(seconds("00:00:00"), Ok(1));
        assert_eq!(seconds("9999:00:00"), Ok(24 * 3600));
        for wrong in ["", "5", "00:01", "00:01:02:03", "-1:00:00", "00:+1:00", "00:00:99999"] {
            assert!(interval(wrong).unwrap_err().contains("HH:MM:SS"), "{wrong}");
        }
    }

    #[test]
    fn boxes_are_spread_over_a_fifth_of_the_interval() {
        let time = Duration::from_secs(300);
        assert_eq!(spread(time, 0), Duration::from_secs(270));
        assert_eq!(spread(time, 255), Duration::from_secs(330));
    }

    #[test]
    fn pauses_grow_with_failures_up_to_the_interval() {
        let interval = Duration::from_secs(60);
        let seconds = |failures, asked| pause(interval, failures, asked).as_secs();
        let grown: Vec<_> = (0..7).map(|failures| seconds(failures, None)).collect();
        assert_eq!(grown, [60, 5, 10, 20, 40, 60, 60]);
        assert_eq!(seconds(u32::MAX, None), 60);
        assert_eq!(seconds(1, Some(Duration::from_secs(120))), 120);
        assert_eq!(seconds(1, Some(Duration::MAX)), 24 * 3600);
    }
}
