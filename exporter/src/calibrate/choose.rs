//! `--observer auto`: ranges chosen by what they do to the task and to the outputs.
//!
//! First the method that serves the whole network best, judged on images that calibrated nothing: the one
//! whose task loses least, and among those that lose as little (within half a per cent) the one whose
//! outputs are closest to float. Then, tensor by tensor from the noisiest on, another method's range is kept
//! where it lowers the outputs' error further. Every choice is logged with its figures.

use super::{Evaluator, Observations, evaluate_candidate::Loss};
use crate::{
    passes::quantized::{Plan, Quantized},
    read::weights::Weights,
};
use anyhow::{Context, Result};
use calibration::{Method, QuantParams, Table};
use graph::Preprocess;
use indicatif::ProgressBar;

/// Tensors whose method is chosen one by one.
const SINGLED_OUT: usize = 10;
/// A choice must lower the error by this share to be kept.
const GAIN: f64 = 0.005;
/// Drops of a metric this close are equal: a dozen images tell no more.
const ALIKE: f64 = 0.005;

/// What a choice is made of.
pub(super) struct Choice<'a> {
    pub(super) evaluator: &'a Evaluator<'a>,
    pub(super) plan: &'a Plan,
    pub(super) weights: &'a Weights,
    pub(super) observations: &'a Observations,
    pub(super) preprocess: &'a Preprocess,
    pub(super) symmetric: bool,
}

/// One method for the whole network.
struct Candidate {
    method: Method,
    table: Table,
    /// Of the outputs: noise over signal.
    error: f64,
    loss: Loss,
}

impl Choice<'_> {
    /// The best table found, and why.
    pub(super) fn table(&self, progress: &ProgressBar) -> Result<(Table, String)> {
        let tables = Method::ALL
            .iter()
            .map(|&method| {
                self.observations.table(
                    self.evaluator.graph,
                    method,
                    self.preprocess,
                    self.symmetric,
                )
            })
            .collect::<Result<Vec<Table>>>()?;
        let singled_out = self.noisiest(&tables[0]);
        progress.set_length((tables.len() * (1 + singled_out.len())) as u64);
        let whole = self.for_the_network(&tables, progress)?;
        let (mut best, mut least) = (whole.table, whole.error);
        let mut changed_tensors = 0;
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
                let error = self.evaluator.error(&self.model(&changed))?;
                if error < least * (1.0 - GAIN) {
                    log::info!(
                        "`{tensor}` by {} instead of {}: output SQNR {:.2} instead of {:.2} dB",
                        entry.method,
                        current.method,
                        decibels(error),
                        decibels(least)
                    );
                    (best, least) = (changed, error);
                    changed_tensors += 1;
                }
            }
        }
        progress.finish_and_clear();
        let why = format!(
            "{} costs {:.4} of {} and gives outputs of {:.1} dB; other methods for {changed_tensors} tensors, \
             {:.1} dB",
            whole.method,
            whole.loss.share,
            whole.loss.task,
            decibels(whole.error),
            decibels(least)
        );
        Ok((best, why))
    }

    fn for_the_network(&self, tables: &[Table], progress: &ProgressBar) -> Result<Candidate> {
        let mut found = Vec::new();
        for (&method, table) in Method::ALL.iter().zip(tables) {
            let model = self.model(table);
            let (error, loss) = (self.evaluator.error(&model)?, self.evaluator.loss(&model)?);
            progress.inc(1);
            log::info!(
                "{method} everywhere: {} loses {:.4}, output SQNR {:.2} dB",
                loss.task,
                loss.share,
                decibels(error)
            );
            found.push(Candidate { method, table: table.clone(), error, loss });
        }
        let least = found.iter().map(|own| own.loss.share).fold(f64::INFINITY, f64::min);
        found
            .into_iter()
            .filter(|own| own.error.is_finite() && own.loss.share <= least + ALIKE)
            .min_by(|a, b| a.error.total_cmp(&b.error))
            .context("every method gives outputs that are not numbers")
    }

    fn model(&self, table: &Table) -> Quantized {
        let graph = self.evaluator.graph.clone();
        Quantized::new(graph, self.plan.clone(), self.weights, &table.params())
    }

    /// Tensors by their own noise under min-max, worst first: there the choice of a range matters.
    fn noisiest(&self, minmax: &Table) -> Vec<String> {
        let noise = |tensor: &String| {
            relative_noise(minmax.tensors[tensor].params, self.observations, tensor)
        };
        let mut all: Vec<(f64, &String)> =
            minmax.tensors.keys().map(|tensor| (noise(tensor), tensor)).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.into_iter().take(SINGLED_OUT).map(|(_, tensor)| tensor.clone()).collect()
    }
}

/// `scale² / 12` over the mean square of the values.
fn relative_noise(params: QuantParams, observations: &Observations, tensor: &str) -> f64 {
    let histogram = observations.observers[tensor].histogram();
    let half = histogram.width() / 2.0;
    let energy: f64 =
        histogram.bins().map(|(edge, count)| count as f64 * (edge + half).powi(2)).sum();
    let step = f64::from(params.scale);
    step * step / 12.0 * histogram.total() as f64 / energy.max(f64::MIN_POSITIVE)
}

fn decibels(noise_over_signal: f64) -> f64 {
    -10.0 * noise_over_signal.log10()
}
