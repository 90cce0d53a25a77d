//! `[exposures]`: the X-ray room beside the box.

use super::{duration, seconds};
use serde::Deserialize;
use std::{path::PathBuf, time::Duration};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExposuresConfig {
    /// Folder that `firmware-host agent` writes exposures to.
    pub(crate) folder: PathBuf,
    /// Station Names of the room; none: every image is the room's.
    #[serde(default)]
    pub(crate) stations: Vec<String>,
    /// From an exposure to its image; later it is told as missing.
    #[serde(default = "seconds::<600>", deserialize_with = "duration")]
    pub(crate) image_seconds: Duration,
    /// From an image to its exposure; later it is told as unexplained.
    #[serde(default = "seconds::<120>", deserialize_with = "duration")]
    pub(crate) exposure_seconds: Duration,
    /// So long does the lamp show a result.
    #[serde(default = "seconds::<900>", deserialize_with = "duration")]
    pub(crate) lamp_seconds: Duration,
}
