//! How hot the machine is, measured against the trip points of its own thermal zones.
//!
//! At its passive trip the kernel slows the processor, at its critical trip it switches the machine off. We give way
//! in between, so that the machine stays on: fewer threads first, pauses near the end.

use crate::{Board, Machine};
use protocol::{Derating, Heat};
use std::fs;
use std::path::Path;

/// One sensor, and what its kernel would do when.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    pub sensor: String,
    pub celsius: f32,
    /// The lowest of each kind.
    pub passive: Option<f32>,
    pub hot: Option<f32>,
    pub critical: Option<f32>,
}

/// So far below its limit a zone must fall before more is done again.
const HYSTERESIS: f32 = 3.0;
/// Before a critical trip there are fewer threads, then pauses, where no other trip comes first.
const FEWER_BEFORE: f32 = 15.0;
const PAUSES_BEFORE: f32 = 5.0;
/// Temperatures and trips outside are no measurements.
const SANE: std::ops::RangeInclusive<f32> = -40.0..=150.0;

/// From where on what is done.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limits {
    threads: f32,
    pauses: f32,
}

impl Machine {
    /// Every thermal zone that can be read.
    pub fn zones(&self) -> Vec<Zone> {
        let Ok(folders) = fs::read_dir(self.root.join("sys/class/thermal")) else {
            return Vec::new();
        };
        let is_zone = |folder: &fs::DirEntry| {
            folder.file_name().to_string_lossy().starts_with("thermal_zone")
        };
        let mut zones: Vec<Zone> =
            folders.flatten().filter(is_zone).filter_map(|folder| zone(&folder.path())).collect();
        zones.sort_by(|a, b| a.sensor.cmp(&b.sensor));
        zones
    }

    /// What the sensors call for now, if `before` was done until now.
    pub fn heat(&self, board: Board, before: Derating) -> Heat {
        judge(&self.zones(), board, before)
    }
}

/// The most that any zone calls for. Pure.
pub fn judge(zones: &[Zone], board: Board, before: Derating) -> Heat {
    let of_zone = |zone: &Zone| {
        let limits = limits(zone, board)?;
        let derating = limits.derating(zone.celsius).max(
            // What has begun goes on until it is clearly cooler.
            limits.derating(zone.celsius + HYSTERESIS).min(before),
        );
        let heat = Heat {
            derating,
            sensor: Some(zone.sensor.clone()),
            celsius: Some(zone.celsius),
            limit: Some(limits.threads),
        };
        Some((derating, zone.celsius - limits.threads, heat))
    };
    let worst = zones
        .iter()
        .filter_map(of_zone)
        .max_by(|(a, over_a, _), (b, over_b, _)| a.cmp(b).then(over_a.total_cmp(over_b)));
    worst.map_or_else(Heat::default, |(_, _, heat)| heat)
}

impl Limits {
    fn derating(self, celsius: f32) -> Derating {
        if celsius >= self.pauses {
            Derating::Pauses
        } else if celsius >= self.threads {
            Derating::Threads
        } else {
            Derating::None
        }
    }
}

/// `None`: nobody says what is too hot there.
fn limits(zone: &Zone, board: Board) -> Option<Limits> {
    let processor = zone.sensor.starts_with("cpu");
    if let Some((threads, pauses)) = board.firmware_limits().filter(|_| processor) {
        return Some(Limits { threads, pauses });
    }
    let before_critical = |degrees| zone.critical.map(|critical| critical - degrees);
    let threads = zone.passive.or(zone.hot).or(before_critical(FEWER_BEFORE))?;
    let pauses = zone.hot.or(before_critical(PAUSES_BEFORE)).unwrap_or(f32::INFINITY);
    Some(Limits { threads: threads.min(pauses), pauses })
}

fn zone(folder: &Path) -> Option<Zone> {
    let read = |name: String| fs::read_to_string(folder.join(name)).ok();
    let celsius = |name: String| {
        let thousandths: f32 = read(name)?.trim().parse().ok()?;
        Some(thousandths / 1000.0).filter(|celsius| SANE.contains(celsius))
    };
    let (mut passive, mut hot, mut critical) = (None::<f32>, None::<f32>, None::<f32>);
    // Numbered without gaps.
    for number in 0..64 {
        let Some(kind) = read(format!("trip_point_{number}_type")) else { break };
        let lowest = match kind.trim() {
            "passive" => &mut passive,
            "hot" => &mut hot,
            "critical" => &mut critical,
            // A fan's.
            _ => continue,
        };
        // Zero means that it is not set.
        let trip = celsius(format!("trip_point_{number}_temp")).filter(|trip| *trip > 0.0);
        *lowest = match (*lowest, trip) {
            (Some(before), Some(trip)) => Some(before.min(trip)),
            (before, trip) => before.or(trip),
        };
    }
    let sensor = read("type".into())?.trim().to_owned();
    Some(Zone { sensor, celsius: celsius("temp".into())?, passive, hot, critical })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jetson(celsius: f32) -> Zone {
        let (passive, critical) = (Some(99.0), Some(104.5));
        Zone { sensor: "cpu-thermal".into(), celsius, passive, hot: None, critical }
    }

    fn called_for(zone: &Zone, board: Board, before: Derating) -> Derating {
        judge(std::slice::from_ref(zone), board, before).derating
    }

    #[test]
    fn the_hotter_the_less_and_back_only_when_it_is_clearly_cooler() {
        use Derating::{None, Pauses, Threads};
        for (celsius, before, expected) in [
            (60.0, None, None),
            (98.9, None, None),
            (99.0, None, Threads),
            (99.5, None, Pauses),
            (97.0, Pauses, Pauses),
            (96.4, Pauses, Threads),
            (95.9, Threads, None),
            (96.1, Threads, Threads),
            (96.1, None, None),
            (60.0, Pauses, None),
        ] {
            let found = called_for(&jetson(celsius), Board::JetsonOrinNx, before);
            assert_eq!(found, expected, "{celsius} after {before:?}");
        }
    }

    #[test]
    fn the_firmware_of_a_raspberry_pi_has_limits_that_its_kernel_does_not_know() {
        let zone = |celsius| Zone {
            sensor: "cpu-thermal".into(),
            celsius,
            passive: None,
            hot: None,
            critical: Some(110.0),
        };
        for (celsius, expected) in
            [(79.0, Derating::None), (80.0, Derating::Threads), (85.0, Derating::Pauses)]
        {
            assert_eq!(called_for(&zone(celsius), Board::RaspberryPi5, Derating::None), expected);
        }
        // Elsewhere the same trip means the same distance from it.
        assert_eq!(called_for(&zone(94.0), Board::Generic, Derating::None), Derating::None);
        assert_eq!(called_for(&zone(95.0), Board::Generic, Derating::None), Derating::Threads);
        assert_eq!(called_for(&zone(105.0), Board::Generic, Derating::None), Derating::Pauses);
    }

    #[test]
    fn the_zone_nearest_to_its_limit_is_named_and_one_without_limits_never() {
        let free = Zone {
            sensor: "wifi".into(),
            celsius: 140.0,
            passive: None,
            hot: None,
            critical: None,
        };
        let cool = Zone { sensor: "gpu-thermal".into(), ..jetson(97.0) };
        let heat = judge(&[free.clone(), cool, jetson(99.2)], Board::JetsonAgxOrin, Derating::None);
        assert_eq!((heat.sensor.as_deref(), heat.limit), (Some("cpu-thermal"), Some(99.0)));
        assert_eq!(judge(&[free], Board::Generic, Derating::Pauses), Heat::default());
    }
}
