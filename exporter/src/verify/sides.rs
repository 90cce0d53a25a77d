//! The two networks that are compared, each with its own thresholds.

use anyhow::{Context, Result};
use bundle::{Manifest, OperatingPoint};
use engine::Score;
use graph::ModelConfig;
use metrics::detection::{Detection, ImageBoxes, LEAST_SCORE, Rect};

/// How the outputs of both are decoded.
#[derive(Clone, Debug)]
pub(crate) struct Sides {
    pub(crate) float: Side,
    pub(crate) int8: Side,
}

/// How one network's outputs are decoded: as the box does it.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Says no more than decoding needs.
    manifest: Manifest,
    /// [`Self::manifest`] with a threshold that every box worth a look passes: average precision ranks boxes.
    every_box: Manifest,
}

impl Sides {
    /// Both at even odds.
    pub(crate) fn even(meaning: &Manifest) -> Self {
        let side = Side::new(meaning, Vec::new());
        Self { float: side.clone(), int8: side }
    }

    /// Thresholds of a finding: float's and int8's.
    pub(crate) fn thresholds(&self, label: &str) -> [f32; 2] {
        [&self.float, &self.int8].map(|side| side.manifest.threshold(label))
    }

    pub(crate) fn meaning(&self) -> &Manifest {
        &self.float.manifest
    }

    pub(crate) fn model(&self) -> &ModelConfig {
        &self.float.manifest.model
    }
}

impl Side {
    /// Of a manifest, the model, the input and the contract count.
    pub(crate) fn new(meaning: &Manifest, points: Vec<OperatingPoint>) -> Self {
        let Manifest { model, preprocess, contract, .. } = meaning;
        let boxed = model.detector().map_or(&[][..], |head| &head.labels);
        let least = |name: &String| OperatingPoint {
            name: name.clone(),
            threshold: LEAST_SCORE,
            chosen: String::new(),
        };
        let of = |operating_points| Manifest {
            operating_points,
            contract: contract.clone(),
            ..Manifest::new("", "", model.clone(), *preprocess)
        };
        Self { manifest: of(points), every_box: of(boxed.iter().map(least).collect()) }
    }

    /// Every region of one image, `[label][height · width]`, true inside; `size` is rows and columns of the image.
    pub(crate) fn masks(
        &self,
        outputs: &engine::Outputs,
        size: [usize; 2],
    ) -> Result<Vec<Vec<bool>>> {
        let least = |name: &str| self.manifest.threshold(name);
        let masks = engine::masks(outputs, &self.manifest, size, least).context(UNDECODED)?;
        let inside = |mask: engine::Mask| mask.data.into_iter().map(|inside| inside == 1).collect();
        Ok(masks.into_iter().map(inside).collect())
    }

    /// Every finding of one image.
    pub(crate) fn scores(&self, outputs: &engine::Outputs) -> Result<Vec<Score>> {
        engine::scores(outputs, &self.manifest).context(UNDECODED)
    }

    /// Every box of one image beside the true ones, in pixels of the image.
    pub(crate) fn boxes(
        &self,
        outputs: &engine::Outputs,
        size: [usize; 2],
        truth: &[(usize, [f32; 4])],
    ) -> Result<ImageBoxes> {
        let labels = self.manifest.model.detector().map_or(&[][..], |head| &head.labels);
        let called = |found: engine::Detection| {
            let class = labels.iter().position(|label| *label == found.name)?;
            let corners = [found.x, found.y, found.x + found.width, found.y + found.height];
            Some(Detection { class, score: found.score, rect: rect(corners) })
        };
        let found = self.every_box(outputs, size)?;
        Ok(ImageBoxes {
            detections: found.into_iter().filter_map(called).collect(),
            truth: truth.iter().map(|&(class, corners)| (class, rect(corners))).collect(),
        })
    }

    /// The surest first.
    pub(crate) fn every_box(
        &self,
        outputs: &engine::Outputs,
        size: [usize; 2],
    ) -> Result<Vec<engine::Detection>> {
        let found = engine::interpret(outputs, &self.every_box, size).context(UNDECODED)?;
        Ok(found.boxes.unwrap_or_default())
    }
}

const UNDECODED: &str = "the outputs cannot be decoded";

fn rect(corners: [f32; 4]) -> Rect {
    let [x1, y1, x2, y2] = corners.map(f64::from);
    Rect { x1, y1, x2, y2 }
}
