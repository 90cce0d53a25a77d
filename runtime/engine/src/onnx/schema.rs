//! Which attributes an operator has. One that nobody knows would change what a file means without a trace.

use super::node_name;
use crate::EngineError;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::attribute_proto::AttributeType::{
    self, Float, Floats, Int, Ints, String as Text, Strings, Tensor,
};

/// Operators that a network may have and their attributes, by ONNX's schemas of operator sets 10 to 28
/// (`onnx.defs.get_all_schemas_with_history()` of onnx 1.23).
#[rustfmt::skip]
const SCHEMAS: &[(&str, &[(&str, AttributeType)])] = &[
    ("Abs", &[]),
    ("Add", &[]),
    ("AveragePool", &[("auto_pad", Text), ("ceil_mode", Int), ("count_include_pad", Int), ("dilations", Ints), ("kernel_shape", Ints), ("pads", Ints), ("strides", Ints)]),
    ("BatchNormalization", &[("epsilon", Float), ("momentum", Float), ("training_mode", Int)]),
    ("Cast", &[("round_mode", Text), ("saturate", Int), ("to", Int)]),
    ("Clip", &[("max", Float), ("min", Float)]),
    ("Concat", &[("axis", Int)]),
    ("Constant", &[("value", Tensor), ("value_float", Float), ("value_floats", Floats), ("value_int", Int), ("value_ints", Ints), ("value_string", Text), ("value_strings", Strings)]),
    ("Conv", &[("auto_pad", Text), ("dilations", Ints), ("group", Int), ("kernel_shape", Ints), ("pads", Ints), ("strides", Ints)]),
    ("ConvTranspose", &[("auto_pad", Text), ("dilations", Ints), ("group", Int), ("kernel_shape", Ints), ("output_padding", Ints), ("output_shape", Ints), ("pads", Ints), ("strides", Ints)]),
    ("DequantizeLinear", &[("axis", Int), ("block_size", Int), ("output_dtype", Int)]),
    ("Div", &[]),
    ("Dropout", &[("ratio", Float), ("seed", Int)]),
    ("Einsum", &[("equation", Text)]),
    ("Elu", &[("alpha", Float)]),
    ("Erf", &[]),
    ("Exp", &[]),
    ("Flatten", &[("axis", Int)]),
    ("Gather", &[("axis", Int)]),
    ("Gelu", &[("approximate", Text)]),
    ("Gemm", &[("alpha", Float), ("beta", Float), ("transA", Int), ("transB", Int)]),
    ("GlobalAveragePool", &[]),
    ("GroupNormalization", &[("epsilon", Float), ("num_groups", Int), ("stash_type", Int)]),
    ("HardSigmoid", &[("alpha", Float), ("beta", Float)]),
    ("HardSwish", &[]),
    ("Identity", &[]),
    ("InstanceNormalization", &[("epsilon", Float)]),
    ("LayerNormalization", &[("axis", Int), ("epsilon", Float), ("stash_type", Int)]),
    ("LeakyRelu", &[("alpha", Float)]),
    ("Log", &[]),
    ("LogSoftmax", &[("axis", Int)]),
    ("MatMul", &[]),
    ("MaxPool", &[("auto_pad", Text), ("ceil_mode", Int), ("dilations", Ints), ("kernel_shape", Ints), ("pads", Ints), ("storage_order", Int), ("strides", Ints)]),
    ("Mish", &[]),
    ("Mul", &[]),
    ("Neg", &[]),
    ("Pad", &[("mode", Text), ("pads", Ints), ("value", Float)]),
    ("Pow", &[]),
    ("QuantizeLinear", &[("axis", Int), ("block_size", Int), ("output_dtype", Int), ("precision", Int), ("saturate", Int)]),
    ("ReduceMax", &[("axes", Ints), ("keepdims", Int), ("noop_with_empty_axes", Int)]),
    ("ReduceMean", &[("axes", Ints), ("keepdims", Int), ("noop_with_empty_axes", Int)]),
    ("ReduceSum", &[("axes", Ints), ("keepdims", Int), ("noop_with_empty_axes", Int)]),
    ("Relu", &[]),
    ("Reshape", &[("allowzero", Int)]),
    ("Resize", &[("antialias", Int), ("axes", Ints), ("coordinate_transformation_mode", Text), ("cubic_coeff_a", Float), ("exclude_outside", Int), ("extrapolation_value", Float), ("keep_aspect_ratio_policy", Text), ("mode", Text), ("nearest_mode", Text)]),
    ("Sigmoid", &[]),
    ("Slice", &[("axes", Ints), ("ends", Ints), ("starts", Ints)]),
    ("Softmax", &[("axis", Int)]),
    ("Softplus", &[]),
    ("Softsign", &[]),
    ("Split", &[("axis", Int), ("num_outputs", Int), ("split", Ints)]),
    ("Sqrt", &[]),
    ("Squeeze", &[("axes", Ints)]),
    ("Sub", &[]),
    ("Tanh", &[]),
    ("Transpose", &[("perm", Ints)]),
    ("Unsqueeze", &[("axes", Ints)]),
    ("Upsample", &[("mode", Text)]),
];

/// Refuses an attribute that the operator does not have, has twice, or has in another type. Whoever runs operators
/// that are not listed answers for them.
pub(super) fn check_attributes(node: &NodeProto) -> Result<(), EngineError> {
    let op = node.op_type.as_str();
    let own = matches!(node.domain.as_str(), "" | "ai.onnx");
    let Some((_, known)) = SCHEMAS.iter().find(|(name, _)| own && *name == op) else {
        return Ok(());
    };
    for (at, attribute) in node.attribute.iter().enumerate() {
        let name = attribute.name.as_str();
        let kind = known.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let twice = node.attribute[..at].iter().any(|other| other.name == name);
        let found = AttributeType::try_from(attribute.r#type).unwrap_or(AttributeType::Undefined);
        let fault = match kind {
            None => {
                let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                Some(format!("unknown to the operator, which has {known:?}"))
            }
            Some(_) if twice => Some("there twice".to_owned()),
            Some(kind) if found != kind => Some(format!("of type {found:?}, expected {kind:?}")),
            Some(Text) if str::from_utf8(&attribute.s).is_err() => {
                Some("no text in UTF-8".to_owned())
            }
            Some(_) => None,
        };
        if let Some(fault) = fault {
            return Err(EngineError::Node {
                node: node_name(node).to_owned(),
                op: op.to_owned(),
                reason: format!("attribute `{name}` is {fault}"),
            });
        }
    }
    Ok(())
}
