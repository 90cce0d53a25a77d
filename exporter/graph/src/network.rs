//! The network a configuration describes: backbone, pool, heads.

use crate::{
    Backbone, CheckpointConfig, Fit, Graph, Head, ModelConfig, Op, Output, PictureFilter, Pool,
    Preprocess, Task, heads, mobilenet, resnet,
};
use std::fmt;
use thiserror::Error;

/// Why a configuration describes no network.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    #[error("width is {0}, expected a multiple of 4 from 4 to 1024")]
    Width(usize),

    #[error("input is {height}x{width}, expected 32 to 4096 pixels a side")]
    Size { height: usize, width: usize },

    #[error("preprocess.std is {0}, expected a positive number")]
    Std(f32),

    #[error(
        "preprocess.{key} is {found}, which only networks of other tools have: expected {expected}"
    )]
    Foreign { key: &'static str, found: String, expected: &'static str },

    #[error("the backbone is foreign: a network of another tool, which no checkpoint describes")]
    ForeignBackbone,

    #[error("the {0} head has no labels")]
    NoLabels(Task),

    #[error("two {0} heads, expected at most one")]
    TwoHeads(Task),

    #[error("the heads {0} and {1} both find boxes, expected at most one")]
    TwoDetectors(Task, Task),
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
        self.preprocess.of_ours()?;
        self.model.graph([1, height, width])
    }
}

impl Preprocess {
    /// Refuses what networks of ours are not trained with.
    fn of_ours(&self) -> Result<(), CheckpointError> {
        let foreign = |key, found: &dyn fmt::Debug, expected| {
            Err(CheckpointError::Foreign { key, found: format!("{found:?}"), expected })
        };
        match self {
            Self { others: Some(others), .. } => foreign("others", others, "one grey channel"),
            Self { filter: filter @ PictureFilter::Gaussian, .. } => {
                foreign("filter", filter, "triangle")
            }
            Self { fit: fit @ Fit::CentreCrop, .. } => foreign("fit", fit, "stretch or pad"),
            _ => Ok(()),
        }
    }
}

impl ModelConfig {
    /// The network for input images `[C, H, W]`.
    pub fn graph(&self, input_shape: [usize; 3]) -> Result<Graph, CheckpointError> {
        if self.backbone == Backbone::Foreign {
            return Err(CheckpointError::ForeignBackbone);
        }
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
            Backbone::Foreign => unreachable!("`graph` refuses it"),
            Backbone::Mobilenetv2 => mobilenet::backbone(&mut graph, self.width),
            Backbone::Resnet18 => resnet::backbone(&mut graph, [2, 2, 2, 2], 1, self.width),
            Backbone::Resnet34 => resnet::backbone(&mut graph, [3, 4, 6, 3], 1, self.width),
            Backbone::Resnet50 => resnet::backbone(&mut graph, [3, 4, 6, 3], 4, self.width),
        };
        (graph, features)
    }
}
