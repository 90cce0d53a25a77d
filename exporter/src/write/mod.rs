//! What goes out: ONNX files, and bundles with all that travels in them.
//!
//! ```text
//! onnx              float and QDQ form
//! manifest          what a bundle says of itself
//! operating_points  thresholds and figures of the int8 network
//! package           manifest and sections sealed into one file
//! golden            vectors by which a box proves itself
//! provenance        origin of the network, as data
//! card              the same for people; sbom: what the tool is made of
//! npy, files        arrays for other tools; files that are whole or not there
//! ```

mod card;
pub(crate) mod files;
mod golden;
pub(crate) mod manifest;
pub(crate) mod npy;
pub(crate) mod onnx;
pub(crate) mod operating_points;
pub(crate) mod package;
pub(crate) mod provenance;
mod sbom;
