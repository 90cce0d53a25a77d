//! Int8 against float on the same images: what the task loses, and where.

mod layers;
mod lines;
mod network;
mod report;
mod sides;
mod truth;

pub(crate) use layers::{LayerError, LayerErrors};
pub(crate) use lines::{Line, lines, worst_drop};
pub(crate) use network::Network;
pub(crate) use report::{Page, html};
pub(crate) use sides::{Side, Sides};
pub(crate) use truth::Truth;

use crate::passes::interpreter::Outputs;
use anyhow::Result;
use graph::Graph;
use metrics::{detection::ImageBoxes, overlap::Overlap};

/// Both networks' outputs on one image, and how they compare with what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) patient: String,
    pub(crate) float: Outputs,
    pub(crate) int8: Outputs,
    /// By label of the classification head.
    pub(crate) findings: Vec<Option<bool>>,
    /// Float's and int8's Dice, each at its own threshold, by label of the segmentation head.
    pub(crate) dice: Vec<Option<[f64; 2]>>,
    /// Float's and int8's boxes beside the true ones.
    pub(crate) boxes: Option<[ImageBoxes; 2]>,
}

impl Answer {
    /// Decodes both outputs as the box does and holds them against `truth`; `size` is the source image's.
    pub(crate) fn new(
        graph: &Graph,
        sides: &Sides,
        [float, int8]: [Outputs; 2],
        truth: &Truth,
        size: [usize; 2],
    ) -> Result<Self> {
        let both = [(&sides.float, &float), (&sides.int8, &int8)];
        let mut dice = vec![None; truth.masks.len()];
        if truth.masks.iter().any(Option::is_some) {
            let [float, int8] = both.map(|(side, outputs)| side.masks(graph, outputs, size));
            let drawn = [float?, int8?];
            for (at, truth) in truth.masks.iter().enumerate() {
                let of =
                    |truth: &Vec<bool>, side: usize| Overlap::of(&drawn[side][at], truth).dice();
                dice[at] = truth.as_ref().map(|truth| [of(truth, 0), of(truth, 1)]);
            }
        }
        let boxes = match &truth.boxes {
            None => None,
            Some(truth) => {
                let [float, int8] =
                    both.map(|(side, outputs)| side.boxes(graph, outputs, size, truth));
                Some([float?, int8?])
            }
        };
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
