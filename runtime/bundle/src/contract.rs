//! What the outputs of a network of another tool mean.
//!
//! Networks of ours have outputs of fixed names, which the heads of their [`ModelConfig`] imply. Of other networks the
//! maker of the bundle says it: `exporter/docs/foreign.md` has the words, `engine::decode` the arithmetic.

mod boxes;
mod check;

pub use boxes::{BoxHead, Boxes, Dense, DenseForm, Yolo};

use graph::{Backbone, Head, ModelConfig, Pool, Task};
use serde::{Deserialize, Serialize};

/// A network of another tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// What the network is, for people: `densenet121-res224-all`.
    pub architecture: String,
    /// Whether it came quantized: then nobody here knows its float outputs.
    pub came_quantized: bool,
    /// Every output of the network, once.
    pub outputs: Vec<Meaning>,
}

/// What one output of the network means, or a group of them that finds boxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// `[1, labels]`
    Findings(Scores),
    /// `[1, labels, rows, columns]` over the whole input.
    Masks(Scores),
    Boxes(Boxes),
    /// A description of the picture, of any shape.
    Embedding {
        output: String,
    },
    /// Nobody looks at it.
    // Bundles hold a meaning as its position: append.
    Unused {
        output: String,
    },
}

/// Numbers that become probabilities, one for each label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub output: String,
    pub activation: Activation,
    /// In the network's order; `None` for one that nobody looks at.
    pub labels: Vec<Option<String>>,
}

/// How numbers become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    Sigmoid,
    /// Over all labels, those nobody looks at too.
    Softmax,
    /// They are probabilities.
    // Bundles hold this as its position: append.
    None,
}

impl Contract {
    /// The same as what all the rest of the product asks for: tasks with labels. Its backbone is `foreign`.
    pub fn model(&self) -> ModelConfig {
        let mut heads: Vec<Head> = Vec::new();
        for meaning in &self.outputs {
            let (task, labels) = match meaning {
                Meaning::Findings(scores) => (Task::Classification, &scores.labels),
                Meaning::Masks(scores) => (Task::Segmentation, &scores.labels),
                Meaning::Boxes(boxes) => (Task::Detection, &boxes.labels),
                Meaning::Embedding { .. } | Meaning::Unused { .. } => continue,
            };
            let labels = labels.iter().flatten().cloned();
            match heads.iter_mut().find(|head| head.task == task) {
                Some(head) => head.labels.extend(labels),
                None => heads.push(Head { task, labels: labels.collect() }),
            }
        }
        ModelConfig { heads, ..ModelConfig::encoder(Backbone::Foreign, Pool::Mean) }
    }

    /// Names of the outputs that mean something or nothing, in the contract's order.
    pub fn names(&self) -> Vec<&str> {
        self.outputs.iter().flat_map(Meaning::names).collect()
    }
}

impl Meaning {
    /// The outputs it is about.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Findings(scores) | Self::Masks(scores) => vec![&scores.output],
            Self::Boxes(boxes) => boxes.head.names(),
            Self::Embedding { output } | Self::Unused { output } => vec![output],
        }
    }
}
