//! A network that came quantized, in QDQ form: it runs as it is, with its own scales. The engine is the judge of it.

use anyhow::{Context, Result, bail};
use prost::Message;
use tract_onnx::pb::{ModelProto, NodeProto};

/// Whether an ONNX file holds integers; other forms than QDQ are refused by the name of their node.
pub(crate) fn is_quantized(onnx: &[u8]) -> Result<bool> {
    let model = ModelProto::decode(onnx).context("not an ONNX file")?;
    let graph = model.graph.context("the ONNX file has no graph")?;
    let in_operators = |node: &&NodeProto| {
        let op = node.op_type.as_str();
        op.starts_with("QLinear")
            || matches!(op, "ConvInteger" | "MatMulInteger" | "DynamicQuantizeLinear")
    };
    if let Some(node) = graph.node.iter().find(in_operators) {
        bail!(
            "node `{}` is {}: expected a quantized network in QDQ form (QuantizeLinear, DequantizeLinear), as ONNX \
             Runtime's quant_format=QuantFormat.QDQ writes it",
            node.name,
            node.op_type
        );
    }
    Ok(graph.node.iter().any(|node| node.op_type == "DequantizeLinear"))
}
