//! The deployed network as data: what it computes, not how.
//!
//! ```text
//! ModelConfig ── build ──▶ Graph ── three interpreters, one exhaustive `match` each
//!   (config.toml)            │        trainer   tch, autograd
//!                            │        exporter  candle, float reference and calibration
//!                            │        exporter  ONNX writer
//!                            └── params(): every name and shape, as in torchvision
//! ```
//!
//! A [`Graph`] is a list of [`Node`]s in execution order. A node's parameters are named
//! `{node}.{param}` (`layer1.0.conv1.weight`), so weights map one to one to torchvision's.

mod config;
mod densenet;
mod efficientnet;
mod fit;
mod heads;
mod language;
mod mobilenet;
mod network;
mod op;
mod params;
mod placement;
mod preprocess;
mod resample;
mod resnet;
mod shape;

pub use config::{Backbone, CheckpointConfig, Head, ModelConfig, OutputStride, Pool, Task};
pub use fit::{Fit, Side, UnknownFit};
pub use heads::{ANCHOR_INPUT, ANCHORS};
pub use language::{LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, LANGUAGE_PLACES};
pub use network::CheckpointError;
pub use op::{Op, Unary};
pub use placement::Placement;
pub use preprocess::{Normalisation, PictureFilter, Preprocess};
pub use resample::{Coordinates, Filter, Resample, Tap};
pub use shape::{ShapeError, broadcast, joined};

use serde::{Deserialize, Serialize};

/// A network: nodes in execution order, each reading the input or earlier nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Name of the architecture, `resnet18`.
    pub name: String,
    /// Name of the input, `image`.
    pub input: String,
    /// `[C, H, W]` of one input image.
    pub input_shape: [usize; 3],
    pub nodes: Vec<Node>,
    /// What the caller gets, in this order.
    pub outputs: Vec<Output>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique; also the name of the tensor it makes and the prefix of its parameters.
    pub name: String,
    pub op: Op,
    /// Names of the nodes (or of the graph's input) it reads.
    pub inputs: Vec<String>,
}

/// A tensor handed to the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// `embedding`, `classification`, `segmentation`, `detection.p3`, `language.global`, …
    pub name: String,
    /// The node that makes it.
    pub node: String,
}

/// A parameter or buffer: its full name and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    pub shape: Vec<usize>,
    /// Buffers (running statistics) are stored with the weights but not trained.
    pub trained: bool,
}

impl Graph {
    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Name of the node behind an output.
    pub fn output(&self, name: &str) -> Option<&str> {
        let output = self.outputs.iter().find(|output| output.name == name);
        output.map(|output| output.node.as_str())
    }

    /// Nodes that read the tensor `name`.
    pub fn readers<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.inputs.iter().any(|input| input == name))
    }

    /// The node that alone reads the tensor `name`, if that is no output.
    pub fn only_reader(&self, name: &str) -> Option<&Node> {
        let mut readers = self.readers(name);
        let only = readers.next().filter(|_| readers.next().is_none());
        only.filter(|_| self.outputs.iter().all(|output| output.node != name))
    }

    /// Every parameter and buffer, in execution order.
    pub fn params(&self) -> Vec<Param> {
        self.nodes.iter().flat_map(Node::params).collect()
    }

    pub(crate) fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[&str]) -> String {
        let name = name.into();
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        self.nodes.push(Node { name: name.clone(), op, inputs });
        name
    }
}
