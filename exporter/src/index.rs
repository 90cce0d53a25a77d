//! What the exporter reads of an index: JSON lines, the field names `trainer index` writes.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// One image of an index; fields not named here are other readers'.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// `train`, `val` or `test`; absent = train.
    #[serde(default)]
    split: Option<String>,
    /// Absolute once read.
    pub(crate) image: PathBuf,
    /// 1 present, 0 absent, −1 uncertain; no entry = unknown.
    #[serde(default)]
    labels: BTreeMap<String, f64>,
    #[serde(default)]
    rsna: Option<Rsna>,
    #[serde(default)]
    covidx_class: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Rsna {
    target: i64,
}

impl Record {
    pub(crate) fn split(&self) -> &str {
        self.split.as_deref().unwrap_or("train")
    }

    /// Whether a finding is there, if somebody said so for certain.
    pub(crate) fn truth(&self, finding: &str) -> Option<bool> {
        if finding == "rsna.target" {
            return self.rsna.as_ref().map(|rsna| rsna.target == 1);
        }
        if let Some(class) = finding.strip_prefix("covidx.") {
            return self.covidx_class.as_ref().map(|own| own == class);
        }
        match self.labels.get(finding) {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        }
    }
}

/// Reads an index; paths in it start at its own folder.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut records = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut record: Record = serde_json::from_str(line)
            .with_context(|| format!("{} line {}: no image record", path.display(), at + 1))?;
        record.image = folder.join(&record.image);
        if !record.image.is_file() {
            bail!(
                "{} line {}: image {} of `{}` is missing",
                path.display(),
                at + 1,
                record.image.display(),
                record.id
            );
        }
        records.push(record);
    }
    if records.is_empty() {
        bail!("{}: found no records, expected JSON lines", path.display());
    }
    Ok(records)
}
