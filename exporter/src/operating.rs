//! Operating points and figures of the network that ships: int8, on the validation split.
//!
//! By the criteria the float ones were chosen with: findings by Youden's J or a wished sensitivity, regions by the
//! highest mean Dice, boxes by the highest F1 at half overlap.

use crate::{
    images::Input,
    index::{self, Record},
    network::Network,
    verify::{
        self, Matches, Patients, Truth, at_sensitivity, auroc, best_score, mean_average_precision,
        youden,
    },
};
use anyhow::{Context, Result};
use bundle::{Manifest, Metric, OperatingPoint};
use engine::decode::{self, MASK_THRESHOLDS};
use graph::{Graph, Head, Placement, Task};
use indicatif::ProgressBar;
use std::path::Path;

/// Fewer images (of either kind, where there are two) say nothing about a threshold.
const LEAST: usize = 5;

/// What the int8 network made of one validation image, held against what is known of it.
struct Case {
    patient: String,
    findings: Vec<Option<bool>>,
    /// Probabilities of the findings.
    scores: Vec<f32>,
    /// By region.
    dice: Vec<Option<Curve>>,
    boxes: Option<Matches>,
}

/// Dice at each of [`MASK_THRESHOLDS`].
type Curve = [f64; MASK_THRESHOLDS.len()];

/// Fits every threshold anew on what the int8 network says, and adds its figures to the metrics.
///
/// Only where `images` is an index whose validation split says something; otherwise thresholds stay as they were.
/// `graph` has the network's outputs.
pub(crate) fn refit(
    manifest: &mut Manifest,
    graph: &Graph,
    network: &Network,
    images: &Path,
    progress: &ProgressBar,
) -> Result<()> {
    if images.is_dir() {
        return Ok(());
    }
    let mut records = index::read(images)?;
    records.retain(|record| record.split() == "val" && Truth::is_known(record, &manifest.model));
    progress.set_length(records.len() as u64);
    let mut cases = Vec::new();
    for record in &records {
        let case = Case::of(record, manifest, graph, network);
        cases.push(case.with_context(|| format!("image `{}`", record.id))?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    for head in manifest.model.heads.clone() {
        match head.task {
            Task::Classification => findings(manifest, &head, &cases),
            Task::Segmentation => regions(manifest, &head, &cases),
            Task::Detection | Task::Yolov3 | Task::Yolov3Relu => boxes(manifest, &head, &cases),
        }
    }
    Ok(())
}

impl Case {
    fn of(record: &Record, manifest: &Manifest, graph: &Graph, network: &Network) -> Result<Self> {
        let input = Input::read(&record.image, &manifest.preprocess, 1)?;
        let truth = Truth::of(record, &manifest.model, input.size)?;
        let outputs = network.infer(&input.pixels)?;
        let of = |name: &str| outputs.iter().find(|(own, _)| own == name).map(|(_, data)| data);
        let scores = of("classification").into_iter().flatten();
        let scores = scores.map(|&logit| decode::sigmoid(logit)).collect();
        let planes = of("segmentation").map_or(&[][..], Vec::as_slice);
        let dice = dice(planes, &truth.masks, graph, &manifest.preprocess.place(input.size))?;
        let boxes = match &truth.boxes {
            Some(truth) => {
                let found = verify::decoded(graph, manifest, &outputs, input.size)?;
                Some(verify::matches(manifest, &found, truth))
            }
            None => None,
        };
        // Masks are as large as images, so only what came of them stays.
        Ok(Self { patient: truth.patient, findings: truth.findings, scores, dice, boxes })
    }
}

/// Dice of each region somebody looked for, at every threshold, in pixels of the image.
fn dice(
    planes: &[f32],
    masks: &[Option<Vec<bool>>],
    graph: &Graph,
    placed: &Placement,
) -> Result<Vec<Option<Curve>>> {
    let Some(output) = graph.outputs.iter().find(|output| output.name == "segmentation") else {
        return Ok(Vec::new());
    };
    let shape = &graph.shapes()?[output.node.as_str()];
    let (rows, columns) = (shape[1], shape[2]);
    let at = |plane: &[f32], truth: &Vec<bool>| {
        MASK_THRESHOLDS.map(|threshold| {
            let mask = decode::mask("", plane, [rows, columns], placed, threshold);
            verify::overlap(&mask.data, truth)
        })
    };
    let each = masks.iter().zip(planes.chunks_exact(rows * columns));
    Ok(each.map(|(truth, plane)| Some(at(plane, truth.as_ref()?))).collect())
}

fn findings(manifest: &mut Manifest, head: &Head, cases: &[Case]) {
    for (at, label) in head.labels.iter().enumerate() {
        let known = || cases.iter().filter_map(|case| Some((case, case.findings[at]?)));
        let (scores, truth): (Vec<f32>, Vec<bool>) =
            known().map(|(case, truth)| (case.scores[at], truth)).unzip();
        let patients = Patients::of(known().map(|(case, _)| case.patient.as_str()));
        let positive = truth.iter().filter(|&&positive| positive).count();
        if positive.min(truth.len() - positive) < LEAST {
            let negative = truth.len() - positive;
            too_few(
                label,
                &format!("{positive} with and {negative} without, expected {LEAST} of each"),
            );
            continue;
        }
        let fitted = |point: &OperatingPoint| threshold(point, &scores, &truth);
        set(manifest, label, truth.len(), fitted);
        let of = |sample: &[usize]| {
            let scores: Vec<f32> = sample.iter().map(|&at| scores[at]).collect();
            let truth: Vec<bool> = sample.iter().map(|&at| truth[at]).collect();
            auroc(&scores, &truth)
        };
        measured(manifest, head, &format!("AUROC {label}"), truth.len(), &patients, of);
    }
}

fn regions(manifest: &mut Manifest, head: &Head, cases: &[Case]) {
    for (at, label) in head.labels.iter().enumerate() {
        let (patients, curves): (Vec<&str>, Vec<Curve>) = cases
            .iter()
            .filter_map(|case| Some((case.patient.as_str(), (*case.dice.get(at)?)?)))
            .unzip();
        if curves.len() < LEAST {
            too_few(label, &format!("{} with it drawn, expected {LEAST}", curves.len()));
            continue;
        }
        let total = |at: usize| curves.iter().map(|curve| curve[at]).sum::<f64>();
        let best = (0..MASK_THRESHOLDS.len())
            .max_by(|&a, &b| total(a).total_cmp(&total(b)))
            .expect("there are thresholds");
        set(manifest, label, curves.len(), |_| {
            Some((MASK_THRESHOLDS[best], "highest mean Dice on the val split".into()))
        });
        let mean = |sample: &[usize]| {
            Some(sample.iter().map(|&at| curves[at][best]).sum::<f64>() / sample.len() as f64)
        };
        let patients = Patients::of(patients);
        measured(manifest, head, &format!("Dice {label}"), curves.len(), &patients, mean);
    }
}

fn boxes(manifest: &mut Manifest, head: &Head, cases: &[Case]) {
    let (patients, images): (Vec<&str>, Vec<&Matches>) =
        cases.iter().filter_map(|case| Some((case.patient.as_str(), case.boxes.as_ref()?))).unzip();
    if images.len() < LEAST {
        let labels = head.labels.join(", ");
        too_few(&labels, &format!("{} looked through for boxes, expected {LEAST}", images.len()));
        return;
    }
    for (at, label) in head.labels.iter().enumerate() {
        let Some(score) = best_score(&images, at) else {
            log::warn!(
                "`{label}`: no box of the val split is found, its threshold stays as it was"
            );
            continue;
        };
        set(manifest, label, images.len(), |_| {
            Some((score, "highest F1 at IoU 0.5 on the val split".into()))
        });
    }
    let map = |sample: &[usize]| {
        mean_average_precision(&sample.iter().map(|&at| images[at]).collect::<Vec<_>>())
    };
    measured(manifest, head, "mAP .40-.75", images.len(), &Patients::of(patients), map);
}

fn too_few(label: &str, found: &str) {
    log::warn!("`{label}`: images of the val split: {found}; its threshold stays as it was");
}

/// Puts a new threshold and how it was chosen into the manifest.
fn set(
    manifest: &mut Manifest,
    label: &str,
    n: usize,
    fitted: impl FnOnce(&OperatingPoint) -> Option<(f32, String)>,
) {
    if let Some(point) = manifest.operating_points.iter_mut().find(|point| point.name == label)
        && let Some((threshold, chosen)) = fitted(point)
    {
        (point.threshold, point.chosen) = (threshold, format!("{chosen} (n = {n}), int8"));
    }
}

/// Adds a figure of all `n` images with its interval.
fn measured(
    manifest: &mut Manifest,
    head: &Head,
    metric: &str,
    n: usize,
    patients: &Patients,
    of: impl Fn(&[usize]) -> Option<f64>,
) {
    let all: Vec<usize> = (0..n).collect();
    if let (Some(value), Some(interval)) = (of(&all), patients.interval(of)) {
        manifest.metrics.push(Metric {
            task: head.task.to_string(),
            metric: metric.into(),
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
