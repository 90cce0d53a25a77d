//! `--observer auto`: ranges chosen by what they do to the network's outputs.
//!
//! First the method that serves the whole network best, judged on images that calibrated nothing.
//! Then, tensor by tensor from the noisiest on, another method's range is kept where it lowers the
//! outputs' error further. Every choice is logged with its figures.

use crate::{
    calibrate::Observations,
    images::{ImageSet, Input},
    interpreter::{Interpreter, Outputs},
    quantized::{Plan, Quantized},
    simulate::{Simulation, distortion},
    weights::Weights,
};
use anyhow::{Context, Result};
use calibration::{Entry, Method, QuantParams, Table};
use graph::{Graph, Preprocess};
use indicatif::ProgressBar;
use std::collections::BTreeMap;

/// Images that judge; more would cost time, not change the choice.
const JUDGES: usize = 12;
/// Tensors whose method is chosen one by one.
const SINGLED_OUT: usize = 10;
/// A choice must lower the error by this share to be kept.
const GAIN: f64 = 0.005;

/// Every fifth image judges, at most [`JUDGES`]; the rest calibrates.
pub(crate) fn split(images: &ImageSet) -> (ImageSet, ImageSet) {
    let (mut calibrate, mut judge) = (Vec::new(), Vec::new());
    for (at, path) in images.paths.iter().enumerate() {
        let judges = at % 5 == 4 && judge.len() < JUDGES;
        if judges { &mut judge } else { &mut calibrate }.push(path.clone());
    }
    (ImageSet { paths: calibrate }, ImageSet { paths: judge })
}

/// Outputs of the float network, to be approached.
pub(crate) struct Judge<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    weights: &'a Weights,
    symmetric: bool,
    inputs: Vec<Vec<f32>>,
    expected: Vec<Outputs>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        graph: &'a Graph,
        plan: &'a Plan,
        weights: &'a Weights,
        images: &ImageSet,
        preprocess: &Preprocess,
        symmetric: bool,
    ) -> Result<Self> {
        let interpreter = Interpreter::new(graph, weights)?;
        let inputs = images
            .paths
            .iter()
            .map(|path| Ok(Input::read(path, preprocess)?.pixels))
            .collect::<Result<Vec<_>>>()?;
        let expected =
            inputs.iter().map(|input| interpreter.outputs(input)).collect::<Result<_>>()?;
        Ok(Self { graph, plan, weights, symmetric, inputs, expected })
    }

    /// Mean noise over signal of the outputs with these activations.
    fn error(&self, table: &Table) -> Result<f64> {
        let model =
            Quantized::new(self.graph.clone(), self.plan.clone(), self.weights, &params(table));
        let simulation = Simulation::new(&model)?;
        let mut sum = 0.0;
        for (input, expected) in self.inputs.iter().zip(&self.expected) {
            sum += distortion(expected, &simulation.run(input, |_, _| {})?);
        }
        Ok(sum / self.inputs.len() as f64)
    }
}

/// The best table found.
pub(crate) fn table(
    judge: &Judge<'_>,
    observations: &Observations,
    preprocess: &Preprocess,
    progress: &ProgressBar,
) -> Result<Table> {
    let tables = Method::ALL
        .iter()
        .map(|&method| observations.table(judge.graph, method, preprocess, judge.symmetric))
        .collect::<Result<Vec<Table>>>()?;
    let singled_out = noisiest(&tables[0], observations);
    progress.set_length((tables.len() * (1 + singled_out.len())) as u64);
    let (mut best, mut least) = (None, f64::INFINITY);
    for (method, table) in Method::ALL.iter().zip(&tables) {
        let error = judge.error(table)?;
        progress.inc(1);
        log::info!("{method} everywhere: output SQNR {:.2} dB", decibels(error));
        if error < least {
            (best, least) = (Some(table.clone()), error);
        }
    }
    let mut best = best.context("every method gives outputs that are not numbers")?;
    for tensor in singled_out {
        for candidate in &tables {
            progress.inc(1);
            let entry = &candidate.tensors[&tensor];
            let current = &best.tensors[&tensor];
            if entry.params == current.params {
                continue;
            }
            let mut changed = best.clone();
            changed.tensors.insert(tensor.clone(), entry.clone());
            let error = judge.error(&changed)?;
            if error < least * (1.0 - GAIN) {
                log::info!(
                    "`{tensor}` by {} instead of {}: output SQNR {:.2} instead of {:.2} dB",
                    entry.method,
                    current.method,
                    decibels(error),
                    decibels(least)
                );
                (best, least) = (changed, error);
            }
        }
    }
    progress.finish_and_clear();
    Ok(best)
}

/// Tensors by their own noise under min-max, worst first: there the choice of a range matters.
fn noisiest(minmax: &Table, observations: &Observations) -> Vec<String> {
    let mut noise: Vec<(f64, &String)> = minmax
        .tensors
        .iter()
        .map(|(tensor, entry)| (relative_noise(entry, observations, tensor), tensor))
        .collect();
    noise.sort_by(|a, b| b.0.total_cmp(&a.0));
    noise.into_iter().take(SINGLED_OUT).map(|(_, tensor)| tensor.clone()).collect()
}

/// `scale² / 12` over the mean square of the values.
fn relative_noise(entry: &Entry, observations: &Observations, tensor: &str) -> f64 {
    let histogram = observations.observers[tensor].histogram();
    let half = histogram.width() / 2.0;
    let energy: f64 =
        histogram.bins().map(|(edge, count)| count as f64 * (edge + half).powi(2)).sum();
    let step = f64::from(entry.params.scale);
    step * step / 12.0 * histogram.total() as f64 / energy.max(f64::MIN_POSITIVE)
}

/// Quantization parameters by tensor.
pub(crate) fn params(table: &Table) -> BTreeMap<String, QuantParams> {
    table.tensors.iter().map(|(name, entry)| (name.clone(), entry.params)).collect()
}

fn decibels(noise_over_signal: f64) -> f64 {
    -10.0 * noise_over_signal.log10()
}
