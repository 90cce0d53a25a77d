//! What the machine says of itself, read from `/proc`, `/sys` and `/etc` under a root that tests replace.
//!
//! Nothing here is required: what cannot be read is left out. [`Machine::profile`] says what there is to compute
//! with: `board` which machine it is, `cores` which of them are chosen, `heat` how near its limits it is, `power` what
//! slows it down. What systemd is told is in [`notify`], when in [`heartbeat`].
//!
//! ```
//! let machine = machine::Machine::new("/".as_ref());
//! let (before, after) = (machine.moment(), machine.moment());
//! assert!(after.uptime >= before.uptime, "whatever happens to the wall clock");
//! ```

mod board;
mod cores;
pub mod heartbeat;
mod heat;
pub mod notify;
mod power;
mod profile;

pub use board::{Board, UnknownBoard};
pub use heat::{Zone, judge};
pub use profile::{describe, hot};

use protocol::{BootId, Moment, Telemetry, Temperature};
use rustix::fs::statvfs;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Now, by every clock.
    pub fn moment(&self) -> Moment {
        let boot = self.text("proc/sys/kernel/random/boot_id");
        let boot = boot.and_then(|id| id.trim().parse().ok()).unwrap_or(BootId::UNKNOWN);
        // What `CLOCK_BOOTTIME` says: sleep counts.
        let uptime = self.text("proc/uptime").and_then(|text| number(&text));
        let uptime = uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let wall = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
        Moment { boot, uptime: uptime.unwrap_or_default(), wall }
    }

    /// Uptime, load, memory, temperatures.
    pub fn telemetry(&self, disk_free: Option<u64>) -> Telemetry {
        let memory = self.text("proc/meminfo");
        let of = |name| memory.as_deref().and_then(|text| kibibytes(text, name));
        Telemetry {
            uptime: self.text("proc/uptime").and_then(|text| number(&text)),
            load: self.text("proc/loadavg").and_then(|text| load(&text)),
            memory_total: of("MemTotal:"),
            memory_available: of("MemAvailable:"),
            disk_free,
            temperatures: self.temperatures(),
        }
    }

    /// `Debian GNU/Linux 12 (bookworm)`.
    pub fn system(&self) -> String {
        let release = self.text("etc/os-release").unwrap_or_default();
        let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        name.map_or_else(|| "unknown".into(), |name| name.trim_matches('"').to_owned())
    }

    /// The board, where there is a device tree.
    pub fn board(&self) -> Option<String> {
        self.text("proc/device-tree/model").map(|name| name.trim_matches(['\0', '\n']).to_owned())
    }

    /// A name that stays the same: a hash, because the machine id itself is private.
    pub fn name(&self) -> String {
        let Some(id) = self.text("etc/machine-id") else { return "unnamed".into() };
        let digest = Sha256::digest(format!("cxr-edge {}", id.trim()));
        format!("box-{}", hex::encode(&digest[..4]))
    }

    /// Of every sensor that tells, by name.
    pub fn temperatures(&self) -> Vec<Temperature> {
        let Ok(zones) = fs::read_dir(self.root.join("sys/class/thermal")) else {
            return Vec::new();
        };
        let mut found: Vec<_> = zones
            .flatten()
            .filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"))
            .filter_map(|zone| {
                let sensor = fs::read_to_string(zone.path().join("type")).ok()?.trim().to_owned();
                let millis: f64 =
                    fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse().ok()?;
                Some(Temperature { sensor, celsius: (millis / 1000.0) as f32 })
            })
            .collect();
        found.sort_by(|a, b| a.sensor.cmp(&b.sensor));
        // As many as surely fit a frame.
        found.truncate(64);
        found
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

/// Bytes free and in all on the file system that holds `path`.
pub fn space(path: &Path) -> io::Result<(u64, u64)> {
    let disk = statvfs(path)?;
    Ok((disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)))
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.split_whitespace().next()?.parse().ok()
}

fn load(text: &str) -> Option<[f32; 3]> {
    let mut loads = text.split_whitespace().map(|load| load.parse().ok());
    Some([loads.next()??, loads.next()??, loads.next()??])
}

fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    number::<u64>(value).map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_jetson_is_read_from_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "proc/uptime", "350735.47 234388.90\n");
        write(root, "proc/loadavg", "0.20 0.18 0.12 1/80 11206\n");
        write(root, "proc/meminfo", "MemTotal:        7802428 kB\nMemAvailable:    1024 kB\n");
        write(root, "proc/device-tree/model", "NVIDIA Jetson Orin Nano\0");
        write(root, "etc/os-release", "NAME=\"Ubuntu\"\nPRETTY_NAME=\"Ubuntu 22.04.4 LTS\"\n");
        write(root, "etc/machine-id", "4f3c2b1a\n");
        write(root, "sys/class/thermal/thermal_zone1/type", "gpu-thermal\n");
        write(root, "sys/class/thermal/thermal_zone1/temp", "46250\n");
        write(root, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        write(root, "sys/class/thermal/thermal_zone0/temp", "48500\n");
        write(root, "sys/class/thermal/cooling_device0/type", "fan\n");
        let machine = Machine::new(root);
        let telemetry = machine.telemetry(Some(5));
        assert_eq!(telemetry.uptime, Some(350_735.47));
        assert_eq!(telemetry.load, Some([0.20, 0.18, 0.12]));
        assert_eq!(telemetry.memory_total, Some(7_802_428 * 1024));
        assert_eq!(telemetry.memory_available, Some(1024 * 1024));
        let sensors: Vec<_> =
            telemetry.temperatures.iter().map(|t| (&*t.sensor, t.celsius)).collect();
        assert_eq!(sensors, [("cpu-thermal", 48.5), ("gpu-thermal", 46.25)]);
        assert_eq!(machine.board().as_deref(), Some("NVIDIA Jetson Orin Nano"));
        assert_eq!(machine.system(), "Ubuntu 22.04.4 LTS");
        assert!(machine.name().starts_with("box-") && !machine.name().contains("4f3c"));
        write(root, "proc/sys/kernel/random/boot_id", "4f1cbd8a-0d7e-4a39-9f0c-2f3b0a1c5d6e\n");
        assert_eq!(machine.moment().uptime, Duration::from_millis(350_735_470));
        assert_eq!(machine.moment().boot.to_string(), "4f1cbd8a-0d7e-4a39-9f0c-2f3b0a1c5d6e");
    }

    #[test]
    fn a_machine_that_says_nothing_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::new(folder.path());
        let telemetry = machine.telemetry(None);
        assert_eq!(
            (telemetry.uptime, telemetry.load, telemetry.temperatures.len()),
            (None, None, 0)
        );
        assert_eq!((machine.board(), machine.name().as_str()), (None, "unnamed"));
        assert_eq!(machine.moment().boot, BootId::UNKNOWN);
    }
}
