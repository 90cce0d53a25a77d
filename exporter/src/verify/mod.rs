//! Int8 against float on the same images: what the task loses, and where.

mod heat;
mod layers;
mod lines;
mod network;
mod report;
mod shapes;
mod sides;
mod truth;
mod words;

pub(crate) use layers::{LayerError, LayerErrors};
pub(crate) use lines::{Line, lines, worst_drop};
pub(crate) use network::{Activation, Network};
pub(crate) use report::{Page, html};
pub(crate) use shapes::Shapes;
pub(crate) use sides::{Side, Sides};
pub(crate) use truth::Truth;
pub(crate) use words::Words;

use crate::passes::interpreter::Outputs;
use anyhow::Result;
use engine::Score;
use metrics::{detection::ImageBoxes, overlap::Overlap};

/// Both networks' outputs on one image, and how they compare with what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) patient: String,
    pub(crate) float: Outputs,
    pub(crate) int8: Outputs,
    /// Float's and int8's, by label of the findings.
    pub(crate) scores: [Vec<Score>; 2],
    /// By label of the findings.
    pub(crate) findings: Vec<Option<bool>>,
    /// Float's and int8's Dice, each at its own threshold, by label of the regions.
    pub(crate) dice: Vec<Option<[f64; 2]>>,
    /// Float's and int8's boxes beside the true ones.
    pub(crate) boxes: Option<[ImageBoxes; 2]>,
}

impl Answer {
    /// Decodes both outputs as the box does and holds them against `truth`; `size` is the source image's.
    pub(crate) fn new(
        shapes: &Shapes,
        sides: &Sides,
        [float, int8]: [Outputs; 2],
        truth: &Truth,
        size: [usize; 2],
    ) -> Result<Self> {
        let shaped = [shapes.shaped(&float)?, shapes.shaped(&int8)?];
        let both = [(&sides.float, &shaped[0]), (&sides.int8, &shaped[1])];
        let mut dice = vec![None; truth.masks.len()];
        if truth.masks.iter().any(Option::is_some) {
            let [float, int8] = both.map(|(side, outputs)| side.masks(outputs, size));
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
                let [float, int8] = both.map(|(side, outputs)| side.boxes(outputs, size, truth));
                Some([float?, int8?])
            }
        };
        let [of_float, of_int8] = both.map(|(side, outputs)| side.scores(outputs));
        let scores = [of_float?, of_int8?];
        let (patient, findings) = (truth.patient.clone(), truth.findings.clone());
        Ok(Self { patient, float, int8, scores, findings, dice, boxes })
    }

    /// Float's and int8's score of one finding.
    fn score(&self, at: usize) -> Option<[&Score; 2]> {
        let [float, int8] = &self.scores;
        Some([float.get(at)?, int8.get(at)?])
    }

    fn outputs(&self, name: &str) -> Option<(&[f32], &[f32])> {
        let of =
            |outputs: &'_ [(String, Vec<f32>)]| outputs.iter().position(|(own, _)| own == name);
        let (float, int8) = (of(&self.float)?, of(&self.int8)?);
        Some((&self.float[float].1, &self.int8[int8].1))
    }
}
