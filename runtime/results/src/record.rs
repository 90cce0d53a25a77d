//! What is said about one image: the JSON object of `runtime analyze --json` and of `GET /images/{uid}`, and with it
//! all that its DICOM objects are made of.

use crate::{Account, Device, HeatMap, NearSentence, Segment};
use bundle::LabelCode;
use serde::{Deserialize, Serialize};

/// Field names are a contract (DESIGN §5): append only, so that results of before keep loading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sop_instance_uid: Option<String>,
    /// When the object arrived, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    pub file: String,
    pub status: Status,
    /// Why it was not analysed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in one word, which quotes nothing of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Given up after failures of ours; the same image sent again is analysed again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parked: bool,
    pub bundle: BundleId,
    #[serde(default)]
    pub findings: Vec<Finding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<MaskSummary>,
    /// All of them, where there are several; `mask` is the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<MaskSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boxes: Option<Vec<FoundBox>>,
    /// SHA-256 of the embedding's bytes: two boxes that agree saw the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_digest: Option<String>,
    pub milliseconds: Milliseconds,
    /// When this was found, RFC 3339. The time in every object made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysed: Option<String>,
    /// Which image this is about, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// SHA-256 over the settings that shape the objects, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// Every mask pixel by pixel. Not shown: see [`Record::shown`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// One for each label that is spoken of. Not shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<LabelCode>,
    /// The box that found it, whatever box reads this. Not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Longer side of the radiograph in the overlay, as it was set then. Not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay_pixels: Option<u32>,
    /// What it came from and what it says, as digests; none in results of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// One for each finding by phrases, which are among `findings`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heat_maps: Vec<HeatMap>,
    /// Sentences of the training reports, the nearest first: an explanation to read, not a report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<NearSentence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Analysed,
    NotAnalysed,
}

/// Which bundle spoke.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleId {
    pub id: String,
    pub digest: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// What was added to it on the box. The digest is that of the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs: Vec<PackId>,
}

/// A pack behind the bundle that spoke.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackId {
    pub name: String,
    pub version: String,
    pub digest: String,
}

/// A DICOM image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceId {
    pub sop_class_uid: String,
    pub study_instance_uid: String,
    pub series_instance_uid: String,
    /// Of the whole file, hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub name: String,
    pub probability: f32,
    pub threshold: f32,
    pub positive: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskSummary {
    pub name: String,
    /// Of the picture.
    pub area_fraction: f64,
}

/// In pixels of the source image as displayed: a photograph is the way up that its EXIF data says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundBox {
    pub name: String,
    pub score: f32,
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Milliseconds {
    pub read: f64,
    pub preprocess: f64,
    pub infer: f64,
    pub total: f64,
}

impl Record {
    /// Whether an encoded record says that its image was given up.
    pub fn is_parked(json: &[u8]) -> bool {
        serde_json::from_slice(json).is_ok_and(|record: Self| record.parked)
    }

    /// Every mask, whether there is one or there are several.
    pub fn all_masks(&self) -> &[MaskSummary] {
        if self.masks.is_empty() { self.mask.as_slice() } else { &self.masks }
    }

    /// What a label is called in DICOM objects.
    pub(crate) fn code(&self, label: &str) -> LabelCode {
        let known = self.codes.iter().find(|code| code.label == label).cloned();
        known.unwrap_or_else(|| LabelCode::private(label))
    }

    /// Whether anything found is above its threshold: a finding, or a box.
    pub fn is_positive(&self) -> bool {
        self.findings.iter().any(|finding| finding.positive)
            || self.boxes.as_ref().is_some_and(|boxes| !boxes.is_empty())
    }

    /// What people and programs see of it: without what only the DICOM objects need.
    pub fn shown(mut self) -> Self {
        self.heat_maps.iter_mut().for_each(|heat| heat.values.clear());
        Self { segments: Vec::new(), codes: Vec::new(), device: None, overlay_pixels: None, ..self }
    }

    /// Where the phrases of a finding look; `None` of a finding that was trained.
    pub fn heat_map(&self, finding: &str) -> Option<&HeatMap> {
        self.heat_maps.iter().find(|heat| heat.name == finding)
    }

    pub fn not_analysed(file: String, bundle: BundleId, reason: String) -> Self {
        Self {
            sop_instance_uid: None,
            received: None,
            file,
            status: Status::NotAnalysed,
            reason: Some(reason),
            cause: None,
            parked: false,
            bundle,
            findings: Vec::new(),
            mask: None,
            masks: Vec::new(),
            boxes: None,
            embedding_digest: None,
            milliseconds: Milliseconds::default(),
            analysed: None,
            source: None,
            configuration: None,
            segments: Vec::new(),
            codes: Vec::new(),
            device: None,
            overlay_pixels: None,
            account: None,
            heat_maps: Vec::new(),
            nearest: Vec::new(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A result file of the release before `analysed`, `source`, `segments` and `codes`.
    const OLD: &str = r#"{"sop_instance_uid":"1.2.3","received":"2026-11-01T10:00:00Z","file":"x.dcm","status":"analysed","bundle":{"id":"chest","digest":"00"},"findings":[{"name":"Pneumonia","probability":0.5,"threshold":0.25,"positive":true}],"mask":{"name":"lung","area_fraction":0.25},"boxes":[],"embedding_digest":"ab","milliseconds":{"read":1.0,"preprocess":2.0,"infer":3.0,"total":6.0}}"#;

    #[test]
    fn results_of_before_are_read_and_written_as_they_were() {
        let record: Record = serde_json::from_str(OLD).unwrap();
        assert_eq!(record.findings[0].name, "Pneumonia");
        assert_eq!(serde_json::to_string(&record).unwrap(), OLD);
    }

    #[test]
    fn what_is_shown_has_no_bits() {
        let mut record: Record = serde_json::from_str(OLD).unwrap();
        record.segments = vec![Segment::pack("lung", [1, 2], &[0, 1])];
        record.codes = vec![LabelCode::private("lung")];
        record.device = Some(Device::new("box-1"));
        record.overlay_pixels = Some(512);
        let whole = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&whole).unwrap(), record);
        assert_eq!(serde_json::to_string(&record.shown()).unwrap(), OLD);
    }
}
