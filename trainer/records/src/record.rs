//! One image with everything known about it.

use super::{Region, Split};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The fourteen findings of NIH ChestX-ray14, in their published order.
pub const NIH_FINDINGS: [&str; 14] = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
];

/// One line of an index. Fields it does not know are ignored, so that data sets may carry more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    /// Which part of the data this image belongs to; assigned by patient where the data set does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    #[serde(default)]
    pub source: String,
    /// Empty = a patient of its own.
    #[serde(default)]
    pub patient_id: String,
    /// Images of one study share a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study_id: Option<String>,
    /// What must stay in one split; the patient, unless patients share pictures.
    #[serde(default)]
    pub patient_group: String,
    #[serde(default)]
    pub view: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sex: Option<String>,
    /// DICOM, PNG or JPEG; relative paths start at the index's folder.
    pub image: PathBuf,
    /// Pixels of the stored image; boxes are in these. 0 = not known.
    #[serde(default)]
    pub width: u32,
    #[serde(default)]
    pub height: u32,
    /// Findings by name; absent = unknown.
    #[serde(default)]
    pub labels: BTreeMap<String, Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covidx_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsna: Option<Rsna>,
    /// Lesions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boxes: Vec<LabelledBox>,
    /// Left and right lung; absent = nobody drew them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lung_boxes: Option<Vec<LabelledBox>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lung_masks: Vec<LungMask>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<RegionMask>,
    /// Classes of boxes and masks somebody looked for: where the image has none of one, there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looked_for: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_sentences: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings_text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings_sentences: Option<u32>,
    /// Equal for equal texts: the same pair in retrieval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_group: Option<String>,
}

impl Record {
    /// What must not be spread over two splits: whose images they are.
    pub fn group(&self) -> &str {
        let names = [&self.patient_group, &self.patient_id];
        names.into_iter().find(|name| !name.is_empty()).unwrap_or(&self.id)
    }

    /// Which part of the data it belongs to; what nobody put aside is for training.
    pub fn part(&self) -> Split {
        self.split.unwrap_or(Split::Train)
    }

    /// Forgets which part of the report is about the picture, so that all of it is learned from.
    pub fn keep_whole_report(&mut self) {
        if self.report.is_some() {
            (self.findings_text, self.findings_sentences) = (None, None);
        }
    }

    /// Absolute once read.
    pub fn image_path(&self) -> &Path {
        &self.image
    }

    /// Truth of a finding: `None` where nobody said. Reads `No Finding`, `rsna.target` and
    /// `covidx_class` too, so that every task of an index is named the same way:
    /// `Pneumonia`, `rsna.target`, `covidx.covid19`.
    pub fn truth(&self, name: &str) -> Truth {
        if name == "rsna.target" {
            return self.rsna.as_ref().map_or(Truth::Unknown, |rsna| (rsna.target == 1).into());
        }
        if let Some(class) = name.strip_prefix("covidx.") {
            return self.covidx_class.as_ref().map_or(Truth::Unknown, |own| (own == class).into());
        }
        match self.labels.get(name) {
            None => Truth::Unknown,
            Some(Label::Uncertain) => Truth::Uncertain,
            Some(Label::Positive) => Truth::Positive,
            Some(Label::Negative) => Truth::Negative,
        }
    }

    /// Where a region is; `None` where nobody drew it. `lung` (or `lungs`) is both lungs as a person drew them first,
    /// `boxes.X` the inside of the boxes called X, any other name a class of [`Self::masks`].
    pub fn region(&self, name: &str) -> Option<Region<'_>> {
        if let Some(label) = name.strip_prefix("boxes.") {
            let boxes = self.boxes_of(&[label.to_owned()])?;
            return Some(Region::Boxed(boxes.into_iter().map(|(_, corners)| corners).collect()));
        }
        let is_lung = ["lung", "lungs"].contains(&name.to_ascii_lowercase().as_str());
        // One person's drawing is the truth; a second one is another opinion.
        let lungs = self.lung_masks.iter().filter(|mask| is_lung && mask.human()).take(1);
        let regions = self.masks.iter().filter(|mask| mask.cls == name);
        let paths: Vec<&Path> = lungs
            .map(|mask| mask.path.as_path())
            .chain(regions.map(|mask| mask.path.as_path()))
            .collect();
        (!paths.is_empty() || self.looked_for(name)).then_some(Region::Drawn(paths))
    }

    /// Number of the label and corners `x1, y1, x2, y2` of every box with one of these labels, in pixels of the image;
    /// `None` where nobody looked for them.
    pub fn boxes_of(&self, labels: &[String]) -> Option<Vec<(usize, [f32; 4])>> {
        let all = self.boxes.iter().chain(self.lung_boxes.iter().flatten());
        let own = all.filter_map(|b| {
            let label = labels.iter().position(|label| *label == b.label)?;
            Some((label, [b.x, b.y, b.x + b.w, b.y + b.h]))
        });
        let own: Vec<_> = own.collect();
        let looked = !own.is_empty() || labels.iter().any(|label| self.looked_for(label));
        looked.then_some(own)
    }

    fn looked_for(&self, name: &str) -> bool {
        // RSNA's readers looked for opacities in every image of theirs.
        let by_rsna = || name == RSNA_BOX && self.rsna.as_ref().is_some_and(|r| r.target == 0);
        self.looked_for.iter().any(|own| own == name) || by_rsna()
    }

    /// Every name [`Self::region`] knows, of this image.
    pub fn region_names(&self) -> BTreeSet<String> {
        let lung = self.lung_masks.iter().any(LungMask::human).then(|| "lung".to_owned());
        let boxed = self.box_names().into_iter().map(|label| format!("boxes.{label}"));
        self.masks.iter().map(|mask| mask.cls.clone()).chain(lung).chain(boxed).collect()
    }

    /// Labels of this image's boxes.
    pub fn box_names(&self) -> BTreeSet<String> {
        let all = self.boxes.iter().chain(self.lung_boxes.iter().flatten());
        all.map(|b| b.label.clone()).collect()
    }

    /// Paths as seen from anywhere, given the folder of the index.
    pub(super) fn resolve(&mut self, base: &Path) {
        self.image = base.join(&self.image);
        for mask in &mut self.lung_masks {
            mask.path = base.join(&mask.path);
        }
        for mask in &mut self.masks {
            mask.path = base.join(&mask.path);
        }
    }
}

/// What RSNA's challenge calls what its boxes show.
pub const RSNA_BOX: &str = "Lung Opacity";

/// What is known of one finding in one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    Positive,
    Negative,
    Uncertain,
    Unknown,
}

impl Truth {
    /// `None` unless somebody is certain.
    pub fn certain(self) -> Option<bool> {
        match self {
            Self::Positive => Some(true),
            Self::Negative => Some(false),
            Self::Uncertain | Self::Unknown => None,
        }
    }
}

impl From<bool> for Truth {
    fn from(present: bool) -> Self {
        if present { Self::Positive } else { Self::Negative }
    }
}

/// `1`, `0` or `-1` (uncertain, as CheXpert writes it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Negative,
    Positive,
    Uncertain,
}

impl From<bool> for Label {
    fn from(present: bool) -> Self {
        if present { Self::Positive } else { Self::Negative }
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i8(match self {
            Self::Negative => 0,
            Self::Positive => 1,
            Self::Uncertain => -1,
        })
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match f64::deserialize(deserializer)? {
            0.0 => Ok(Self::Negative),
            1.0 => Ok(Self::Positive),
            -1.0 => Ok(Self::Uncertain),
            other => Err(de::Error::custom(format!("label is {other}, expected 1, 0 or -1"))),
        }
    }
}

/// What the RSNA 2018 challenge says of an NIH image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rsna {
    #[serde(rename = "patientId")]
    pub patient_id: String,
    #[serde(default)]
    pub detailed_class: String,
    pub target: u8,
}

/// A rectangle in pixels of the stored image; `x, y` is its top left corner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledBox {
    pub label: String,
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
    #[serde(default)]
    pub source: String,
}

/// A 0/255 picture of both lungs, of the size of the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LungMask {
    pub path: PathBuf,
    /// Begins with `human` or `machine`; machine-made ones are not ground truth.
    pub kind: String,
}

impl LungMask {
    pub fn human(&self) -> bool {
        self.kind.starts_with("human")
    }
}

/// A 0/255 picture of one class of lesion, anatomy or device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionMask {
    pub path: PathBuf,
    pub cls: String,
    #[serde(default)]
    pub group: String,
}
