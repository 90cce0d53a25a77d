//! `manifest.jsonl` is already an index; only its paths are made absolute.

use super::{DataSet, no_layout};
use crate::index::{self, IndexError, Record};

pub(super) fn records(data: &mut DataSet<'_>) -> Result<Vec<Record>, IndexError> {
    let manifest = data.root.join("manifest.jsonl");
    if !manifest.is_file() {
        let expected = "manifest.jsonl beside images/";
        return Err(no_layout(data.root, "cxr-mini", "no manifest.jsonl", expected));
    }
    let mut records = index::parse(&manifest)?;
    data.keep_existing(&mut records)?;
    if data.left_out.missing() == 0 {
        // Its errors know the lines.
        return index::read(&manifest);
    }
    index::check(&manifest, &records)?;
    Ok(records)
}
