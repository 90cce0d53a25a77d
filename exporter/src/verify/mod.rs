//! Int8 against float on the same images: what the task loses, and where.

mod auroc;
mod boxes;
mod layers;
mod lines;
mod report;
mod truth;

pub(crate) use auroc::{Patients, at_sensitivity, auroc, youden};
pub(crate) use boxes::{Matches, best_score, mean_average_precision};
pub(crate) use layers::{LayerError, LayerErrors};
pub(crate) use lines::{Line, lines, worst_drop};
pub(crate) use report::{Page, html};
pub(crate) use truth::Truth;

use crate::interpreter::Outputs;
use anyhow::{Context, Result};
use boxes::Called;
use bundle::{Calibration, Manifest, OperatingPoint, Provenance};
use engine::Findings;
use graph::{CheckpointConfig, Graph};

/// Both networks' outputs on one image, and how they compare with what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) patient: String,
    pub(crate) float: Outputs,
    pub(crate) int8: Outputs,
    /// By label of the classification head.
    pub(crate) findings: Vec<Option<bool>>,
    /// Float's and int8's Dice, by label of the segmentation head.
    pub(crate) dice: Vec<Option<[f64; 2]>>,
    /// Float's and int8's boxes against the true ones.
    pub(crate) boxes: Option<[Matches; 2]>,
}

/// Boxes below this score change no average precision worth the time.
const LEAST_SCORE: f32 = 0.05;

impl Answer {
    /// Decodes both outputs as the box does and holds them against `truth`; `size` is the source image's.
    pub(crate) fn new(
        graph: &Graph,
        manifest: &Manifest,
        [float, int8]: [Outputs; 2],
        truth: &Truth,
        size: [usize; 2],
    ) -> Result<Self> {
        let mut dice = vec![None; truth.masks.len()];
        let mut boxes = None;
        if truth.masks.iter().any(Option::is_some) || truth.boxes.is_some() {
            let findings =
                [decoded(graph, manifest, &float, size)?, decoded(graph, manifest, &int8, size)?];
            for (at, truth) in truth.masks.iter().enumerate() {
                let of =
                    |truth: &Vec<bool>, side: usize| overlap(&findings[side].masks[at].data, truth);
                dice[at] = truth.as_ref().map(|truth| [of(truth, 0), of(truth, 1)]);
            }
            let truth = truth.boxes.as_ref();
            boxes = truth.map(|truth| [0, 1].map(|side| matches(manifest, &findings[side], truth)));
        }
        let (patient, findings) = (truth.patient.clone(), truth.findings.clone());
        Ok(Self { patient, float, int8, findings, dice, boxes })
    }

    fn outputs(&self, name: &str) -> Option<(&[f32], &[f32])> {
        let of =
            |outputs: &'_ [(String, Vec<f32>)]| outputs.iter().position(|(own, _)| own == name);
        let (float, int8) = (of(&self.float)?, of(&self.int8)?);
        Some((&self.float[float].1, &self.int8[int8].1))
    }
}

/// A manifest that says no more than how outputs are decoded.
pub(crate) fn for_decoding(config: &CheckpointConfig, points: Vec<OperatingPoint>) -> Manifest {
    Manifest {
        id: String::new(),
        version: String::new(),
        sections: Vec::new(),
        model: config.model.clone(),
        preprocess: config.preprocess,
        operating_points: points,
        calibration: Calibration {
            observer: String::new(),
            images: 0,
            data_digest: String::new(),
            tensors: Vec::new(),
        },
        float_nodes: Vec::new(),
        metrics: Vec::new(),
        provenance: Provenance {
            tool: String::new(),
            checkpoint_digest: String::new(),
            training: String::new(),
        },
        licence: String::new(),
        intended_use: String::new(),
    }
}

/// One network's outputs as the box decodes them, every box included.
pub(crate) fn decoded(
    graph: &Graph,
    manifest: &Manifest,
    outputs: &Outputs,
    size: [usize; 2],
) -> Result<Findings> {
    engine::interpret(&shaped(graph, outputs)?, &with_every_box(manifest), size)
        .context("the outputs cannot be decoded")
}

/// Decoded boxes against the true ones.
pub(crate) fn matches(
    manifest: &Manifest,
    findings: &Findings,
    truth: &[(usize, [f32; 4])],
) -> Matches {
    let labels = manifest.model.detector().map_or(&[][..], |head| &head.labels);
    Matches::of(&called(labels, findings), truth, labels.len())
}

/// Average precision ranks boxes, so all of them must come.
fn with_every_box(manifest: &Manifest) -> Manifest {
    let mut manifest = manifest.clone();
    let labels = manifest.model.detector().map_or(Vec::new(), |head| head.labels.clone());
    manifest.operating_points.retain(|point| !labels.contains(&point.name));
    manifest.operating_points.extend(labels.into_iter().map(|name| OperatingPoint {
        name,
        threshold: LEAST_SCORE,
        chosen: String::new(),
    }));
    manifest
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

fn called(labels: &[String], findings: &Findings) -> Vec<Called> {
    let called = |found: &engine::Detection| {
        let class = labels.iter().position(|label| *label == found.name)?;
        let corners = [found.x, found.y, found.x + found.width, found.y + found.height];
        Some(Called { class, score: found.score, corners })
    };
    findings.boxes.iter().flatten().filter_map(called).collect()
}

/// Dice; two empty masks are alike.
pub(crate) fn overlap(mask: &[u8], truth: &[bool]) -> f64 {
    let count = |of: &dyn Fn(bool, bool) -> bool| {
        mask.iter().zip(truth).filter(|&(&a, &b)| of(a == 1, b)).count() as f64
    };
    let (both, sum) = (count(&|a, b| a && b), count(&|a, _| a) + count(&|_, b| b));
    if sum == 0.0 { 1.0 } else { 2.0 * both / sum }
}
