//! `manifest.jsonl` is already an index; only its paths are made absolute.

use crate::index::{self, IndexError, Record};
use std::path::Path;

pub(super) fn records(root: &Path) -> Result<Vec<Record>, IndexError> {
    let manifest = root.join("manifest.jsonl");
    if !manifest.is_file() {
        return Err(IndexError::Layout {
            root: root.to_owned(),
            layout: "cxr-mini",
            found: "no manifest.jsonl".into(),
            expected: "manifest.jsonl beside images/".into(),
        });
    }
    index::read(&manifest)
}
