//! What an X-ray controller says to the box: exposures, detector, interlock; and what its result lamp shows.
//!
//! Every type here has a fixed size and needs no memory of its own: the smallest controller can fill it in.
//! Ranges are those of the constants. What is outside is refused by name, see [`Exposure::check`].

use core::fmt;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One press of the button that made X-rays, or was about to.
///
/// The box knows it again by `controller`, `epoch` and `sequence`: said twice, it counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// Which controller, where several report to one box; else 0.
    pub controller: u16,
    /// Another one whenever `sequence` begins again, say after a power cut; 0 if it never does.
    pub epoch: u32,
    /// One more with every exposure, aborted ones too.
    pub sequence: u32,
    pub outcome: Outcome,
    /// How long before this message was made the exposure ended, by a clock that nobody sets: milliseconds.
    /// None: just now, as far as the controller knows.
    pub age: Option<u32>,
    /// When it ended by the controller's own calendar clock, right or wrong: milliseconds since 1970, UTC.
    pub clock: Option<u64>,
    pub technique: Technique,
    /// What the image will be filed under, if the controller knows.
    pub subject: Option<Subject>,
    /// The sequence number of the exposure that this one repeats, whose image was rejected and may never be sent.
    pub repeats: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// An image is to be expected.
    Complete,
    /// Released too early, or stopped: no image is expected.
    Aborted,
}

/// Technique factors, as measured where they are measured; none: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Technique {
    /// Tube voltage, 0.1 kV: [`KILOVOLTS`].
    pub kilovolts: Option<u16>,
    /// Tube current times time, 0.001 mAs: [`CHARGE`].
    pub charge: Option<u32>,
    /// Exposure time, 0.1 ms: [`DURATION`].
    pub duration: Option<u32>,
    /// Source to image distance, mm: [`DISTANCE`].
    pub distance: Option<u16>,
    /// Whether an anti-scatter grid was in.
    pub grid: Option<bool>,
    /// Whether automatic exposure control ended it.
    pub automatic: Option<bool>,
    /// Dose area product, 0.1 mGy·cm²: [`DOSE_AREA`].
    pub dose_area: Option<u32>,
}

/// The first 8 bytes of the SHA-256 of an identifier's characters, so that no identifier crosses the line.
///
/// Whoever can list all accession numbers can find the one behind a hash: it is a pseudonym, not anonymous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// Of the Study Instance UID.
    Study([u8; 8]),
    /// Of the Accession Number.
    Accession([u8; 8]),
}

/// How the image detector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detector {
    pub controller: u16,
    pub readiness: Readiness,
    /// 0.1 °C: [`TEMPERATURE`].
    pub temperature: Option<i16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    Ready,
    Starting,
    Calibrating,
    TooWarm,
    TooCold,
    /// Its battery is empty.
    NoPower,
    /// It does not answer the controller.
    Lost,
    /// With the maker's own number.
    Fault(u16),
}

/// Whether the room lets an exposure happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interlock {
    pub controller: u16,
    pub state: InterlockState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterlockState {
    Closed,
    DoorOpen,
    EmergencyStop,
    /// The tube has to cool down.
    TubeTooHot,
    /// With the maker's own number.
    Other(u16),
}

/// What a lamp beside the console says of the latest study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lamp {
    /// Nothing is going on.
    Idle,
    /// An image is expected, waits, or is being analysed.
    Analysing,
    /// There is a result, and nothing in it is urgent.
    Ready,
    /// There is a result, and somebody should look at it now.
    Urgent,
    /// The network must not see, or could not see, one of the images.
    NotAnalysed,
    /// The box does not do its work.
    Trouble,
}

/// Of one X-ray room, for people and programs that look after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    pub lamp: Lamp,
    /// Exposures whose image should have arrived and did not.
    pub missing: u32,
    /// Images of this room that no exposure explains.
    pub unexplained: u32,
    /// Entries of the journal so far.
    pub entries: u64,
    pub latest: Option<Exposure>,
    /// What the controllers said last, since the agent started.
    pub detector: Option<Detector>,
    pub interlock: Option<Interlock>,
}

/// The least and the most of a quantity, in its unit.
pub type Range = (i64, i64);

pub const KILOVOLTS: Range = (200, 1_500);
pub const CHARGE: Range = (1, 2_000_000);
pub const DURATION: Range = (1, 300_000);
pub const DISTANCE: Range = (200, 5_000);
pub const DOSE_AREA: Range = (0, 100_000_000);
pub const TEMPERATURE: Range = (-400, 1_200);
/// 2000 to 2200: before, a clock was never set.
pub const CLOCK: Range = (946_684_800_000, 7_258_118_400_000);
/// A week: whoever could not report for longer says when by the calendar, or not at all.
pub const AGE: Range = (0, 604_800_000);

/// A value that no controller can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{name} is {found} {unit}, expected {} to {}", range.0, range.1)]
pub struct OutOfRange {
    pub name: &'static str,
    pub unit: &'static str,
    pub found: i64,
    pub range: Range,
}

impl Exposure {
    /// The value that is out of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let Technique { kilovolts, charge, duration, distance, dose_area, .. } = self.technique;
        let clock = self.clock.map(|clock| i64::try_from(clock).unwrap_or(i64::MAX));
        within("tube voltage", "x 0.1 kV", kilovolts.map(i64::from), KILOVOLTS)?;
        within("tube charge", "x 0.001 mAs", charge.map(i64::from), CHARGE)?;
        within("exposure time", "x 0.1 ms", duration.map(i64::from), DURATION)?;
        within("distance", "mm", distance.map(i64::from), DISTANCE)?;
        within("dose area product", "x 0.1 mGy*cm2", dose_area.map(i64::from), DOSE_AREA)?;
        within("age", "ms", self.age.map(i64::from), AGE)?;
        within("clock", "ms since 1970", clock, CLOCK)
    }

    /// What tells it from every other exposure.
    pub const fn key(&self) -> (u16, u32, u32) {
        (self.controller, self.epoch, self.sequence)
    }

    /// Whether both tell of the same press of the button in the same words. Ages differ with every telling.
    pub fn says_the_same(&self, other: &Self) -> bool {
        Self { age: None, ..*self } == Self { age: None, ..*other }
    }
}

impl Detector {
    /// The value that is out of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        within("detector temperature", "x 0.1 C", self.temperature.map(i64::from), TEMPERATURE)
    }
}

fn within(
    name: &'static str,
    unit: &'static str,
    found: Option<i64>,
    range: Range,
) -> Result<(), OutOfRange> {
    match found {
        Some(found) if found < range.0 || found > range.1 => {
            Err(OutOfRange { name, unit, found, range })
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Starting => f.write_str("starting"),
            Self::Calibrating => f.write_str("calibrating"),
            Self::TooWarm => f.write_str("too warm"),
            Self::TooCold => f.write_str("too cold"),
            Self::NoPower => f.write_str("without power"),
            Self::Lost => f.write_str("does not answer"),
            Self::Fault(number) => write!(f, "fault {number}"),
        }
    }
}

impl fmt::Display for InterlockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::DoorOpen => f.write_str("door open"),
            Self::EmergencyStop => f.write_str("emergency stop"),
            Self::TubeTooHot => f.write_str("tube too hot"),
            Self::Other(number) => write!(f, "other {number}"),
        }
    }
}

impl fmt::Display for Lamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Analysing => "analysing",
            Self::Ready => "ready",
            Self::Urgent => "urgent",
            Self::NotAnalysed => "not-analysed",
            Self::Trouble => "trouble",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Exposure = Exposure {
        controller: 0,
        epoch: 0,
        sequence: 7,
        outcome: Outcome::Complete,
        age: None,
        clock: None,
        technique: Technique {
            kilovolts: None,
            charge: None,
            duration: None,
            distance: None,
            grid: None,
            automatic: None,
            dose_area: None,
        },
        subject: None,
        repeats: None,
    };

    #[test]
    fn a_value_out_of_its_range_is_named_and_one_at_its_ends_is_not() {
        type Set = fn(&mut Exposure, i64);
        let table: [(&str, Range, Set); 7] = [
            ("tube voltage", KILOVOLTS, |e, v| e.technique.kilovolts = Some(v as u16)),
            ("tube charge", CHARGE, |e, v| e.technique.charge = Some(v as u32)),
            ("exposure time", DURATION, |e, v| e.technique.duration = Some(v as u32)),
            ("distance", DISTANCE, |e, v| e.technique.distance = Some(v as u16)),
            ("dose area product", DOSE_AREA, |e, v| e.technique.dose_area = Some(v as u32)),
            ("age", AGE, |e, v| e.age = Some(v as u32)),
            ("clock", CLOCK, |e, v| e.clock = Some(v as u64)),
        ];
        assert_eq!(PLAIN.check(), Ok(()));
        for (name, range, set) in table {
            let with = |value| {
                let mut exposure = PLAIN;
                set(&mut exposure, value);
                exposure.check()
            };
            assert_eq!((with(range.0), with(range.1)), (Ok(()), Ok(())), "{name}");
            assert_eq!(with(range.1 + 1).map_err(|e| (e.name, e.found)), Err((name, range.1 + 1)));
            if range.0 > 0 {
                assert_eq!(with(range.0 - 1).map_err(|e| e.name), Err(name));
            }
        }
        let cold = Detector { controller: 0, readiness: Readiness::Ready, temperature: Some(-401) };
        let said = cold.check().unwrap_err().to_string();
        assert_eq!(said, "detector temperature is -401 x 0.1 C, expected -400 to 1200");
    }

    #[test]
    fn an_exposure_told_again_later_is_the_same_and_one_with_another_voltage_is_not() {
        let later = Exposure { age: Some(5_000), ..PLAIN };
        assert!(PLAIN.says_the_same(&later) && PLAIN.key() == later.key());
        let technique = Technique { kilovolts: Some(800), ..PLAIN.technique };
        assert!(!PLAIN.says_the_same(&Exposure { technique, ..PLAIN }));
    }
}
