//! Objects made of made-up results: read back by dicom-rs, and judged by validators that know nothing of us.
#![expect(clippy::unwrap_used, reason = "a test")]

mod made;
mod objects;
mod validators;
