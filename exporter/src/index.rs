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
    /// Empty = a patient of its own.
    #[serde(default)]
    patient_id: String,
    /// What may not be torn apart; the patient, unless patients share pictures.
    #[serde(default)]
    patient_group: String,
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
    #[serde(default)]
    boxes: Vec<LabelledBox>,
    /// Left and right lung; absent = nobody drew them.
    #[serde(default)]
    lung_boxes: Option<Vec<LabelledBox>>,
    #[serde(default)]
    lung_masks: Vec<LungMask>,
    #[serde(default)]
    masks: Vec<RegionMask>,
    /// Classes of boxes and masks somebody looked for: where the image has none of one, there is none.
    #[serde(default)]
    looked_for: Vec<String>,
}

/// `x, y` is the top left corner, in pixels of the stored image.
#[derive(Clone, Debug, Deserialize)]
struct LabelledBox {
    label: String,
    x: f32,
    y: f32,
    w: f32,
    h: f32,
}

#[derive(Clone, Debug, Deserialize)]
struct LungMask {
    path: PathBuf,
    /// Begins with `human` or `machine`; the latter is no truth.
    kind: String,
}

#[derive(Clone, Debug, Deserialize)]
struct RegionMask {
    path: PathBuf,
    cls: String,
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

    /// Whose image it is: images of one patient are alike.
    pub(crate) fn patient(&self) -> &str {
        let names = [&self.patient_group, &self.patient_id];
        names.into_iter().find(|name| !name.is_empty()).unwrap_or(&self.id)
    }

    /// Drawings of a region: lungs (as people drew them), or a class of lesion, anatomy or device.
    pub(crate) fn mask_paths(&self, label: &str) -> Vec<&Path> {
        let is_lung = ["lung", "lungs"].contains(&label.to_ascii_lowercase().as_str());
        let lungs = self.lung_masks.iter().filter(|mask| is_lung && mask.kind.starts_with("human"));
        // One human drawing is the truth; a second one is another opinion.
        let lungs = lungs.take(1).map(|mask| mask.path.as_path());
        let regions = self.masks.iter().filter(|mask| mask.cls == label);
        lungs.chain(regions.map(|mask| mask.path.as_path())).collect()
    }

    /// Whether somebody looked for boxes of these classes.
    pub(crate) fn boxes_known(&self, labels: &[String]) -> bool {
        let lungs = self
            .lung_boxes
            .as_ref()
            .is_some_and(|boxes| boxes.iter().any(|own| labels.contains(&own.label)));
        let lesions = self.boxes.iter().any(|own| labels.contains(&own.label));
        lungs || lesions || labels.iter().any(|label| self.looked_for(label))
    }

    /// Whether a region or box that is not there is known not to be.
    pub(crate) fn looked_for(&self, label: &str) -> bool {
        // RSNA's readers looked for opacities in every image of theirs.
        let by_rsna =
            || label == "Lung Opacity" && self.rsna.as_ref().is_some_and(|r| r.target == 0);
        self.looked_for.iter().any(|own| own == label) || by_rsna()
    }

    /// Label and corners `x1, y1, x2, y2` of every box.
    pub(crate) fn all_boxes(&self) -> impl Iterator<Item = (&str, [f32; 4])> {
        let lungs = self.lung_boxes.iter().flatten();
        self.boxes
            .iter()
            .chain(lungs)
            .map(|own| (own.label.as_str(), [own.x, own.y, own.x + own.w, own.y + own.h]))
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
        record.lung_masks.iter_mut().for_each(|mask| mask.path = folder.join(&mask.path));
        record.masks.iter_mut().for_each(|mask| mask.path = folder.join(&mask.path));
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
