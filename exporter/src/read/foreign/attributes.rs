//! Attributes of a node. What would change the result and is not understood is refused by its name.

use anyhow::{Result, bail, ensure};
use tract_onnx::pb::{AttributeProto, NodeProto};

/// Attributes that a reader of nodes looks at, or that say nothing about one picture in inference.
const UNDERSTOOD: &[(&str, &[&str])] = &[
    ("BatchNormalization", &["epsilon", "momentum"]),
    ("Clip", &["max", "min"]),
    ("Concat", &["axis"]),
    ("Constant", &["value", "value_float", "value_floats", "value_int", "value_ints"]),
    ("Conv", &["group", "kernel_shape", "pads", "strides"]),
    ("Dropout", &["ratio", "seed"]),
    ("Flatten", &["axis"]),
    ("Gemm", &["transB"]),
    ("LeakyRelu", &["alpha"]),
    ("MaxPool", &["kernel_shape", "pads", "storage_order", "strides"]),
    ("ReduceMean", &["axes", "keepdims"]),
    ("Reshape", &["allowzero"]),
    (
        "Resize",
        &["coordinate_transformation_mode", "cubic_coeff_a", "extrapolation_value", "nearest_mode"],
    ),
    ("Squeeze", &["axes"]),
];

/// Refuses an attribute that ONNX does not know, and one that is not understood and has another value than ONNX's own.
pub(super) fn check(node: &NodeProto) -> Result<()> {
    engine::onnx::check_attributes(node)?;
    let op = node.op_type.as_str();
    let understood = UNDERSTOOD.iter().find(|(name, _)| *name == op).map_or(&[][..], |(_, a)| a);
    for attribute in &node.attribute {
        let name = attribute.name.as_str();
        if understood.contains(&name) || has_no_effect(node, attribute) {
            continue;
        }
        bail!("attribute `{name}` is {}, which is not supported", shown(attribute));
    }
    Ok(())
}

/// Whether an attribute has the value that it has where it is left out.
fn has_no_effect(node: &NodeProto, attribute: &AttributeProto) -> bool {
    match attribute.name.as_str() {
        // VALID is no padding, which `pads` must not contradict.
        "auto_pad" => match attribute.s.as_slice() {
            b"NOTSET" => true,
            b"VALID" => ints(node, "pads").iter().all(|&pad| pad == 0),
            _ => false,
        },
        "dilations" => attribute.ints.iter().all(|&by| by == 1),
        "alpha" | "beta" => attribute.f == 1.0,
        "mode" => attribute.s == b"nearest",
        "keep_aspect_ratio_policy" => attribute.s == b"stretch",
        "antialias"
        | "ceil_mode"
        | "exclude_outside"
        | "noop_with_empty_axes"
        | "training_mode"
        | "transA" => attribute.i == 0,
        _ => false,
    }
}

fn shown(attribute: &AttributeProto) -> String {
    if !attribute.s.is_empty() {
        return format!("{:?}", String::from_utf8_lossy(&attribute.s));
    }
    if !attribute.ints.is_empty() {
        return format!("{:?}", attribute.ints);
    }
    if attribute.f != 0.0 { attribute.f.to_string() } else { attribute.i.to_string() }
}

/// Whether a nearest Resize by a whole factor repeats every sample, whatever the size: output `o` takes input
/// `⌊o / factor⌋`. The samples of one period say so, and those around the edges of it.
pub(super) fn repeats(node: &NodeProto, factor: usize) -> bool {
    let scale = factor as f64;
    let source = |o: f64| match text(node, "coordinate_transformation_mode") {
        Some("asymmetric") => Some(o / scale),
        None | Some("half_pixel" | "pytorch_half_pixel") => Some((o + 0.5) / scale - 0.5),
        Some(_) => None,
    };
    let round = |x: f64| match text(node, "nearest_mode") {
        None | Some("round_prefer_floor") => Some((x - 0.5).ceil()),
        Some("round_prefer_ceil") => Some((x + 0.5).floor()),
        Some("floor") => Some(x.floor()),
        Some("ceil") => Some(x.ceil()),
        Some(_) => None,
    };
    let last = 3.0;
    (0..4 * factor).all(|o| {
        let found = source(o as f64).and_then(round).map(|x| x.clamp(0.0, last) as usize);
        found == Some(o / factor)
    })
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

pub(super) fn int(node: &NodeProto, name: &str, otherwise: i64) -> i64 {
    attribute(node, name).map_or(otherwise, |attribute| attribute.i)
}

pub(super) fn float(node: &NodeProto, name: &str, otherwise: f32) -> f32 {
    attribute(node, name).map_or(otherwise, |attribute| attribute.f)
}

pub(super) fn ints<'n>(node: &'n NodeProto, name: &str) -> &'n [i64] {
    attribute(node, name).map_or(&[], |attribute| &attribute.ints)
}

pub(super) fn text<'n>(node: &'n NodeProto, name: &str) -> Option<&'n str> {
    attribute(node, name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok())
}

/// The one number an attribute repeats, as strides of `[2, 2]` do.
pub(super) fn one(node: &NodeProto, name: &str, otherwise: usize) -> Result<usize> {
    let values = ints(node, name);
    let Some(&first) = values.first() else { return Ok(otherwise) };
    ensure!(values.iter().all(|&value| value == first), "{name} {values:?}, expected one number");
    Ok(usize::try_from(first)?)
}
