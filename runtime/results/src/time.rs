//! Times of the record as DICOM writes them.

use crate::ResultsError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// `YYYYMMDD` and `HHMMSS`, in the time zone of the source if it says which.
    pub(crate) date: String,
    pub(crate) time: String,
    /// `YYYYMMDDHHMMSS+0000`
    pub(crate) utc: String,
}

impl Moment {
    /// `rfc3339` in UTC; `offset`: Timezone Offset From UTC of the source, `+0100`, or nothing.
    ///
    /// The source's offset is copied, and holds for every date and time of an object.
    pub(crate) fn new(rfc3339: &str, offset: &str) -> Result<Self, ResultsError> {
        // A day from either end, so that no offset leads out of what can be written.
        let (day, end) = (Duration::from_secs(86_400), Duration::from_secs(253_402_300_800));
        let is_usual = |at: &SystemTime| {
            at.duration_since(UNIX_EPOCH).is_ok_and(|since| (day..end - day).contains(&since))
        };
        let utc = humantime::parse_rfc3339(rfc3339).ok().filter(is_usual).ok_or_else(|| {
            ResultsError::Record {
                name: "analysed",
                found: rfc3339.chars().take(40).collect(),
                expected: "a time such as 2026-11-29T14:35:00Z",
            }
        })?;
        let shift = Duration::from_secs(minutes(offset).map_or(0, i64::unsigned_abs) * 60);
        let local = if offset.starts_with('-') { utc - shift } else { utc + shift };
        let [date, time] = date_and_time(local);
        let [utc_date, utc_time] = date_and_time(utc);
        Ok(Self { date, time, utc: format!("{utc_date}{utc_time}+0000") })
    }
}

/// Whether text is a time zone offset (PS3.3 C.12.1).
pub(crate) fn is_offset(text: &str) -> bool {
    minutes(text).is_some()
}

fn minutes(offset: &str) -> Option<i64> {
    let (sign, digits) = offset.split_at_checked(1)?;
    if !matches!(sign, "+" | "-")
        || digits.len() != 4
        || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    let total = hours * 60 + minutes;
    let most = if sign == "-" { 12 * 60 } else { 14 * 60 };
    (minutes < 60 && total <= most && (total > 0 || sign == "+")).then_some(total)
}

fn date_and_time(time: SystemTime) -> [String; 2] {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    [digits[..8].into(), digits[8..].into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_the_zone_that_the_object_names() {
        let moment = |offset| Moment::new("2026-12-31T23:35:00Z", offset).unwrap();
        assert_eq!((&*moment("").date, &*moment("").time), ("20261231", "233500"));
        assert_eq!((&*moment("+0130").date, &*moment("+0130").time), ("20270101", "010500"));
        assert_eq!((&*moment("-0500").date, &*moment("-0500").time), ("20261231", "183500"));
        assert_eq!(moment("+0130").utc, "20261231233500+0000");
        for wrong in ["yesterday", "1970-01-01T00:00:00Z", "9999-12-31T23:00:00Z"] {
            assert!(Moment::new(wrong, "-0500").is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_offsets_are_offsets() {
        assert!(["+0000", "+1400", "-1200", "+0545"].into_iter().all(is_offset));
        let wrong = ["", "0100", "+01:00", "+0160", "+1500", "-0000", "+１００", "é0100"];
        assert!(!wrong.into_iter().any(is_offset));
    }
}
