//! `[spool]` and `[worker]`: what is kept, and how images are answered.

use super::{bytes, duration};
use machine::Board;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{path::PathBuf, time::Duration};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpoolConfig {
    pub(crate) path: PathBuf,
    /// Answered images that are kept; older ones are removed.
    #[serde(default = "bytes::<1000, usize>")]
    pub(crate) keep_answered: usize,
    /// Answered images that arrived longer ago are removed; none: however old.
    #[serde(default, deserialize_with = "days")]
    pub(crate) keep_days: Option<Duration>,
    /// Bytes of everything in the folder. When what may not be removed fills it, senders hear A700.
    #[serde(default = "bytes::<{ 16 << 30 }, u64>")]
    pub(crate) max_bytes: u64,
    /// The same as a share of the file system; the lesser of the two counts.
    #[serde(default = "default_share")]
    pub(crate) max_disk_share: f64,
    /// Stays free on the file system, whoever fills it.
    #[serde(default = "bytes::<{ 256 << 20 }, u64>")]
    pub(crate) min_free_bytes: u64,
    /// Bytes of overlays, which are drawn when somebody looks at them.
    #[serde(default = "bytes::<{ 256 << 20 }, u64>")]
    pub(crate) max_picture_bytes: u64,
}

impl SpoolConfig {
    /// The defaults at `path`.
    #[cfg(test)]
    pub(crate) fn at(path: PathBuf) -> Self {
        let path = path.to_str().expect("a temporary path is UTF-8");
        toml::from_str(&format!("path = {path:?}")).expect("nothing but the path is required")
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
        let share = self.max_disk_share;
        let right = share > 0.0 && share <= 1.0;
        let what = format!("spool.max_disk_share is {share}, expected a share above 0 and up to 1");
        if right { Vec::new() } else { vec![what] }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WorkerConfig {
    /// Threads of the engine for one image; none: as the machine's profile says.
    pub(crate) threads: Option<usize>,
    /// What the machine is taken for; none: what it says it is.
    #[serde(deserialize_with = "board")]
    pub(crate) profile: Option<Board>,
    /// Whether threads stay on the fast cores; none: where the profile says so.
    pub(crate) pin: Option<bool>,
    /// Whether less is done while the machine is too hot.
    pub(crate) derate: bool,
    /// Where /sys, /proc and /etc are; tests have others.
    pub(crate) sysroot: PathBuf,
    /// After that many failures an image is parked.
    pub(crate) max_attempts: u32,
    /// Longer side of the overlays, pixels.
    pub(crate) overlay_pixels: u32,
    /// A worker that has not moved for that long is stuck.
    #[serde(deserialize_with = "duration")]
    pub(crate) stuck_seconds: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        let stuck_seconds = Duration::from_secs(120);
        Self {
            threads: None,
            profile: None,
            pin: None,
            derate: true,
            sysroot: "/".into(),
            max_attempts: 3,
            overlay_pixels: 1024,
            stuck_seconds,
        }
    }
}

impl WorkerConfig {
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(threads) = self.threads.filter(|threads| !(1..=256).contains(threads)) {
            found.push(format!("worker.threads is {threads}, expected 1 to 256"));
        }
        let attempts = self.max_attempts;
        if !(1..=10_000).contains(&attempts) {
            found.push(format!("worker.max_attempts is {attempts}, expected 1 to 10000"));
        }
        let pixels = self.overlay_pixels;
        if !(256..=4096).contains(&pixels) {
            found.push(format!("worker.overlay_pixels is {pixels}, expected 256 to 4096"));
        }
        found
    }
}

/// A machine by name; `auto` is none.
fn board<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Board>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name == "auto" {
        return Ok(None);
    }
    name.parse().map(Some).map_err(D::Error::custom)
}

fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let days = f64::deserialize(deserializer)?;
    if !(0.01..=36_500.0).contains(&days) {
        return Err(D::Error::custom(format!("{days} days, expected 0.01 to 36500")));
    }
    Ok(Some(Duration::from_secs_f64(days * 86_400.0)))
}

fn default_share() -> f64 {
    0.9
}
