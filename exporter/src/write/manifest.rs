//! What a bundle says of itself.

use super::provenance;
use crate::{calibrate::Outcome, read::checkpoint::Checkpoint};
use anyhow::{Context, Result};
use bundle::{Calibration, Histogram, Manifest, Metric, OperatingPoint, TensorRange};
use clap::Args;
use metrics::figure::Figure;
use std::path::PathBuf;

/// Bins of a tensor's histogram in the manifest.
const BINS: usize = 64;

/// What the maker of a bundle says of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Identity {
    /// Name of the bundle
    #[arg(long, value_name = "NAME", default_value = "chest")]
    id: String,
    /// Version of the bundle; newer ones sort later
    #[arg(
        id = "bundle-version",
        long = "version",
        value_name = "VERSION",
        default_value = "0.1.0"
    )]
    version: String,
    /// SPDX licence expression of the weights
    #[arg(long, value_name = "SPDX", default_value = "LicenseRef-unspecified")]
    licence: String,
    /// One sentence: what the findings are for
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "Research on frontal chest radiographs; not for diagnosis."
    )]
    intended_use: String,
    /// What labels are called in DICOM objects, where our table does not say or is to be replaced
    #[arg(long, value_name = "TOML", conflicts_with = "model")]
    pub(crate) codes: Option<PathBuf>,
}

/// The manifest of an outcome; [`bundle::Bundle::seal`] adds the sections.
pub(crate) fn of(
    checkpoint: &Checkpoint,
    outcome: &Outcome,
    identity: &Identity,
) -> Result<Manifest> {
    Ok(Manifest {
        id: identity.id.clone(),
        version: identity.version.clone(),
        sections: Vec::new(),
        model: checkpoint.config.model.clone(),
        preprocess: checkpoint.config.preprocess,
        operating_points: operating_points(checkpoint),
        calibration: Calibration {
            observer: outcome.chosen.to_string(),
            images: outcome.observations.images as u32,
            data_digest: hex::encode(outcome.observations.digest),
            tensors: tensor_ranges(outcome),
        },
        float_nodes: outcome.model.plan.float().iter().cloned().collect(),
        metrics: metrics(checkpoint)?,
        provenance: provenance::of(checkpoint)?,
        licence: identity.licence.clone(),
        intended_use: identity.intended_use.clone(),
        contract: None,
    })
}

/// Fitted thresholds of every head's labels; ½ where nobody fitted one. A name that two heads share has one threshold.
pub(crate) fn operating_points(checkpoint: &Checkpoint) -> Vec<OperatingPoint> {
    let fitted = &checkpoint.operating_points;
    let heads = &checkpoint.config.model.heads;
    let mut points: Vec<OperatingPoint> = Vec::new();
    for name in heads.iter().flat_map(|head| &head.labels) {
        if points.iter().any(|point| point.name == *name) {
            continue;
        }
        let (threshold, chosen) = match fitted.iter().find(|point| point.name == *name) {
            Some(point) => (point.threshold, point.words()),
            None => (0.5, "not fitted: even odds".into()),
        };
        points.push(OperatingPoint { name: name.clone(), threshold, chosen });
    }
    points
}

fn tensor_ranges(outcome: &Outcome) -> Vec<TensorRange> {
    let of = |tensor: &String| {
        let owner = outcome.model.plan.owner(tensor);
        let entry = &outcome.table.tensors[owner];
        let histogram = outcome.observations.observers[owner].histogram();
        let (lo, hi) = (entry.seen.lo, entry.seen.hi);
        TensorRange {
            name: tensor.clone(),
            min: entry.range.lo,
            max: entry.range.hi,
            scale: entry.params.scale,
            zero: entry.params.zero,
            histogram: Histogram {
                start: lo,
                step: (hi - lo) / BINS as f32,
                counts: histogram.resample(lo, hi, BINS),
            },
        }
    };
    outcome.model.plan.tensors().iter().map(of).collect()
}

/// Figures trainer measured, under `metrics` in `config.toml`.
fn metrics(checkpoint: &Checkpoint) -> Result<Vec<Metric>> {
    let measured: Vec<Figure> = match checkpoint.document.get("metrics") {
        Some(metrics) => metrics.clone().try_into().context("config.toml: bad metrics")?,
        None => Vec::new(),
    };
    Ok(measured
        .into_iter()
        .map(|Figure { task, metric, data, split, value, interval, n }| Metric {
            task,
            metric,
            data,
            split,
            value,
            interval,
            n,
            arithmetic: "float".into(),
        })
        .collect())
}
