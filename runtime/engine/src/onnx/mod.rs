//! From an ONNX file in QDQ form to [`Quantized`](crate::quantized::Quantized) regions.
//!
//! ```text
//! document   bytes → ModelProto (tract-onnx's), names resolved, sizes capped
//! attributes one node's attributes and constants, as domain types
//! pending    a float operation over dequantized tensors, waiting for its QuantizeLinear
//! operations convolutions, pooling, …: one function an operator     matrices   products, softmax, views
//! read       walks the nodes: DequantizeLinear → operation → QuantizeLinear becomes one step
//! ```
//!
//! What does not fit that pattern stays ONNX, an [`Island`], and tract runs it in float. The
//! rewriting happens here and not on tract's typed model because there the int8 weights would have
//! to pass type inference first (seconds for a ResNet-50), and because node names survive.

mod attributes;
mod document;
mod matrices;
mod operations;
mod pending;
mod read;

pub(crate) use document::Document;
pub(crate) use read::{FloatValue, Flow, read};
