//! What a bundle says of itself.

use super::provenance;
use crate::{
    calibrate::Outcome,
    read::{checkpoint::Checkpoint, described::Described},
};
use anyhow::{Context, Result};
use bundle::{Calibration, Histogram, Manifest, Metric, OperatingPoint, Provenance, TensorRange};
use calibration::Range;
use clap::Args;
use graph::{CheckpointConfig, Head};
use metrics::{figure::Figure, operating::OperatingPoint as Fitted};
use std::path::PathBuf;

/// Bins of a tensor's histogram in the manifest.
const BINS: usize = 64;

/// What the maker of a bundle says of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Identity {
    /// Name of the bundle; default: the manifest's, otherwise chest
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Version of the bundle, newer ones sort later; default: the manifest's, otherwise 0.1.0
    #[arg(id = "bundle-version", long = "version", value_name = "VERSION")]
    version: Option<String>,
    /// SPDX licence expression of the weights; default: the manifest's, otherwise LicenseRef-unspecified
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// One sentence, what the findings are for; default: the manifest's, otherwise research, not diagnosis
    #[arg(long, value_name = "TEXT")]
    intended_use: Option<String>,
    /// What labels are called in DICOM objects, where our table does not say or is to be replaced
    #[arg(long, value_name = "TOML")]
    pub(crate) codes: Option<PathBuf>,
}

impl Identity {
    /// Where a flag is absent, what `described` says.
    pub(crate) fn or(self, described: &Described) -> Self {
        Self {
            id: self.id.or(described.name.clone()),
            version: self.version.or(described.version.clone()),
            licence: self.licence.or(described.licence.clone()),
            intended_use: self.intended_use.or(described.intended_use.clone()),
            codes: self.codes.or(described.codes.clone()),
        }
    }

    fn add_to(&self, manifest: &mut Manifest) {
        let or = |given: &Option<String>, usual: &str| given.as_deref().unwrap_or(usual).to_owned();
        manifest.id = or(&self.id, "chest");
        manifest.version = or(&self.version, "0.1.0");
        manifest.licence = or(&self.licence, "LicenseRef-unspecified");
        let usual = "Research on frontal chest radiographs; not for diagnosis.";
        manifest.intended_use = or(&self.intended_use, usual);
    }
}

/// The manifest of an outcome; [`bundle::Bundle::seal`] adds the sections.
pub(crate) fn of(
    checkpoint: &Checkpoint,
    outcome: &Outcome,
    identity: &Identity,
) -> Result<Manifest> {
    let CheckpointConfig { model, preprocess } = &checkpoint.config;
    let mut manifest = Manifest {
        operating_points: operating_points(&checkpoint.operating_points, &model.heads),
        calibration: calibration(outcome),
        float_nodes: outcome.model.plan.float().iter().cloned().collect(),
        metrics: metrics(checkpoint)?,
        provenance: provenance::of(checkpoint)?,
        ..Manifest::new("", "", model.clone(), *preprocess)
    };
    identity.add_to(&mut manifest);
    Ok(manifest)
}

/// The same of a network of another tool, which comes without figures.
pub(crate) fn of_foreign(
    described: &Described,
    calibration: Calibration,
    float_nodes: Vec<String>,
    provenance: Provenance,
    identity: &Identity,
) -> Manifest {
    let mut manifest = Manifest {
        calibration,
        float_nodes,
        provenance,
        ..Manifest::foreign("", "", described.contract.clone(), described.preprocess)
    };
    manifest.operating_points =
        operating_points(&described.operating_points, &manifest.model.heads);
    identity.add_to(&mut manifest);
    manifest
}

/// Fitted thresholds of every head's labels; ½ where nobody fitted one. A name that two heads share has one threshold.
pub(crate) fn operating_points(fitted: &[Fitted], heads: &[Head]) -> Vec<OperatingPoint> {
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

/// What calibration saw and chose.
pub(crate) fn calibration(outcome: &Outcome) -> Calibration {
    let range = |tensor: &String| {
        let owner = outcome.model.plan.owner(tensor);
        let entry = &outcome.table.tensors[owner];
        let histogram = outcome.observations.observers[owner].histogram();
        TensorRange {
            name: tensor.clone(),
            min: entry.range.lo,
            max: entry.range.hi,
            scale: entry.params.scale,
            zero: entry.params.zero,
            histogram: seen(histogram, entry.seen),
        }
    };
    Calibration {
        observer: outcome.chosen.to_string(),
        images: outcome.observations.images as u32,
        data_digest: hex::encode(outcome.observations.digest),
        tensors: outcome.model.plan.tensors().iter().map(range).collect(),
    }
}

/// A histogram over what was seen.
pub(crate) fn seen(histogram: &calibration::Histogram, Range { lo, hi }: Range) -> Histogram {
    Histogram { start: lo, step: (hi - lo) / BINS as f32, counts: histogram.resample(lo, hi, BINS) }
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
