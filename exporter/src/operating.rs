//! Operating points and figures of the network that ships: int8, on the validation split.

use crate::{
    images::Input,
    index::{self, Record},
    network::Network,
    verify::{Patients, at_sensitivity, auroc, youden},
};
use anyhow::Result;
use bundle::{Manifest, Metric, OperatingPoint};
use graph::Task;
use indicatif::ProgressBar;
use std::path::Path;

/// Fewer of either kind say nothing about a threshold.
const LEAST: usize = 5;

/// Fits every threshold anew on what the int8 network says, and adds its AUROC to the metrics.
///
/// Only where `images` is an index whose validation split is labelled; otherwise thresholds stay as they were.
pub(crate) fn refit(
    manifest: &mut Manifest,
    network: &Network,
    images: &Path,
    progress: &ProgressBar,
) -> Result<()> {
    let labels = manifest.head(Task::Classification).map_or(Vec::new(), |head| head.labels.clone());
    if labels.is_empty() || images.is_dir() {
        return Ok(());
    }
    let mut records = index::read(images)?;
    let known = |record: &Record| labels.iter().any(|label| record.truth(label).is_some());
    records.retain(|record| record.split() == "val" && known(record));
    progress.set_length(records.len() as u64);
    let mut scores: Vec<Vec<f32>> = Vec::new();
    for record in &records {
        let input = Input::read(&record.image, &manifest.preprocess, 1)?;
        let outputs = network.infer(&input.pixels)?;
        let logits = outputs.into_iter().find(|(name, _)| name == "classification");
        let logits = logits.map_or(Vec::new(), |(_, logits)| logits);
        scores.push(logits.into_iter().map(sigmoid).collect());
        progress.inc(1);
    }
    progress.finish_and_clear();
    for (at, label) in labels.iter().enumerate() {
        let known = || {
            let all = records.iter().zip(&scores);
            all.filter_map(|(record, scores)| Some((record, scores[at], record.truth(label)?)))
        };
        let (scores, truth): (Vec<f32>, Vec<bool>) =
            known().map(|(_, score, truth)| (score, truth)).unzip();
        let patients = Patients::of(known().map(|(record, ..)| record.patient()));
        let positive = truth.iter().filter(|&&positive| positive).count();
        if positive.min(truth.len() - positive) < LEAST {
            log::warn!(
                "`{label}`: {positive} with and {} without in the val split, expected {LEAST} of each to fit a \
                 threshold; it stays as it was",
                truth.len() - positive
            );
            continue;
        }
        fit(manifest, label, &scores, &truth, &patients);
    }
    Ok(())
}

fn fit(manifest: &mut Manifest, label: &str, scores: &[f32], truth: &[bool], patients: &Patients) {
    let n = truth.len();
    if let Some(point) = manifest.operating_points.iter_mut().find(|point| point.name == label)
        && let Some((threshold, chosen)) = threshold(point, scores, truth)
    {
        (point.threshold, point.chosen) = (threshold, format!("{chosen} (n = {n}), int8"));
    }
    let of = |sample: &[usize]| {
        let scores: Vec<f32> = sample.iter().map(|&at| scores[at]).collect();
        let truth: Vec<bool> = sample.iter().map(|&at| truth[at]).collect();
        auroc(&scores, &truth)
    };
    if let (Some(value), Some(interval)) = (auroc(scores, truth), patients.interval(of)) {
        manifest.metrics.push(Metric {
            task: Task::Classification.to_string(),
            metric: format!("AUROC {label}"),
            data: "the calibration index".into(),
            split: "val".into(),
            value,
            interval,
            n: n as u32,
            arithmetic: "int8".into(),
        });
    }
}

/// By the criterion the float threshold was chosen with.
fn threshold(point: &OperatingPoint, scores: &[f32], truth: &[bool]) -> Option<(f32, String)> {
    let wanted = point.chosen.strip_prefix("sensitivity ").and_then(|rest| rest.split(' ').next());
    match wanted.and_then(|share| share.parse().ok()) {
        Some(share) => {
            let chosen = format!("sensitivity {share} on the val split");
            Some((at_sensitivity(scores, truth, share)?, chosen))
        }
        None => Some((youden(scores, truth)?, "Youden's J on the val split".into())),
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}
