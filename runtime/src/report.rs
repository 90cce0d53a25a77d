//! What is said about one file: the JSON object of `runtime analyze --json` and of `GET /images/{uid}`.

use serde::{Deserialize, Serialize};

/// Field names are a contract (DESIGN §5): append only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sop_instance_uid: Option<String>,
    /// When the object arrived, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) received: Option<String>,
    pub(crate) file: String,
    pub(crate) status: Status,
    /// Why it was not analysed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Given up after failures of ours; the same image sent again is analysed again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) parked: bool,
    pub(crate) bundle: BundleId,
    #[serde(default)]
    pub(crate) findings: Vec<Finding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mask: Option<MaskSummary>,
    /// All of them, where there are several; `mask` is the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) masks: Vec<MaskSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boxes: Option<Vec<FoundBox>>,
    /// SHA-256 of the embedding's bytes: two boxes that agree saw the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) embedding_digest: Option<String>,
    pub(crate) milliseconds: Milliseconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    Analysed,
    NotAnalysed,
}

/// Which bundle spoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BundleId {
    pub(crate) id: String,
    pub(crate) digest: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) probability: f32,
    pub(crate) threshold: f32,
    pub(crate) positive: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MaskSummary {
    pub(crate) name: String,
    /// Of the picture.
    pub(crate) area_fraction: f64,
}

/// In pixels of the source image as displayed: a photograph is the way up that its EXIF data says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FoundBox {
    pub(crate) name: String,
    pub(crate) score: f32,
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) width: f32,
    pub(crate) height: f32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Milliseconds {
    pub(crate) read: f64,
    pub(crate) preprocess: f64,
    pub(crate) infer: f64,
    pub(crate) total: f64,
}

impl Report {
    /// Whether an encoded report says that its image was given up.
    pub(crate) fn is_parked(json: &[u8]) -> bool {
        serde_json::from_slice(json).is_ok_and(|report: Self| report.parked)
    }

    /// Every mask, whether there is one or there are several.
    pub(crate) fn all_masks(&self) -> &[MaskSummary] {
        if self.masks.is_empty() { self.mask.as_slice() } else { &self.masks }
    }

    pub(crate) fn not_analysed(file: String, bundle: BundleId, reason: String) -> Self {
        Self {
            sop_instance_uid: None,
            received: None,
            file,
            status: Status::NotAnalysed,
            reason: Some(reason),
            parked: false,
            bundle,
            findings: Vec::new(),
            mask: None,
            masks: Vec::new(),
            boxes: None,
            embedding_digest: None,
            milliseconds: Milliseconds::default(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}
