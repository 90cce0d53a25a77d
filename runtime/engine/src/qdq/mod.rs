//! From an ONNX graph in QDQ form to integer steps ([`Quantized`](crate::quantized::Quantized)).
//!
//! ```text
//! walk        walks the nodes: DequantizeLinear → operation → QuantizeLinear becomes one step
//! dequantized what DequantizeLinear gives      float_op    an operation that waits for its QuantizeLinear
//! operations  pooling, sums, …: one function an operator   weighted   convolutions, linear layers
//! matrices    products, softmax, joined        resize      nearest, bilinear
//! tokens      layer normalisation, biases      images      gates, normalisations
//! functions   of one value, in several nodes
//! views       what moves nothing               arrange     copies where an operator needs another order
//! pad         borders of images                constant    constants as real numbers
//! arithmetic  sums and products of what has other shapes
//! floats      float tensors on the way         flow        what comes out of the walk
//! settle      what needs no QuantizeLinear
//! ```
//!
//! What does not fit that pattern stays ONNX, a [`FloatSubgraph`](crate::float_subgraph::FloatSubgraph), and tract runs
//! it in float. The rewriting happens here and not on tract's typed model because there the int8 weights would have to
//! pass type inference first (seconds for a ResNet-50), and because node names survive.

mod arithmetic;
mod arrange;
mod constant;
mod dequantized;
mod float_op;
mod floats;
mod flow;
mod functions;
mod images;
mod matrices;
mod operations;
mod pad;
mod resize;
mod settle;
mod tokens;
mod views;
mod walk;
mod weighted;

pub(crate) use flow::{FloatValue, Flow};
pub(crate) use walk::read;
