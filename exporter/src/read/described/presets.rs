//! What is known of published networks for the chest.

use super::file::{InputTable, Numbers};
use bundle::Activation;
use graph::{Fit, PictureFilter, Side};
use std::fmt;

/// Fills in what a file does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Preset {
    /// TorchXRayVision 1.x: −1024 to 1024, cropped, scikit-image's filter; its 18 labels on logits
    Torchxrayvision,
    /// torchvision's: the shorter side to 256, the middle 224 (or as much of another size), its mean and deviation; says
    /// nothing of the outputs
    Imagenet,
    /// The 14 labels of CheXpert on logits, ImageNet's mean and deviation, stretched
    Chexpert,
}

/// `torchxrayvision.datasets.default_pathologies`.
const TORCHXRAYVISION: [&str; 18] = [
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
];

/// Columns of CheXpert's `train.csv`.
const CHEXPERT: [&str; 14] = [
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
];

impl Preset {
    /// For a network that takes `size` pixels.
    pub(super) fn input(self, [height, width]: [usize; 2]) -> InputTable {
        let imagenet = InputTable {
            mean: Some(Numbers::Each(vec![0.485, 0.456, 0.406])),
            deviation: Some(Numbers::Each(vec![0.229, 0.224, 0.225])),
            ..InputTable::default()
        };
        match self {
            Self::Torchxrayvision => InputTable {
                range: Some([-1024.0, 1024.0]),
                mean: Some(Numbers::One(0.0)),
                deviation: Some(Numbers::One(1.0)),
                fit: Some(Fit::CentreCrop),
                filter: Some(PictureFilter::Gaussian),
                ..InputTable::default()
            },
            // 256 for 224, 342 for 299.
            Self::Imagenet => InputTable {
                fit: Side::new((height.min(width) * 16 + 7) / 14).map(Fit::ResizeCrop),
                ..imagenet
            },
            Self::Chexpert => imagenet,
        }
    }

    /// Of the one output.
    pub(super) fn labels(self) -> Option<(&'static [&'static str], Activation)> {
        match self {
            Self::Torchxrayvision => Some((&TORCHXRAYVISION, Activation::Sigmoid)),
            Self::Chexpert => Some((&CHEXPERT, Activation::Sigmoid)),
            Self::Imagenet => None,
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchxrayvision => "torchxrayvision",
            Self::Imagenet => "imagenet",
            Self::Chexpert => "chexpert",
        })
    }
}
