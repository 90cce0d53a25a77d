//! What a candidate costs, on images that calibrated nothing: of the outputs, of the task, layer by layer.

use crate::{
    passes::{
        interpreter::{Interpreter, Outputs},
        quantized::{Plan, Quantized, is_layer},
        simulate::{Simulation, distortion},
    },
    read::{
        images::{ImageSet, Input},
        weights::Weights,
    },
    verify::{self, Answer, Line, Shapes, Sides, Truth},
};
use anyhow::Result;
use bundle::Manifest;
use calibration::QuantParams;
use graph::{Graph, ModelConfig, Preprocess, Task};
use indicatif::ProgressBar;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

/// The task that loses most, and the share of its metric.
pub(super) struct Loss {
    pub(super) task: String,
    pub(super) share: f64,
}

/// The float network, images, its outputs on them, and what is known of them.
pub(crate) struct Evaluator<'a> {
    pub(super) graph: &'a Graph,
    weights: &'a Weights,
    shapes: Shapes,
    /// Absent for a network of unknown heads.
    sides: Option<Sides>,
    cases: Vec<Case>,
}

struct Case {
    input: Vec<f32>,
    expected: Outputs,
    truth: Truth,
    size: [usize; 2],
}

/// Images that outputs are compared on; more change no choice.
const ERRORS: usize = 12;
/// Fewer of either kind and an AUROC says nothing: then both networks' agreement judges.
const LEAST: usize = 8;

/// What rounding one layer alone does to the outputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sensitivity {
    pub(crate) node: String,
    /// Of the outputs, when only this layer and its input are rounded.
    pub(crate) sqnr_db: f64,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        weights: &'a Weights,
        images: &ImageSet,
        preprocess: &Preprocess,
        meaning: Option<&Manifest>,
    ) -> Result<Self> {
        let interpreter = Interpreter::new(graph, weights)?;
        let case = |path: &std::path::PathBuf| -> Result<Case> {
            let input = Input::read(path, preprocess)?;
            let truth = match (images.records.get(path), meaning) {
                (Some(record), Some(meaning)) => Truth::of(record, &meaning.model, input.size)?,
                _ => Truth::default(),
            };
            let expected = interpreter.outputs(&input.pixels)?;
            Ok(Case { input: input.pixels, expected, truth, size: input.size })
        };
        let mut cases: Vec<Case> = images.paths.iter().map(case).collect::<Result<_>>()?;
        // The truth of labels with too few images of either kind is dropped.
        let labels = cases.iter().map(|case| case.truth.findings.len()).max().unwrap_or(0);
        for at in 0..labels {
            let own = |case: &&Case, truth| case.truth.findings.get(at) == Some(&Some(truth));
            let count = |truth| cases.iter().filter(|case| own(case, truth)).count();
            if count(true).min(count(false)) < LEAST {
                let all = cases.iter_mut().filter_map(|case| case.truth.findings.get_mut(at));
                all.for_each(|truth| *truth = None);
            }
        }
        let sides = meaning.map(Sides::even);
        Ok(Self { graph, weights, shapes: Shapes::of(graph)?, sides, cases })
    }

    /// Mean noise over signal of the outputs, on the first [`ERRORS`] images.
    pub(super) fn error(&self, model: &Quantized) -> Result<f64> {
        let cases = &self.cases[..self.cases.len().min(ERRORS)];
        let simulation = Simulation::new(model)?;
        let mut sum = 0.0;
        for case in cases {
            sum += distortion(&case.expected, &simulation.run(&case.input, |_, _| {})?);
        }
        Ok(sum / cases.len().max(1) as f64)
    }

    /// How many images judge.
    pub(super) fn judges(&self) -> usize {
        self.cases.len()
    }

    /// The task that loses most, relative to float.
    pub(super) fn loss(&self, model: &Quantized) -> Result<Loss> {
        let nothing = || Loss { task: "nothing measured".into(), share: 0.0 };
        Ok(worst(&self.lines(model)?).unwrap_or_else(nothing))
    }

    /// [`Self::loss`] of detection; `None` where no box is known.
    pub(super) fn loss_of_boxes(&self, model: &Quantized) -> Result<Option<Loss>> {
        let mut lines = self.lines(model)?;
        lines.retain(Line::is_of_boxes);
        Ok(worst(&lines))
    }

    /// Every metric of the rounded network beside float's.
    fn lines(&self, model: &Quantized) -> Result<Vec<Line>> {
        let Some(sides) = &self.sides else { return Ok(Vec::new()) };
        let simulation = Simulation::new(model)?;
        let answer = |case: &Case| {
            let rounded = simulation.run(&case.input, |_, _| {})?;
            let outputs = [case.expected.clone(), rounded];
            let truth =
                Truth { findings: findings(&case.truth, sides.model()), ..case.truth.clone() };
            Answer::new(&self.shapes, sides, outputs, &truth, case.size)
        };
        let answers = self.cases.iter().map(answer).collect::<Result<Vec<_>>>()?;
        Ok(verify::lines(sides, &answers))
    }

    /// Layers by the noise each brings alone, most first.
    pub(super) fn sensitivities(
        &self,
        owned: &BTreeMap<String, QuantParams>,
        progress: &ProgressBar,
    ) -> Result<Vec<Sensitivity>> {
        let layers: Vec<&str> =
            self.graph.nodes.iter().filter(|n| is_layer(n)).map(|n| n.name.as_str()).collect();
        progress.set_length(layers.len() as u64);
        let mut found = Vec::new();
        for name in &layers {
            let others = layers.iter().filter(|other| *other != name);
            let float: BTreeSet<String> = others.map(|&other| other.to_owned()).collect();
            let plan = Plan::with_float(self.graph, &float)?;
            let mut model = Quantized::new(self.graph.clone(), plan, self.weights, owned);
            // Only what this layer reads is rounded; the others' inputs are theirs to lose.
            let node = self.graph.node(name).expect("it was listed above");
            model.activations.retain(|tensor, _| *tensor == node.inputs[0]);
            let sqnr_db = -10.0 * self.error(&model)?.max(1e-20).log10();
            found.push(Sensitivity { node: (*name).to_owned(), sqnr_db });
            progress.inc(1);
        }
        progress.finish_and_clear();
        found.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
        Ok(found)
    }
}

impl Display for Loss {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} -{:.4}", self.task, self.share)
    }
}

fn worst(lines: &[Line]) -> Option<Loss> {
    verify::worst_drop(lines).map(|(share, task)| Loss { task, share })
}

/// Unknown for every label where no index says anything.
fn findings(truth: &Truth, model: &ModelConfig) -> Vec<Option<bool>> {
    let mut heads = model.heads.iter();
    let head = heads.find(|head| head.task == Task::Classification);
    let labels = head.map_or(0, |head| head.labels.len());
    if truth.findings.len() == labels { truth.findings.clone() } else { vec![None; labels] }
}
