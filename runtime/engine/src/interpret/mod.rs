//! From the outputs of a network to what they say. Networks of ours have outputs of fixed names (`ours`), of others the
//! manifest's contract says what each means (`foreign`).

mod foreign;
mod ours;

use crate::decode::{self, Detection, Heat, Mask};
use crate::{EngineError, Output, Outputs};
use bundle::Manifest;
use graph::Placement;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// What the network says.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// One per label of the classification head, then one for each finding by phrases.
    pub findings: Vec<Finding>,
    /// One per label of the segmentation head, in pixels of the source image.
    pub masks: Vec<Mask>,
    /// In pixels of the source image; `None` without a head that finds boxes.
    pub boxes: Option<Vec<Detection>>,
    /// Empty of a network of another tool that has none.
    pub embedding: Vec<f32>,
    /// SHA-256 of the embedding's bytes (f32, little endian), hexadecimal; `None` without one.
    pub embedding_digest: Option<String>,
    /// SHA-256 of what the network saw, its input's bytes (f32, little endian), hexadecimal; `None` where the outputs
    /// alone are known.
    pub input_digest: Option<String>,
    /// One for each finding by phrases, in their order; none where the outputs alone are known.
    pub heat: Vec<Heat>,
    /// The nearest sentences of the bundle's bank; an explanation, not a report.
    pub nearest: Vec<NearestSentence>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub name: String,
    /// In `[0, 1]`.
    pub probability: f32,
    /// Positive from here on.
    pub threshold: f32,
    pub positive: bool,
}

/// A sentence of the training reports that the image is near to, and where it looks most.
#[derive(Clone, Debug, PartialEq)]
pub struct NearestSentence {
    pub sentence: String,
    /// Cosine, −1 to 1.
    pub similarity: f32,
    /// `x, y` in pixels of the source image: the middle of the place that the sentence looks at most.
    pub place: [f32; 2],
}

/// A finding before anybody asks for its threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub name: String,
    /// Orders pictures as the probability does, and better where that is all but 0 or 1.
    pub rank: f32,
    /// In `[0, 1]`.
    pub probability: f32,
}

/// Where something may be, over the whole input.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    pub name: String,
    pub rows: usize,
    pub columns: usize,
    /// `[rows, columns]`, in `[0, 1]`.
    pub probability: Vec<f32>,
}

impl Findings {
    /// Whether a finding comes from phrases, not from training.
    pub fn is_zero_shot(&self, name: &str) -> bool {
        self.heat.iter().any(|heat| heat.name == name)
    }

    /// One number for each thing that is looked for, by name: `score/Pneumonia`, `mask/left lung` (its share of the
    /// picture), `boxes/count` and `boxes/best`. The same names for every image of a network, whatever packs of phrases
    /// came to it: findings by phrases are not among them.
    pub fn figures(&self) -> Vec<(String, f32)> {
        let own = self.findings.iter().filter(|finding| !self.is_zero_shot(&finding.name));
        let scores = own.map(|f| (format!("score/{}", f.name), f.probability));
        let masks =
            self.masks.iter().map(|m| (format!("mask/{}", m.name), m.area_fraction() as f32));
        let boxes = self.boxes.iter().flat_map(|boxes| {
            let best = boxes.iter().map(|found| found.score).fold(0.0, f32::max);
            [("boxes/count".to_owned(), boxes.len() as f32), ("boxes/best".to_owned(), best)]
        });
        scores.chain(masks).chain(boxes).collect()
    }
}

/// Decodes the outputs of any network with this manifest, int8 or float.
pub fn interpret(
    outputs: &Outputs,
    manifest: &Manifest,
    source: [usize; 2],
) -> Result<Findings, EngineError> {
    let finding = |Score { name, probability, .. }: Score| {
        let threshold = manifest.threshold(&name);
        Finding { name, probability, threshold, positive: probability >= threshold }
    };
    let embedding = embedding(outputs, manifest)?;
    Ok(Findings {
        findings: scores(outputs, manifest)?.into_iter().map(finding).collect(),
        masks: masks(outputs, manifest, source, |name| manifest.threshold(name))?,
        boxes: boxes(outputs, manifest, &manifest.preprocess.place(source))?,
        embedding_digest: embedding.map(digest),
        embedding: embedding.map(<[f32]>::to_vec).unwrap_or_default(),
        input_digest: None,
        heat: Vec::new(),
        nearest: Vec::new(),
    })
}

/// One for each label of the findings.
pub fn scores(outputs: &Outputs, manifest: &Manifest) -> Result<Vec<Score>, EngineError> {
    match &manifest.contract {
        None => ours::scores(outputs, manifest),
        Some(contract) => foreign::scores(outputs, contract),
    }
}

/// One for each label of the masks.
pub fn planes(outputs: &Outputs, manifest: &Manifest) -> Result<Vec<Plane>, EngineError> {
    match &manifest.contract {
        None => ours::planes(outputs, manifest),
        Some(contract) => foreign::planes(outputs, contract),
    }
}

/// One for each label of the masks, inside from `least` of its name on, in pixels of a `source` image.
pub fn masks(
    outputs: &Outputs,
    manifest: &Manifest,
    source: [usize; 2],
    least: impl Fn(&str) -> f32,
) -> Result<Vec<Mask>, EngineError> {
    let placed = manifest.preprocess.place(source);
    let mask = |Plane { name, rows, columns, probability }: Plane| {
        let cells = [rows, columns];
        decode::mask_of_probabilities(&name, &probability, cells, &placed, least(&name))
    };
    Ok(planes(outputs, manifest)?.into_iter().map(mask).collect())
}

fn boxes(
    outputs: &Outputs,
    manifest: &Manifest,
    placed: &Placement,
) -> Result<Option<Vec<Detection>>, EngineError> {
    match &manifest.contract {
        None => ours::boxes(outputs, manifest, placed),
        Some(contract) => {
            foreign::boxes(outputs, contract, |name| manifest.threshold(name), placed)
        }
    }
}

fn embedding<'a>(
    outputs: &'a Outputs,
    manifest: &Manifest,
) -> Result<Option<&'a [f32]>, EngineError> {
    let name = match &manifest.contract {
        None => Some("embedding"),
        Some(contract) => foreign::embedding(contract),
    };
    name.map(|name| outputs.require(name).map(|output| &output.data[..])).transpose()
}

/// SHA-256 of the bytes of numbers, little endian, hexadecimal.
pub(crate) fn digest(numbers: &[f32]) -> String {
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Rows and columns of a `[1, channels, rows, columns]` output.
fn cells(output: &Output, channels: usize) -> Result<[usize; 2], EngineError> {
    match output.shape[..] {
        [1, found, rows, columns] if found == channels && rows * columns > 0 => Ok([rows, columns]),
        _ => Err(shape_error(output, &format!("[1, {channels}, rows, columns]"))),
    }
}

fn shape_error(output: &Output, expected: &str) -> EngineError {
    EngineError::OutputShape {
        name: output.name.clone(),
        found: output.shape.clone(),
        expected: expected.to_owned(),
    }
}
