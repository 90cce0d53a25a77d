//! `[shadow]`: a second bundle that looks at the same images and answers nobody.

use super::{BundleConfig, bytes};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::path::PathBuf;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShadowConfig {
    /// Which bundle: a file,
    pub(crate) path: Option<PathBuf>,
    /// or what lies in the slot that does not run.
    #[serde(default)]
    pub(crate) standby: bool,
    /// Of the analysed images, by their contents: the same image is always in or out.
    #[serde(default = "everything", deserialize_with = "share")]
    pub(crate) share: f64,
    /// Address space of its process; beyond that it ends, and nothing else does.
    #[serde(default = "bytes::<{ 2 << 30 }, u64>")]
    pub(crate) max_memory_bytes: u64,
    /// Of pairs on disk; the oldest half goes.
    #[serde(default = "bytes::<{ 64 << 20 }, u64>")]
    pub(crate) max_log_bytes: u64,
}

impl ShadowConfig {
    pub(super) fn mistakes(&self, bundle: &BundleConfig) -> Vec<String> {
        let mut found = Vec::new();
        if self.path.is_some() == self.standby {
            found.push("[shadow] needs exactly one of `path` and `standby = true`".into());
        }
        if self.standby && bundle.slots.is_none() {
            found.push("shadow.standby is true, which needs `slots` under [bundle]".into());
        }
        let memory = self.max_memory_bytes;
        if memory < 64 << 20 {
            found.push(format!("shadow.max_memory_bytes is {memory}, expected 67108864 or more"));
        }
        let log = self.max_log_bytes;
        if log < 1 << 20 {
            found.push(format!("shadow.max_log_bytes is {log}, expected 1048576 or more"));
        }
        found
    }
}

fn everything() -> f64 {
    1.0
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if share > 0.0 && share <= 1.0 {
        return Ok(share);
    }
    Err(D::Error::custom(format!("share is {share}, expected a share above 0 and up to 1")))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use std::fs;

    fn read(shadow: &str) -> Result<f64, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime.toml");
        let base = "[bundle]\npath = \"b\"\n[dicom]\nlisten = \"127.0.0.1:0\"\n\
                    [http]\nlisten = \"127.0.0.1:0\"\n[spool]\npath = \"s\"\n[shadow]\n";
        fs::write(&path, format!("{base}{shadow}\n")).unwrap();
        let config = Config::read(&path).map_err(|error| format!("{error:#}"))?;
        let shadow = config.shadow.unwrap();
        assert!(shadow.path.unwrap().starts_with(folder.path()), "relative to the file");
        Ok(shadow.share)
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(read("path = \"x\""), Ok(1.0));
        assert_eq!(read("path = \"x\"\nshare = 0.25"), Ok(0.25));
        for (text, expected) in [
            ("", "needs exactly one of `path` and `standby = true`"),
            ("path = \"x\"\nstandby = true", "needs exactly one of"),
            ("standby = true", "needs `slots` under [bundle]"),
            ("path = \"x\"\nshare = 0.0", "share is 0, expected a share above 0"),
            ("path = \"x\"\nshare = 1.5", "share is 1.5"),
            ("path = \"x\"\nmax_memory_bytes = 7", "max_memory_bytes is 7, expected 67108864"),
            ("path = \"x\"\nmax_log_bytes = 7", "max_log_bytes is 7, expected 1048576"),
            ("path = \"x\"\nshares = 1", "unknown field `shares`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
