//! `--observer auto`: ranges chosen by what they do to the task and to the outputs.
//!
//! First the method that serves the whole network best, judged on images that calibrated nothing: the one
//! whose task loses least, and among those that lose as little (within half a per cent) the one whose
//! outputs are closest to float. Then, tensor by tensor from the noisiest on, another method's range is kept
//! where it lowers the outputs' error further. Every choice is logged with its figures.

use crate::{
    calibrate::Observations,
    judge::{Judge, params, relative_noise},
    passes::quantized::{Plan, Quantized},
    read::{images::ImageSet, weights::Weights},
};
use anyhow::{Context, Result};
use calibration::{Method, Table};
use graph::Preprocess;
use indicatif::ProgressBar;

/// Images that judge; more would cost time, not change the choice.
const JUDGES: usize = 32;
/// Tensors whose method is chosen one by one.
const SINGLED_OUT: usize = 10;
/// A choice must lower the error by this share to be kept.
const GAIN: f64 = 0.005;
/// Drops of a metric this close are equal: a dozen images tell no more.
const ALIKE: f64 = 0.005;

/// Every fifth image judges, at most [`JUDGES`]; the rest calibrates.
pub(crate) fn split(images: &ImageSet) -> (ImageSet, ImageSet) {
    let (mut calibrate, mut judge) = (Vec::new(), Vec::new());
    for (at, path) in images.paths.iter().enumerate() {
        let judges = at % 5 == 4 && judge.len() < JUDGES;
        if judges { &mut judge } else { &mut calibrate }.push(path.clone());
    }
    let of = |paths| ImageSet { paths, records: images.records.clone() };
    (of(calibrate), of(judge))
}

/// What a choice is made of.
pub(crate) struct Choice<'a> {
    pub(crate) judge: &'a Judge<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) weights: &'a Weights,
    pub(crate) observations: &'a Observations,
    pub(crate) preprocess: &'a Preprocess,
    pub(crate) symmetric: bool,
}

impl Choice<'_> {
    /// The best table found, and why.
    pub(crate) fn table(&self, progress: &ProgressBar) -> Result<(Table, String)> {
        let tables = Method::ALL
            .iter()
            .map(|&method| {
                self.observations.table(self.judge.graph, method, self.preprocess, self.symmetric)
            })
            .collect::<Result<Vec<Table>>>()?;
        let singled_out = self.noisiest(&tables[0]);
        progress.set_length((tables.len() * (1 + singled_out.len())) as u64);
        let (method, mut best, mut least, drop) = self.for_the_network(&tables, progress)?;
        let first = least;
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
                let error = self.judge.error(&self.model(&changed))?;
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
            "{method} costs {:.4} of {} and gives outputs of {:.1} dB; other methods for {changed_tensors} tensors, \
             {:.1} dB",
            drop.0,
            drop.1,
            decibels(first),
            decibels(least)
        );
        Ok((best, why))
    }

    fn for_the_network(
        &self,
        tables: &[Table],
        progress: &ProgressBar,
    ) -> Result<(Method, Table, f64, (f64, String))> {
        let mut found = Vec::new();
        for (&method, table) in Method::ALL.iter().zip(tables) {
            let model = self.model(table);
            let (error, drop) = (self.judge.error(&model)?, self.judge.drop(&model)?);
            progress.inc(1);
            log::info!(
                "{method} everywhere: {} loses {:.4}, output SQNR {:.2} dB",
                drop.1,
                drop.0,
                decibels(error)
            );
            found.push((method, table.clone(), error, drop));
        }
        let least = found.iter().map(|(_, _, _, drop)| drop.0).fold(f64::INFINITY, f64::min);
        found
            .into_iter()
            .filter(|(_, _, error, drop)| error.is_finite() && drop.0 <= least + ALIKE)
            .min_by(|a, b| a.2.total_cmp(&b.2))
            .context("every method gives outputs that are not numbers")
    }

    fn model(&self, table: &Table) -> Quantized {
        let graph = self.judge.graph.clone();
        Quantized::new(graph, self.plan.clone(), self.weights, &params(table))
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

fn decibels(noise_over_signal: f64) -> f64 {
    -10.0 * noise_over_signal.log10()
}
