//! From a radiograph to findings: gate, preprocessing, network, decoding.

use crate::decode::{Detection, Mask};
use crate::{Engine, EngineError, Options, interpret};
use bundle::{Bundle, Manifest};
use radiograph::{NotAnalysed, Radiograph};
use serde::Serialize;

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
    /// In pixels of the source image; `None` without a head that finds boxes.
    pub boxes: Option<Vec<Detection>>,
    /// Empty of a network of another tool that has none.
    pub embedding: Vec<f32>,
    /// SHA-256 of the embedding's bytes (f32, little endian), hexadecimal; `None` without one.
    pub embedding_digest: Option<String>,
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
        let preprocess = &manifest.preprocess;
        let expected = [1, preprocess.channels(), preprocess.height, preprocess.width];
        if engine.input_shape() != expected {
            let shape = engine.input_shape();
            let reason = format!("its input is {shape:?}, the manifest says {expected:?}");
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
