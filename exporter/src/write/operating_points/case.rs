//! What the int8 network made of one validation image.

use crate::{
    read::images::Input,
    verify::{Network, Side, Truth},
};
use anyhow::{Context, Result};
use bundle::Manifest;
use engine::{
    Plane,
    decode::{self, MASK_THRESHOLDS},
};
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
    pub(super) fn of(record: &Record, manifest: &Manifest, network: &Network) -> Result<Self> {
        let input = Input::read(&record.image, &manifest.preprocess)?;
        let truth = Truth::of(record, &manifest.model, input.size)?;
        let outputs = network.run(&input.pixels)?;
        let side = Side::new(manifest, manifest.operating_points.clone());
        let scores = side.scores(&outputs)?.into_iter().map(|score| score.probability).collect();
        let placed = manifest.preprocess.place(input.size);
        // Overlap of each region somebody looked for.
        let region = |(truth, plane): (&Option<Vec<bool>>, Plane)| {
            let truth = truth.as_ref()?;
            let Plane { name, rows, columns, probability } = plane;
            let at = |threshold| {
                let cells = [rows, columns];
                let mask =
                    decode::mask_of_probabilities("", &probability, cells, &placed, threshold);
                let inside: Vec<bool> = mask.data.iter().map(|&inside| inside == 1).collect();
                Overlap::of(&inside, truth)
            };
            Some(Drawn { at: MASK_THRESHOLDS.map(at), at_old: at(manifest.threshold(&name)) })
        };
        let planes = engine::planes(&outputs, manifest).context("the outputs cannot be decoded")?;
        let regions = truth.masks.iter().zip(planes).map(region).collect();
        let boxes = truth.boxes.as_ref();
        let boxes = boxes.map(|truth| side.boxes(&outputs, input.size, truth)).transpose()?;
        Ok(Self { patient: truth.patient, findings: truth.findings, scores, regions, boxes })
    }
}
