//! The box that speaks.

use crate::uid::Seed;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Who made an object: the modules on equipment, and the observer of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub manufacturer: String,
    pub model: String,
    pub serial: String,
    pub software_versions: Vec<String>,
}

impl Device {
    /// This software on the box with a serial number.
    pub fn new(serial: &str) -> Self {
        Self {
            manufacturer: "CXR-EDGE".into(),
            model: "CXR Edge runtime".into(),
            serial: serial.into(),
            software_versions: vec![concat!("runtime ", env!("CARGO_PKG_VERSION")).into()],
        }
    }

    /// For [`Record::configuration`](crate::Record::configuration): SHA-256 over the device and the other `settings` that
    /// shape what is written.
    pub fn configuration(&self, settings: &[String]) -> String {
        let parts = [&self.manufacturer, &self.model, &self.serial];
        let mut digest = Sha256::new();
        for part in parts.into_iter().chain(&self.software_versions).chain(settings) {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        hex::encode(digest.finalize())
    }

    pub(crate) fn uid(&self) -> String {
        Seed::new(&[&self.manufacturer, &self.model, &self.serial]).uid("device")
    }
}
