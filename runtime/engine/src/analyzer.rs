//! From a radiograph to findings: gate, preprocessing, network, decoding.

use crate::decode::{self, Cells, Detection, Detector, Level, Mask};
use crate::{Engine, EngineError, Options, Output, Outputs};
use bundle::{Bundle, Manifest};
use graph::{Head, Placement, Task};
use radiograph::{NotAnalysed, Radiograph};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// A bundle ready to look at radiographs.
pub struct Analyzer {
    engine: Engine,
    manifest: Manifest,
}

/// A part of [`Analyzer::analyze`]. A radiograph that is not analysed has only the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Gate,
    /// Resizing and normalising.
    Preprocess,
    /// Network and decoding.
    Infer,
}

/// What came of one radiograph.
#[derive(Clone, Debug, PartialEq)]
pub enum Analysis {
    Analysed(Findings),
    /// Why the network was not asked.
    NotAnalysed(NotAnalysed),
}

/// What the network says.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// One per label of the classification head.
    pub findings: Vec<Finding>,
    /// One per label of the segmentation head, in pixels of the source image.
    pub masks: Vec<Mask>,
    /// In pixels of the source image; `None` without a detection head.
    pub boxes: Option<Vec<Detection>>,
    pub embedding: Vec<f32>,
    /// SHA-256 of the embedding's bytes (f32, little endian), hexadecimal.
    pub embedding_digest: String,
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

impl Analyzer {
    pub fn open(bundle: &Bundle, options: &Options) -> Result<Self, EngineError> {
        let manifest = bundle.manifest.clone();
        let engine = Engine::open(bundle, options)?;
        let (height, width) = (manifest.preprocess.height, manifest.preprocess.width);
        if engine.input_shape() != [1, 1, height, width] {
            let shape = engine.input_shape();
            let reason =
                format!("its input is {shape:?}, the manifest says [1, 1, {height}, {width}]");
            return Err(EngineError::Onnx { reason });
        }
        Ok(Self { engine, manifest })
    }

    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Gate, preprocessing, network, decoding.
    pub fn analyze(&mut self, radiograph: &Radiograph) -> Result<Analysis, EngineError> {
        self.analyze_in_stages(radiograph, |_| {})
    }

    /// As [`Self::analyze`], calling `after` at the end of every [`Stage`]: we have no clock, whoever
    /// measures brings one.
    pub fn analyze_in_stages(
        &mut self,
        radiograph: &Radiograph,
        mut after: impl FnMut(Stage),
    ) -> Result<Analysis, EngineError> {
        let verdict = radiograph::gate(radiograph);
        after(Stage::Gate);
        if let Err(reason) = verdict {
            return Ok(Analysis::NotAnalysed(reason));
        }
        let input = radiograph::network_input(&radiograph.image, &self.manifest.preprocess);
        after(Stage::Preprocess);
        let outputs = self.engine.run(&input)?;
        let size = [radiograph.image.height, radiograph.image.width];
        let findings = interpret(&outputs, &self.manifest, size)?;
        after(Stage::Infer);
        Ok(Analysis::Analysed(findings))
    }
}

/// Decodes the outputs of any network with this manifest, int8 or float.
pub fn interpret(
    outputs: &Outputs,
    manifest: &Manifest,
    source: [usize; 2],
) -> Result<Findings, EngineError> {
    let placed = manifest.preprocess.place(source);
    let embedding = outputs.require("embedding")?.data.clone();
    let bytes: Vec<u8> = embedding.iter().flat_map(|x| x.to_le_bytes()).collect();
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut findings = Findings {
        findings: Vec::new(),
        masks: Vec::new(),
        boxes: None,
        embedding,
        embedding_digest: digest,
    };
    for head in &manifest.model.heads {
        match head.task {
            Task::Classification => findings.findings = classification(outputs, manifest, head)?,
            Task::Segmentation => findings.masks = segmentation(outputs, manifest, head, &placed)?,
            Task::Detection | Task::Yolov3 | Task::Yolov3Relu => {
                let kind = Detector::of(head.task).expect("these tasks are detectors");
                let found = detection(outputs, manifest, head, kind, &placed)?;
                findings.boxes.get_or_insert_default().extend(found);
            }
        }
    }
    Ok(findings)
}

fn classification(
    outputs: &Outputs,
    manifest: &Manifest,
    head: &Head,
) -> Result<Vec<Finding>, EngineError> {
    let logits = outputs.require("classification")?;
    if logits.data.len() != head.labels.len() {
        return Err(shape_error(logits, &format!("[1, {}]", head.labels.len())));
    }
    let finding = |(name, &logit): (&String, &f32)| {
        let (probability, threshold) = (decode::sigmoid(logit), manifest.threshold(name));
        Finding { name: name.clone(), probability, threshold, positive: probability >= threshold }
    };
    Ok(head.labels.iter().zip(&logits.data).map(finding).collect())
}

fn segmentation(
    outputs: &Outputs,
    manifest: &Manifest,
    head: &Head,
    placed: &Placement,
) -> Result<Vec<Mask>, EngineError> {
    let logits = outputs.require("segmentation")?;
    let [rows, columns] = planes(logits, head.labels.len())?;
    let mask = |(name, plane): (&String, &[f32])| {
        decode::mask(name, plane, [rows, columns], placed, manifest.threshold(name))
    };
    Ok(head.labels.iter().zip(logits.data.chunks_exact(rows * columns)).map(mask).collect())
}

fn detection(
    outputs: &Outputs,
    manifest: &Manifest,
    head: &Head,
    kind: Detector,
    placed: &Placement,
) -> Result<Vec<Detection>, EngineError> {
    let channels = kind.channels(head.labels.len());
    let mut levels = Vec::new();
    for number in kind.levels() {
        let output = outputs.require(&kind.output(number))?;
        let [rows, columns] = planes(output, channels)?;
        levels.push(Level { number, cells: Cells { data: &output.data, rows, columns } });
    }
    let least = |name: &str| manifest.threshold(name);
    Ok(decode::detect(kind, &levels, &head.labels, least, placed))
}

/// Rows and columns of a `[1, channels, rows, columns]` output.
fn planes(output: &Output, channels: usize) -> Result<[usize; 2], EngineError> {
    match output.shape[..] {
        [1, found, rows, columns] if found == channels => Ok([rows, columns]),
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
