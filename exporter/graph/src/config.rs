//! What a checkpoint's `config.toml` says: architecture, heads, preprocessing.

use crate::{Graph, Node, Op, Output, Preprocess, heads, mobilenet, resnet};
use serde::{Deserialize, Serialize};
use std::{error::Error, fmt};

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
}

/// How the last feature map becomes one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    Mean,
    Attention,
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
}

impl Task {
    /// Those that find boxes; a network has at most one of them.
    pub const DETECTORS: [Self; 3] = [Self::Detection, Self::Yolov3, Self::Yolov3Relu];
}

impl CheckpointConfig {
    /// The network this checkpoint holds weights for.
    pub fn graph(&self) -> Result<Graph, CheckpointError> {
        let Preprocess { height, width, std, .. } = self.preprocess;
        if !(32..=4096).contains(&height) || !(32..=4096).contains(&width) {
            return Err(CheckpointError::Size { height, width });
        }
        if std.is_nan() || std <= 0.0 {
            return Err(CheckpointError::Std(std));
        }
        self.model.graph([1, height, width])
    }
}

impl ModelConfig {
    /// The head that finds boxes.
    pub fn detector(&self) -> Option<&Head> {
        self.heads.iter().find(|head| Task::DETECTORS.contains(&head.task))
    }

    /// A backbone without heads.
    pub fn encoder(backbone: Backbone, pool: Pool) -> Self {
        Self { backbone, width: published_width(), pool, heads: Vec::new() }
    }

    /// The network for input images `[C, H, W]`.
    pub fn graph(&self, input_shape: [usize; 3]) -> Result<Graph, CheckpointError> {
        if self.width == 0 || !self.width.is_multiple_of(4) || self.width > 1024 {
            return Err(CheckpointError::Width(self.width));
        }
        let (mut graph, features) = self.backbone(input_shape);
        let c5 = features.c5().to_owned();
        let channels = features.channels[4];
        let pool = match self.pool {
            Pool::Mean => Op::GlobalAvgPool,
            Pool::Attention => Op::AttentionPool2d {
                channels,
                heads: 8,
                tokens: input_shape[1].div_ceil(32) * input_shape[2].div_ceil(32),
            },
        };
        let name = if self.pool == Pool::Mean { "avgpool" } else { "attnpool" };
        graph.push(name, pool, &[&c5]);
        graph.outputs.push(Output { name: "embedding".into(), node: name.into() });
        for (at, head) in self.heads.iter().enumerate() {
            if head.labels.is_empty() {
                return Err(CheckpointError::NoLabels(head.task));
            }
            let others = &self.heads[..at];
            if others.iter().any(|other| other.task == head.task) {
                return Err(CheckpointError::TwoHeads(head.task));
            }
            let detects = |head: &&Head| Task::DETECTORS.contains(&head.task);
            if let (Some(other), true) = (others.iter().find(detects), detects(&head)) {
                return Err(CheckpointError::TwoDetectors(other.task, head.task));
            }
            heads::append(&mut graph, head, &features, name);
        }
        Ok(graph)
    }

    /// The nodes that make C1–C5, whose strides are 2, 4, 8, 16, 32: what distillation compares.
    pub fn features(&self, input_shape: [usize; 3]) -> Result<[String; 5], CheckpointError> {
        self.graph(input_shape)?;
        Ok(self.backbone(input_shape).1.names)
    }

    fn backbone(&self, input_shape: [usize; 3]) -> (Graph, resnet::Features) {
        let mut graph = Graph {
            name: self.backbone.to_string(),
            input: "image".into(),
            input_shape,
            nodes: Vec::new(),
            outputs: Vec::new(),
        };
        let features = match self.backbone {
            Backbone::Mobilenetv2 => mobilenet::backbone(&mut graph, self.width),
            Backbone::Resnet18 => resnet::backbone(&mut graph, [2, 2, 2, 2], 1, self.width),
            Backbone::Resnet34 => resnet::backbone(&mut graph, [3, 4, 6, 3], 1, self.width),
            Backbone::Resnet50 => resnet::backbone(&mut graph, [3, 4, 6, 3], 4, self.width),
        };
        (graph, features)
    }
}

impl Graph {
    pub(crate) fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[&str]) -> String {
        let name = name.into();
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        self.nodes.push(Node { name: name.clone(), op, inputs });
        name
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Resnet50 => "resnet50",
            Self::Mobilenetv2 => "mobilenetv2",
        })
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
        })
    }
}

/// Why a configuration describes no network.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CheckpointError {
    Width(usize),
    Size { height: usize, width: usize },
    Std(f32),
    NoLabels(Task),
    TwoHeads(Task),
    TwoDetectors(Task, Task),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width(width) => {
                write!(f, "width is {width}, expected a multiple of 4 from 4 to 1024")
            }
            Self::Size { height, width } => {
                write!(f, "input is {height}x{width}, expected 32 to 4096 pixels a side")
            }
            Self::Std(std) => write!(f, "preprocess.std is {std}, expected a positive number"),
            Self::NoLabels(task) => write!(f, "the {task} head has no labels"),
            Self::TwoHeads(task) => write!(f, "two {task} heads, expected at most one"),
            Self::TwoDetectors(a, b) => {
                write!(f, "the heads {a} and {b} both find boxes, expected at most one")
            }
        }
    }
}

impl Error for CheckpointError {}

fn published_width() -> usize {
    64
}
