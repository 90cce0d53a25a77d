//! What goes out: ONNX files, and bundles with all that travels in them.
//!
//! ```text
//! onnx              float and QDQ form
//! manifest          what a bundle says of itself
//! operating_points  thresholds and figures of the int8 network
//! package           manifest and sections sealed into one file
//! drift             how calibration images look, for the box to notice others
//! codes             what labels are called in DICOM objects
//! language          findings in words, fitted
//! usual             what places say of images as they come, which heat maps are told against
//! golden            vectors by which a box proves itself
//! provenance        origin of the network, as data
//! card              the same for people; sbom: what the tool is made of
//! npy               arrays for other tools
//! observed          what images do to a network that came quantized
//! ```

mod card;
pub(crate) mod codes;
pub(crate) mod drift;
mod golden;
pub(crate) mod language;
pub(crate) mod manifest;
pub(crate) mod npy;
pub(crate) mod observed;
pub(crate) mod onnx;
pub(crate) mod operating_points;
pub(crate) mod package;
pub(crate) mod provenance;
mod sbom;
mod usual;

use anyhow::{Context, Result};
use std::path::Path;

/// [`durable::write`], whose error names the file.
pub(crate) fn file(path: &Path, bytes: &[u8]) -> Result<()> {
    durable::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
