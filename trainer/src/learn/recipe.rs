//! How a run is done: everything that changes its result, saved in the checkpoint.

use crate::data::augment::{Augmentation, Crop};
use anyhow::Result;
use graph::{Preprocess, Task};
use serde::{Deserialize, Serialize};

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The head alone, on features computed once, without augmentation
    Linear,
    /// The head (or decoder) alone, with augmentation
    Frozen,
    /// Everything
    Full,
}

/// Protocols of the literature, so that numbers can be compared (`prior`, `mgca`, `benchx`), and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// For hundreds of images and no pre-trained weights, on a processor
    Edge,
    /// PRIOR: full fine-tuning, 6:2:2, 5 seeds
    Prior,
    /// MGCA: linear probe, AdamW 5e-4, batch 48, 50 epochs, patience 10 on the validation loss
    Mgca,
    /// BenchX: full fine-tuning on random parts of 512-pixel pictures, cosine, early stop on F1
    Benchx,
}

/// What an uncertain label (CheXpert's −1) counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Uncertain {
    /// Not used
    Unknown,
    /// Absent
    Zero,
    /// Present
    One,
    /// MGCA's: Atelectasis, Edema and effusions present, the others absent
    Mgca,
}

/// By which number the best epoch is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// The task's own figure: macro AUROC, Dice or mAP
    Metric,
    Loss,
    F1,
}

/// What a segmentation network is punished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionLoss {
    /// Cross-entropy + (1 − Dice)
    CrossEntropyDice,
    /// MGCA's: 10 · focal (γ = 2) − ln Dice
    FocalLogDice,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub protocol: Protocol,
    pub mode: Mode,
    pub epochs: usize,
    pub batch: usize,
    /// Peak learning rate.
    pub rate: f64,
    pub weight_decay: f64,
    pub warmup_epochs: f64,
    /// Epochs without a better one before stopping.
    pub patience: usize,
    pub select: Select,
    /// Decay per step of the average of weights that is evaluated and saved; 0 = the last weights.
    pub average: f64,
    /// 0 = no blending of pictures; 1 = up to half of another.
    pub mix: f64,
    /// Truth is moved this far towards even odds: text-mined labels are wrong now and then.
    pub smoothing: f64,
    /// Of segmentation only.
    pub region_loss: RegionLoss,
    pub augmentation: Augmentation,
    /// Share of the training patients used.
    pub fraction: f64,
    pub seed: u64,
}

impl Recipe {
    /// How training pictures are kept for a network fed by `preprocess`. A linear probe sees whole pictures once.
    pub fn kept(&self, preprocess: Preprocess) -> Result<Preprocess> {
        match self.mode {
            Mode::Linear => Ok(preprocess),
            _ => self.augmentation.kept(preprocess),
        }
    }
}

impl Protocol {
    /// What the protocol says of a task; where it is silent, what it says of its others.
    pub fn recipe(self, task: Task) -> Recipe {
        let edge = edge(self, task);
        let plain = Recipe { average: 0.0, mix: 0.0, smoothing: 0.0, ..edge.clone() };
        match self {
            Self::Edge => edge,
            Self::Prior => Recipe {
                epochs: 50,
                batch: 48,
                rate: 1e-4,
                weight_decay: 1e-6,
                warmup_epochs: 1.0,
                patience: 10,
                augmentation: Augmentation { rotation: 5.0, flip: 0.5, ..Augmentation::NONE },
                ..plain
            },
            Self::Mgca => Recipe {
                mode: Mode::Frozen,
                epochs: 50,
                batch: if task == Task::Classification { 48 } else { 16 },
                rate: 5e-4,
                weight_decay: if task == Task::Segmentation { 0.05 } else { 1e-6 },
                warmup_epochs: 0.0,
                patience: 10,
                select: Select::Loss,
                region_loss: RegionLoss::FocalLogDice,
                augmentation: Augmentation { flip: 0.5, ..Augmentation::NONE },
                ..plain
            },
            Self::Benchx => Recipe {
                epochs: 50,
                batch: 32,
                rate: 1e-4,
                weight_decay: 1e-6,
                warmup_epochs: 1.0,
                patience: 10,
                select: if task == Task::Classification { Select::F1 } else { Select::Metric },
                augmentation: Augmentation {
                    flip: 0.5,
                    crop: Some(BENCHX_CROP),
                    ..Augmentation::NONE
                },
                ..plain
            },
        }
    }

    /// Which detector the protocol is about.
    pub fn detector(self) -> Task {
        match self {
            Self::Mgca => Task::Yolov3,
            Self::Edge | Self::Prior | Self::Benchx => Task::Detection,
        }
    }

    /// How the protocol reads CheXpert's −1.
    pub fn uncertain(self) -> Uncertain {
        match self {
            Self::Mgca => Uncertain::Mgca,
            Self::Edge | Self::Prior | Self::Benchx => Uncertain::Unknown,
        }
    }
}

/// Pictures are kept at 512 pixels a side; training sees parts of them, evaluation (as the box) the whole picture.
/// Shares are torchvision's defaults, which its code leaves as they are.
const BENCHX_CROP: Crop = Crop { from: 512, least_area: 0.08, aspect: 4.0 / 3.0 };

/// Ours: small batches and strong augmentation for hundreds of images.
fn edge(protocol: Protocol, task: Task) -> Recipe {
    let classification = Recipe {
        protocol,
        mode: Mode::Full,
        epochs: 60,
        batch: 24,
        rate: 1e-3,
        weight_decay: 0.05,
        warmup_epochs: 3.0,
        patience: 30,
        select: Select::Metric,
        average: 0.98,
        mix: 0.5,
        smoothing: 0.05,
        region_loss: RegionLoss::CrossEntropyDice,
        augmentation: Augmentation {
            rotation: 8.0,
            shift: 0.06,
            scale: 0.12,
            flip: 0.5,
            light: 0.15,
            erase: 0.25,
            crop: None,
        },
        fraction: 1.0,
        seed: 0,
    };
    match task {
        Task::Classification | Task::Language => classification,
        // Few images have masks or boxes, so an epoch is short; nothing can be blended.
        Task::Segmentation | Task::Detection | Task::Yolov3 | Task::Yolov3Relu => Recipe {
            batch: 8,
            mix: 0.0,
            smoothing: 0.0,
            augmentation: Augmentation {
                scale: 0.15,
                light: 0.25,
                erase: 0.1,
                ..classification.augmentation
            },
            ..classification
        },
    }
}
