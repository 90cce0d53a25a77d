//! What is said about one file. The contract lives in `results`, where its DICOM objects are made.

pub(crate) use results::{BundleId, Finding, FoundBox, MaskSummary, Record as Report, Status};
