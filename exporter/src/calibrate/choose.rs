//! `--observer auto`: ranges chosen by what they do to the task and to the outputs.
//!
//! First the method that serves the whole network best, on images that calibrated nothing where there are
//! enough: of those whose outputs are about as close to float as the smallest and largest value's, the one
//! whose task loses least, and among those that lose as little (within half a per cent) the one whose outputs
//! are closest. A few images say nothing of a task; then the outputs alone decide. Then, tensor by tensor from
//! the noisiest on, another method's range is kept where it lowers the outputs' error further. Candidates are
//! rounded as the result is, biases corrected. Every choice is logged with its figures.

use super::{Evaluator, Observations, evaluate_candidate::Loss};
use crate::{
    passes::{
        bias,
        quantized::{Plan, Quantized},
    },
    read::weights::Weights,
};
use anyhow::{Context, Result};
use calibration::{Method, Table};
use graph::Preprocess;
use indicatif::ProgressBar;

/// Tensors whose method is chosen one by one.
const SINGLED_OUT: usize = 10;
/// A choice must lower the error by this share to be kept.
const GAIN: f64 = 0.005;
/// Drops of a metric this close are equal: a dozen images tell no more.
const ALIKE: f64 = 0.005;
/// Outputs this many times as noisy as by the smallest and largest value, half a decibel, are as close.
const AS_CLOSE: f64 = 1.122;

/// What a choice is made of.
pub(super) struct Choice<'a> {
    pub(super) evaluator: &'a Evaluator<'a>,
    pub(super) plan: &'a Plan,
    pub(super) weights: &'a Weights,
    pub(super) observations: &'a Observations,
    pub(super) preprocess: &'a Preprocess,
    pub(super) symmetric: bool,
    pub(super) corrects_biases: bool,
    /// Whether the images that judge are those that calibrated, because there were too few.
    pub(super) on_their_own: bool,
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
             {:.1} dB, on {} images{}",
            whole.method,
            whole.loss.share,
            whole.loss.task,
            decibels(whole.error),
            decibels(least),
            self.evaluator.judges(),
            if self.on_their_own { " that calibrated" } else { "" },
        );
        log::info!("chosen: {why}");
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
        best(found, !self.on_their_own).context("every method gives outputs that are not numbers")
    }

    fn model(&self, table: &Table) -> Quantized {
        let graph = self.evaluator.graph.clone();
        let params = table.params();
        let mut model = Quantized::new(graph, self.plan.clone(), self.weights, &params);
        if self.corrects_biases {
            bias::correct(&mut model, self.weights, &self.observations.means);
        }
        model
    }

    /// Tensors by their own noise under min-max (`scale² / 12` over the mean square of the values), worst first: there the
    /// choice of a range matters.
    fn noisiest(&self, minmax: &Table) -> Vec<String> {
        let noise = |tensor: &String| {
            let histogram = self.observations.observers[tensor].histogram();
            let half = histogram.width() / 2.0;
            let energy: f64 =
                histogram.bins().map(|(edge, count)| count as f64 * (edge + half).powi(2)).sum();
            let step = f64::from(minmax.tensors[tensor].params.scale);
            step * step / 12.0 * histogram.total() as f64 / energy.max(f64::MIN_POSITIVE)
        };
        let mut all: Vec<(f64, &String)> =
            minmax.tensors.keys().map(|tensor| (noise(tensor), tensor)).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.into_iter().take(SINGLED_OUT).map(|(_, tensor)| tensor.clone()).collect()
    }
}

/// Of those as close to float as the smallest and largest value, the least loss where the task has a say; among equals the
/// least error.
fn best(mut found: Vec<Candidate>, by_task: bool) -> Option<Candidate> {
    found.retain(|own| own.error.is_finite());
    let yardstick = found.iter().find(|own| own.method == Method::MinMax).map(|own| own.error);
    found.retain(|own| yardstick.is_none_or(|error| own.error <= error * AS_CLOSE));
    let least = found.iter().map(|own| own.loss.share).fold(f64::INFINITY, f64::min);
    found.retain(|own| !by_task || own.loss.share <= least + ALIKE);
    found.into_iter().min_by(|a, b| a.error.total_cmp(&b.error))
}

fn decibels(noise_over_signal: f64) -> f64 {
    -10.0 * noise_over_signal.log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(method: Method, error: f64, share: f64) -> Candidate {
        let loss = Loss { task: "findings".into(), share };
        Candidate { method, table: Table::default(), error, loss }
    }

    fn chosen(found: Vec<Candidate>) -> Method {
        best(found, true).unwrap().method
    }

    #[test]
    fn a_method_whose_outputs_are_far_from_float_never_wins_by_its_task() {
        let found = vec![
            candidate(Method::MinMax, 0.001, 0.25),
            candidate(Method::Entropy, 0.06, 0.0),
            candidate(Method::Mse, 0.0011, 0.2),
        ];
        assert_eq!(chosen(found), Method::Mse);
    }

    #[test]
    fn where_images_are_too_few_the_task_has_no_say() {
        let found =
            || vec![candidate(Method::MinMax, 0.001, 0.0), candidate(Method::Mse, 0.0005, 0.1)];
        assert_eq!(best(found(), false).unwrap().method, Method::Mse);
        assert_eq!(best(found(), true).unwrap().method, Method::MinMax);
    }

    #[test]
    fn among_equals_the_outputs_closest_to_float_decide() {
        let found = vec![
            candidate(Method::MinMax, 0.001, 0.004),
            candidate(Method::Mse, 0.0009, 0.0),
            candidate(Method::ImageMse, 0.0005, 0.003),
            candidate(Method::Entropy, f64::NAN, 0.0),
        ];
        assert_eq!(chosen(found), Method::ImageMse);
        assert!(best(vec![candidate(Method::MinMax, f64::INFINITY, 0.0)], true).is_none());
    }
}
