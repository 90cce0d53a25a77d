//! The two networks that are compared, each with its own thresholds.

use crate::passes::interpreter::Outputs;
use anyhow::{Context, Result};
use bundle::{Manifest, OperatingPoint};
use engine::Findings;
use graph::{Graph, ModelConfig, Preprocess};
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
    pub(crate) fn even(model: &ModelConfig, preprocess: &Preprocess) -> Self {
        let side = Side::new(model, preprocess, Vec::new());
        Self { float: side.clone(), int8: side }
    }

    /// Thresholds of a finding: float's and int8's.
    pub(crate) fn thresholds(&self, label: &str) -> [f32; 2] {
        [&self.float, &self.int8].map(|side| side.manifest.threshold(label))
    }

    pub(crate) fn model(&self) -> &ModelConfig {
        &self.float.manifest.model
    }
}

impl Side {
    pub(crate) fn new(
        model: &ModelConfig,
        preprocess: &Preprocess,
        points: Vec<OperatingPoint>,
    ) -> Self {
        let boxed = model.detector().map_or(&[][..], |head| &head.labels);
        let least = |name: &String| OperatingPoint {
            name: name.clone(),
            threshold: LEAST_SCORE,
            chosen: String::new(),
        };
        let of = |operating_points| Manifest {
            operating_points,
            ..Manifest::new("", "", model.clone(), *preprocess)
        };
        Self { manifest: of(points), every_box: of(boxed.iter().map(least).collect()) }
    }

    /// Every region of one image, `[label][height · width]`, true inside; `size` is rows and columns of the image.
    pub(crate) fn masks(
        &self,
        graph: &Graph,
        outputs: &Outputs,
        size: [usize; 2],
    ) -> Result<Vec<Vec<bool>>> {
        let found = decoded(graph, &self.manifest, outputs, size)?;
        let inside = |mask: engine::Mask| mask.data.into_iter().map(|inside| inside == 1).collect();
        Ok(found.masks.into_iter().map(inside).collect())
    }

    /// Every box of one image beside the true ones, in pixels of the image.
    pub(crate) fn boxes(
        &self,
        graph: &Graph,
        outputs: &Outputs,
        size: [usize; 2],
        truth: &[(usize, [f32; 4])],
    ) -> Result<ImageBoxes> {
        let labels = self.manifest.model.detector().map_or(&[][..], |head| &head.labels);
        let called = |found: engine::Detection| {
            let class = labels.iter().position(|label| *label == found.name)?;
            let corners = [found.x, found.y, found.x + found.width, found.y + found.height];
            Some(Detection { class, score: found.score, rect: rect(corners) })
        };
        let found = self.every_box(graph, outputs, size)?;
        Ok(ImageBoxes {
            detections: found.into_iter().filter_map(called).collect(),
            truth: truth.iter().map(|&(class, corners)| (class, rect(corners))).collect(),
        })
    }

    /// The surest first.
    pub(crate) fn every_box(
        &self,
        graph: &Graph,
        outputs: &Outputs,
        size: [usize; 2],
    ) -> Result<Vec<engine::Detection>> {
        Ok(decoded(graph, &self.every_box, outputs, size)?.boxes.unwrap_or_default())
    }
}

fn decoded(
    graph: &Graph,
    manifest: &Manifest,
    outputs: &Outputs,
    size: [usize; 2],
) -> Result<Findings> {
    engine::interpret(&shaped(graph, outputs)?, manifest, size)
        .context("the outputs cannot be decoded")
}

fn shaped(graph: &Graph, outputs: &Outputs) -> Result<engine::Outputs> {
    let shapes = graph.shapes()?;
    let named = |(name, values): &(String, Vec<f32>)| {
        let known = graph.outputs.iter().find(|output| output.name == *name);
        let node = &known.with_context(|| format!("the graph has no output `{name}`"))?.node;
        let shape = [&[1], &shapes[node.as_str()][..]].concat();
        Ok(engine::Output { name: name.clone(), shape, data: values.clone() })
    };
    Ok(engine::Outputs { outputs: outputs.iter().map(named).collect::<Result<_>>()? })
}

fn rect(corners: [f32; 4]) -> Rect {
    let [x1, y1, x2, y2] = corners.map(f64::from);
    Rect { x1, y1, x2, y2 }
}
