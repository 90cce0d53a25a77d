//! `trainer metrics`: the metrics alone, on numbers from a file, so that other tools can check them.

use crate::{
    index::{Record, Split},
    metrics::{
        Estimate,
        bootstrap::Resampling,
        classes::ClassTable,
        detection::{
            Counting, FROC_RATES, ImageBoxes, Matched, RSNA_THRESHOLDS, mean_average_precision,
        },
        overlap::Overlap,
        ranking::Ranking,
        reliability,
        threshold::Confusion,
    },
    tasks::{
        classification::{Targets, figures::Areas},
        segmentation::{Judged, SegmentationResult},
    },
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf};

/// Computes metrics of scores and truth in a file: one JSON case a line
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// `{"kind":"binary","scores":[…],"truth":[…],"threshold":…}`, or kind classes, multi-label, overlap,
    /// segmentation, detection
    file: PathBuf,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Case {
    Binary {
        scores: Vec<f32>,
        truth: Vec<bool>,
        threshold: f32,
    },
    Classes {
        classes: usize,
        predicted: Vec<usize>,
        truth: Vec<usize>,
    },
    /// `scores[image][label]`; a truth of `null` is unknown, `weights` are how often each image counts.
    MultiLabel {
        scores: Vec<Vec<f32>>,
        truth: Vec<Vec<Option<bool>>>,
        weights: Vec<u32>,
    },
    Overlap {
        predicted: Vec<bool>,
        truth: Vec<bool>,
    },
    /// One region in many images of patients.
    Segmentation {
        images: Vec<RegionOf>,
        replicates: usize,
    },
    Detection {
        classes: usize,
        images: Vec<ImageBoxes>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionOf {
    patient: String,
    predicted: Vec<bool>,
    truth: Vec<bool>,
}

impl MetricsArgs {
    /// One line of JSON for each case, whatever `--json` says: there is nothing else to print.
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        let terminal = Terminal { json: true, ..*terminal };
        let path = self.file.display();
        let text = fs::read_to_string(&self.file).with_context(|| format!("cannot read {path}"))?;
        for (at, line) in text.lines().enumerate() {
            let case: Case = serde_json::from_str(line)
                .with_context(|| format!("{path}:{}: not a case", at + 1))?;
            case.check().with_context(|| format!("{path}:{}", at + 1))?;
            terminal.json(&case.measure())?;
        }
        Ok(())
    }
}

impl Case {
    fn check(&self) -> Result<()> {
        let (found, expected) = match self {
            Self::Binary { scores, truth, .. } => (truth.len(), scores.len()),
            Self::Overlap { predicted, truth } => (truth.len(), predicted.len()),
            Self::MultiLabel { scores, truth, weights } => {
                let labels = scores.first().map_or(0, Vec::len);
                let even = scores.iter().all(|row| row.len() == labels)
                    && truth.iter().all(|row| row.len() == labels)
                    && weights.len() == scores.len();
                ensure!(even, "rows of different lengths, expected {labels} labels everywhere");
                (truth.len(), scores.len())
            }
            Self::Classes { classes, predicted, truth } => {
                let highest = predicted.iter().chain(truth).max();
                ensure!(
                    highest.is_none_or(|highest| highest < classes),
                    "class {highest:?}, expected below {classes}"
                );
                (truth.len(), predicted.len())
            }
            Self::Segmentation { images, .. } => {
                let count = |of: fn(&RegionOf) -> usize| images.iter().map(of).collect::<Vec<_>>();
                let [truth, predicted] =
                    [count(|image| image.truth.len()), count(|image| image.predicted.len())];
                ensure!(truth == predicted, "masks of {truth:?} pixels, expected {predicted:?}");
                (0, 0)
            }
            Self::Detection { .. } => (0, 0),
        };
        ensure!(found == expected, "{found} values of truth, expected {expected}");
        Ok(())
    }

    fn measure(&self) -> Value {
        match self {
            Self::Binary { scores, truth, threshold } => {
                let ranking = Ranking::new(scores, truth);
                let table = Confusion::at(*threshold, scores, truth);
                json!({
                    "auroc": ranking.auroc(), "auprc": ranking.average_precision(),
                    "sensitivity": table.sensitivity(), "specificity": table.specificity(),
                    "precision": table.precision(), "accuracy": table.accuracy(), "f1": table.f1(),
                    "kappa": table.kappa(), "brier": reliability::brier(scores, truth),
                    "roc": ranking.roc().iter().map(|point| [point.x, point.y]).collect::<Vec<_>>(),
                })
            }
            Self::Classes { classes, predicted, truth } => {
                let table = ClassTable::new(*classes, predicted, truth);
                json!({
                    "accuracy": table.accuracy(), "precision": table.macro_precision(),
                    "recall": table.macro_recall(), "f1": table.macro_f1(), "kappa": table.kappa(),
                })
            }
            Self::MultiLabel { scores, truth, weights } => multi_label(scores, truth, weights),
            Self::Overlap { predicted, truth } => {
                let overlap = Overlap::of(predicted, truth);
                json!({ "dice": overlap.dice(), "iou": overlap.iou() })
            }
            Self::Segmentation { images, replicates } => segmentation(images, *replicates),
            Self::Detection { classes, images } => detection(images, *classes),
        }
    }
}

/// By the very code `trainer evaluate` uses.
fn segmentation(images: &[RegionOf], replicates: usize) -> Value {
    let record =
        |image: &RegionOf| Record { patient_id: image.patient.clone(), ..Record::default() };
    let records: Vec<Record> = images.iter().map(record).collect();
    let judged: Vec<Judged<'_>> = images
        .iter()
        .zip(&records)
        .map(|(image, record)| Judged {
            record,
            label: 0,
            overlap: Overlap::of(&image.predicted, &image.truth),
            masks: None,
        })
        .collect();
    let (labels, resampling) = (["region".to_owned()], Resampling { replicates, seed: 0 });
    let result =
        SegmentationResult::of(&judged, &labels, &BTreeMap::new(), resampling, Split::Test);
    let region = &result.regions[0];
    let value = |estimate: &Option<Estimate>| estimate.map(|estimate| estimate.value);
    json!({
        "dice": value(&region.dice), "iou": value(&region.iou),
        "dice_present": value(&region.dice_present), "iou_present": value(&region.iou_present),
        "interval": region.dice.map(|dice| [dice.low, dice.high]),
    })
}

/// By the functions `trainer evaluate` takes its intervals of.
fn detection(images: &[ImageBoxes], classes: usize) -> Value {
    let all: Vec<&ImageBoxes> = images.iter().collect();
    let map = |counting| mean_average_precision(&all, 0..classes, &RSNA_THRESHOLDS, counting);
    let ap = |thresholds: &[f64]| -> Vec<Option<f64>> {
        let of = |class| mean_average_precision(&all, class..class + 1, thresholds, Counting::All);
        (0..classes).map(of).collect()
    };
    let (matched, ones) = (Matched::new(&all, 0..classes, &[]), vec![1; images.len()]);
    let froc = |class| matched.froc(class, &ones, &FROC_RATES);
    let surest = |image: &ImageBoxes| image.detections.iter().map(|d| d.score).fold(0.0, f32::max);
    let scores: Vec<f32> = images.iter().map(surest).collect();
    let truth: Vec<bool> = images.iter().map(|image| !image.truth.is_empty()).collect();
    json!({
        "map": map(Counting::All), "map_mgca_compat": map(Counting::MgcaCompat),
        "ap": ap(&RSNA_THRESHOLDS), "ap50": ap(&[0.5]),
        "image_auroc": Ranking::new(&scores, &truth).auroc(),
        "froc": (0..classes).map(froc).collect::<Vec<_>>(),
    })
}

/// By the very code `trainer evaluate` uses.
fn multi_label(scores: &[Vec<f32>], truth: &[Vec<Option<bool>>], weights: &[u32]) -> Value {
    let labels = scores.first().map_or(0, Vec::len);
    let targets = Targets {
        labels: (0..labels).map(|label| label.to_string()).collect(),
        truth: truth.to_vec(),
    };
    let columns: Vec<Vec<f32>> =
        (0..labels).map(|label| scores.iter().map(|row| row[label]).collect()).collect();
    let areas = Areas::of(&targets, &columns);
    json!({ "macro": areas.of_means(weights), "micro": areas.of_all(weights) })
}
