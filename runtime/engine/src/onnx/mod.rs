//! An ONNX file as sound references, attributes and constants. Nothing here knows of quantization. The exporter reads
//! other tools' files with the same [`constants`].
//!
//! ```text
//! document    bytes → ModelProto (tract-onnx's), names resolved, sizes capped
//! schema      which attributes an operator has
//! attributes  one node: inputs and attributes as domain types      constants   values of a tensor
//! ```

pub(crate) mod attributes;
pub mod constants;
mod document;
mod schema;

pub(crate) use document::{Document, float_info};

use tract_onnx::pb::NodeProto;

/// The name people know a node by.
pub(crate) fn node_name(node: &NodeProto) -> &str {
    match node.output.first() {
        Some(output) if node.name.is_empty() => output,
        _ => &node.name,
    }
}
