//! What flows where in a network: integer steps, float values between them, float results.

use crate::float_subgraph::FloatSubgraph;
use crate::quantized::{Activation, Source, Step};

/// What flows where: integer steps, float values between them, float results.
#[derive(Default)]
pub(crate) struct Flow {
    pub(crate) activations: Vec<Activation>,
    /// Steps in execution order, each with its level: how many float subgraphs lie before it.
    pub(crate) steps: Vec<(usize, Step)>,
    pub(crate) floats: Vec<FloatValue>,
    /// Level of each float value.
    pub(crate) levels: Vec<usize>,
    /// Results: name, index into `floats`.
    pub(crate) outputs: Vec<(String, usize)>,
}

/// A float tensor that exists: the image, a result, or what passes between int8 and float.
pub(crate) enum FloatValue {
    Image { dims: Vec<usize> },
    Integers { name: String, dims: Vec<usize>, source: Source },
    FloatSubgraph(Box<FloatSubgraph>),
}

impl FloatValue {
    /// Shape of the ONNX tensor.
    pub(crate) fn dims(&self) -> &[usize] {
        match self {
            Self::Image { dims } | Self::Integers { dims, .. } => dims,
            Self::FloatSubgraph(subgraph) => &subgraph.dims,
        }
    }
}
