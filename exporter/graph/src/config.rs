//! What a checkpoint's `config.toml` says: architecture, heads, preprocessing.

use crate::Preprocess;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// `config.toml` of a checkpoint: enough to rebuild the network and feed it.
///
/// Tables this struct does not know (`[training]`, `[provenance]`) are left to their owners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointConfig {
    pub model: ModelConfig,
    pub preprocess: Preprocess,
}

/// The architecture that ships.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    pub backbone: Backbone,
    /// Channels after the stem; 64 is the published width, less makes a smaller relative.
    #[serde(default = "published_width")]
    pub width: usize,
    pub pool: Pool,
    /// Pixels of the input to a place of the last feature map, each way. The published ResNets have 32; with 16 or 8 their
    /// last stages do not shrink, so that places lie closer.
    // Bundles do not hold it: what ships is the network itself.
    #[serde(default, skip_serializing_if = "OutputStride::is_published", with = "in_text_alone")]
    pub output_stride: OutputStride,
    /// Tasks solved on top of the backbone; none for a pure encoder.
    #[serde(default)]
    pub heads: Vec<Head>,
}

/// Which network finds the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backbone {
    Resnet18,
    Resnet34,
    Resnet50,
    Mobilenetv2,
    /// A network of another tool. Only bundles have it: they hold the network as ONNX.
    Foreign,
    // Bundles hold a backbone as its position: append.
    Densenet121,
    EfficientnetB0,
}

/// How the last feature map becomes one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    Mean,
    Attention,
}

/// How much smaller the last feature map is than the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum OutputStride {
    S8,
    S16,
    #[default]
    S32,
}

impl OutputStride {
    /// In pixels.
    pub fn pixels(self) -> usize {
        match self {
            Self::S8 => 8,
            Self::S16 => 16,
            Self::S32 => 32,
        }
    }

    pub fn is_published(&self) -> bool {
        *self == Self::S32
    }
}

impl TryFrom<usize> for OutputStride {
    type Error = String;

    fn try_from(pixels: usize) -> Result<Self, String> {
        let known = [Self::S8, Self::S16, Self::S32].into_iter().find(|own| own.pixels() == pixels);
        known.ok_or_else(|| format!("output_stride is {pixels}, expected 8, 16 or 32"))
    }
}

impl From<OutputStride> for usize {
    fn from(stride: OutputStride) -> Self {
        stride.pixels()
    }
}

/// One task with its outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub task: Task,
    /// Names of the outputs, in order: findings, mask classes or box classes.
    pub labels: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Independent (multi-label) findings on the pooled features: `fc`.
    Classification,
    /// U-Net decoder on C1–C5: `seg.*`, logits at half the input's size.
    Segmentation,
    /// Single-stage, anchor-free detector on C3–C5: `det.*`.
    Detection,
    /// [`Task::Yolov3`] with ReLU for leaky ReLU: what checkpoints and bundles of before mean by `yolov3`.
    #[serde(rename = "yolov3")]
    Yolov3Relu,
    /// YOLOv3 (Redmon 2018) on C3–C5: `yolo.*`. For comparison with the literature; [`Task::Detection`] is lighter.
    // Bundles hold a task as its position: append.
    #[serde(rename = "yolov3-leaky")]
    Yolov3,
    /// PRIOR's joint space of images and reports ([`crate::Graph::with_language`]): no labels of its own, what is asked for
    /// in words stands beside the network.
    Language,
}

impl Task {
    /// Those that find boxes; a network has at most one of them.
    pub const DETECTORS: [Self; 3] = [Self::Detection, Self::Yolov3, Self::Yolov3Relu];
}

impl ModelConfig {
    /// The head that finds boxes.
    pub fn detector(&self) -> Option<&Head> {
        self.heads.iter().find(|head| Task::DETECTORS.contains(&head.task))
    }

    /// A backbone without heads.
    pub fn encoder(backbone: Backbone, pool: Pool) -> Self {
        Self {
            backbone,
            width: published_width(),
            pool,
            output_stride: OutputStride::S32,
            heads: Vec::new(),
        }
    }
}

impl Backbone {
    /// Those that a checkpoint can have.
    pub const ALL: [Self; 6] = [
        Self::Resnet18,
        Self::Resnet34,
        Self::Resnet50,
        Self::Mobilenetv2,
        Self::Densenet121,
        Self::EfficientnetB0,
    ];

    /// As in `config.toml` and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Resnet50 => "resnet50",
            Self::Mobilenetv2 => "mobilenetv2",
            Self::Foreign => "foreign",
            Self::Densenet121 => "densenet121",
            Self::EfficientnetB0 => "efficientnet-b0",
        }
    }
}

impl FromStr for Backbone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let known = Self::ALL.into_iter().find(|backbone| backbone.name() == name);
        known.ok_or_else(|| format!("expected one of {}", names()))
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classification => "classification",
            Self::Segmentation => "segmentation",
            Self::Detection => "detection",
            Self::Yolov3Relu => "yolov3",
            Self::Yolov3 => "yolov3-leaky",
            Self::Language => "language",
        })
    }
}

fn published_width() -> usize {
    64
}

/// Nothing where positions count, as in a bundle's manifest.
mod in_text_alone {
    use super::OutputStride;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(it: &OutputStride, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { it.serialize(to) } else { ().serialize(to) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<OutputStride, D::Error> {
        if from.is_human_readable() {
            OutputStride::deserialize(from)
        } else {
            <()>::deserialize(from).map(|()| OutputStride::S32)
        }
    }
}
