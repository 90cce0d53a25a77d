//! What the int8 network made of one validation image.

use crate::{
    read::images::Input,
    verify::{Network, Side, Truth},
};
use anyhow::{Context, Result};
use bundle::Manifest;
use engine::decode::{self, MASK_THRESHOLDS};
use graph::{Graph, Placement, Task};
use metrics::{detection::ImageBoxes, overlap::Overlap};
use records::Record;

/// Answers held against what is known of the image.
pub(super) struct Case {
    pub(super) patient: String,
    pub(super) findings: Vec<Option<bool>>,
    /// Probabilities of the findings.
    pub(super) scores: Vec<f32>,
    /// By region.
    pub(super) regions: Vec<Option<Drawn>>,
    pub(super) boxes: Option<ImageBoxes>,
}

/// How much of a region is covered, in pixels of the image.
pub(super) struct Drawn {
    /// At each of [`MASK_THRESHOLDS`].
    pub(super) at: [Overlap; MASK_THRESHOLDS.len()],
    /// At float's threshold.
    pub(super) at_old: Overlap,
}

impl Case {
    /// Masks are as large as images, so only what came of them stays.
    pub(super) fn of(
        record: &Record,
        manifest: &Manifest,
        graph: &Graph,
        network: &Network,
    ) -> Result<Self> {
        let input = Input::read(&record.image, &manifest.preprocess, 1)?;
        let truth = Truth::of(record, &manifest.model, input.size)?;
        let outputs = network.infer(&input.pixels)?;
        let of = |name: &str| outputs.iter().find(|(own, _)| own == name).map(|(_, data)| data);
        let scores = of("classification").into_iter().flatten();
        let scores = scores.map(|&logit| decode::sigmoid(logit)).collect();
        let planes = of("segmentation").map_or(&[][..], Vec::as_slice);
        let placed = manifest.preprocess.place(input.size);
        let regions = match manifest.head(Task::Segmentation) {
            Some(head) => {
                let old: Vec<f32> = head.labels.iter().map(|l| manifest.threshold(l)).collect();
                overlaps(planes, &truth.masks, &old, graph, &placed)?
            }
            None => Vec::new(),
        };
        let side = Side::new(&manifest.model, &manifest.preprocess, Vec::new());
        let boxes = truth.boxes.as_ref();
        let boxes =
            boxes.map(|truth| side.boxes(graph, &outputs, input.size, truth)).transpose()?;
        Ok(Self { patient: truth.patient, findings: truth.findings, scores, regions, boxes })
    }
}

/// Overlap of each region somebody looked for.
fn overlaps(
    planes: &[f32],
    masks: &[Option<Vec<bool>>],
    old: &[f32],
    graph: &Graph,
    placed: &Placement,
) -> Result<Vec<Option<Drawn>>> {
    let mut outputs = graph.outputs.iter();
    let output = outputs.find(|output| output.name == "segmentation");
    let shape = &graph.shapes()?[output.context("the graph segments nothing")?.node.as_str()];
    let (rows, columns) = (shape[1], shape[2]);
    let region = |((truth, plane), &old): ((&Option<Vec<bool>>, &[f32]), &f32)| {
        let truth = truth.as_ref()?;
        let at = |threshold| {
            let mask = decode::mask("", plane, [rows, columns], placed, threshold);
            let inside: Vec<bool> = mask.data.iter().map(|&inside| inside == 1).collect();
            Overlap::of(&inside, truth)
        };
        Some(Drawn { at: MASK_THRESHOLDS.map(at), at_old: at(old) })
    };
    Ok(masks.iter().zip(planes.chunks_exact(rows * columns)).zip(old).map(region).collect())
}
