//! From a radiograph to findings: gate, preprocessing, network, decoding.

use crate::interpret::{Findings, digest, interpret};
use crate::selftest::{SelfTest, Vectors};
use crate::zero_shot::ZeroShot;
use crate::{Engine, EngineError, Options};
use bundle::{Bundle, LabelCode, Manifest};
use radiograph::{NotAnalysed, Radiograph};

/// A bundle ready to look at radiographs.
pub struct Analyzer {
    engine: Engine,
    manifest: Manifest,
    zero_shot: Option<ZeroShot>,
}

/// A part of [`Analyzer::analyze`]. A radiograph that is not analysed has only the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Gate,
    /// Resizing and normalising.
    Preprocess,
    /// Network, decoding, findings by phrases.
    Infer,
}

/// What came of one radiograph.
#[derive(Clone, Debug, PartialEq)]
pub enum Analysis {
    Analysed(Findings),
    /// Why the network was not asked.
    NotAnalysed(NotAnalysed),
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
        let zero_shot = ZeroShot::open(bundle, &engine)?;
        Ok(Self { engine, manifest, zero_shot })
    }

    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Codes of the findings by phrases.
    pub fn zero_shot_codes(&self) -> Vec<LabelCode> {
        self.zero_shot.as_ref().map_or_else(Vec::new, ZeroShot::codes)
    }

    /// Runs the golden vectors and compares every byte.
    pub fn reproduce(&mut self, vectors: &Vectors) -> Result<SelfTest, EngineError> {
        vectors.reproduce(&mut self.engine, self.zero_shot.as_mut())
    }

    /// Gate, preprocessing, network, decoding.
    pub fn analyze(&mut self, radiograph: &Radiograph<'_>) -> Result<Analysis, EngineError> {
        self.analyze_in_stages(radiograph, |_| {})
    }

    /// As [`Self::analyze`], calling `after` at the end of every [`Stage`]: we have no clock, whoever
    /// measures brings one.
    pub fn analyze_in_stages(
        &mut self,
        radiograph: &Radiograph<'_>,
        after: impl FnMut(Stage),
    ) -> Result<Analysis, EngineError> {
        self.analyze_with_input(radiograph, after).map(|(analysis, _)| analysis)
    }

    /// As [`Self::analyze_in_stages`], with what the network was shown, `[C, H, W]`; nothing if it was not asked.
    pub fn analyze_with_input(
        &mut self,
        radiograph: &Radiograph<'_>,
        mut after: impl FnMut(Stage),
    ) -> Result<(Analysis, Vec<f32>), EngineError> {
        let verdict = radiograph::gate(radiograph);
        after(Stage::Gate);
        if let Err(reason) = verdict {
            return Ok((Analysis::NotAnalysed(reason), Vec::new()));
        }
        let input = radiograph::network_input(&radiograph.image, &self.manifest.preprocess);
        after(Stage::Preprocess);
        let outputs = self.engine.run(&input)?;
        let size = [radiograph.image.height, radiograph.image.width];
        let mut findings = interpret(&outputs, &self.manifest, size)?;
        if let Some(zero_shot) = &mut self.zero_shot {
            let told = zero_shot.tell(&outputs, &self.manifest.preprocess.place(size))?;
            findings.findings.extend(told.findings);
            (findings.heat, findings.nearest) = (told.heat, told.nearest);
        }
        after(Stage::Infer);
        let findings = Findings { input_digest: Some(digest(&input)), ..findings };
        Ok((Analysis::Analysed(findings), input))
    }
}
