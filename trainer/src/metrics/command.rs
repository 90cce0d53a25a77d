//! `trainer metrics`: the metrics alone, on numbers from a file, so that other tools can check them.

use super::{
    classes::ClassTable,
    detection::{Counting, FROC_RATES, ImageBoxes, RSNA_THRESHOLDS, froc, mean_average_precision},
    overlap::Overlap,
    ranking::Ranking,
    reliability,
    threshold::Confusion,
};
use crate::{evaluate::Areas, finetune::Targets, terminal::Terminal};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

/// Computes metrics of scores and truth in a file: one JSON case a line
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// `{"kind":"binary","scores":[…],"truth":[…],"threshold":…}`, or kind classes, multi-label, overlap, detection
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
    Detection {
        classes: usize,
        images: Vec<ImageBoxes>,
    },
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
            Self::Detection { .. } => (0, 0),
        };
        ensure!(found == expected, "{found} values of truth, expected {expected}");
        Ok(())
    }

    fn measure(&self) -> Value {
        match self {
            Self::Binary { scores, truth, threshold } => binary(scores, truth, *threshold),
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
            Self::Detection { classes, images } => {
                let images: Vec<&ImageBoxes> = images.iter().collect();
                let map = |counting| {
                    mean_average_precision(&images, 0..*classes, &RSNA_THRESHOLDS, counting)
                };
                json!({
                    "map": map(Counting::All),
                    "map_mgca_compat": map(Counting::MgcaCompat),
                    "froc": (0..*classes).map(|class| froc(&images, class, &FROC_RATES)).collect::<Vec<_>>(),
                })
            }
        }
    }
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

fn binary(scores: &[f32], truth: &[bool], threshold: f32) -> Value {
    let ranking = Ranking::new(scores, truth);
    let table = Confusion::at(threshold, scores, truth);
    json!({
        "auroc": ranking.auroc(), "auprc": ranking.average_precision(),
        "sensitivity": table.sensitivity(), "specificity": table.specificity(),
        "precision": table.precision(), "accuracy": table.accuracy(),
        "f1": table.f1(), "kappa": table.kappa(), "brier": reliability::brier(scores, truth),
        "roc": ranking.roc().iter().map(|point| [point.x, point.y]).collect::<Vec<_>>(),
    })
}
