//! A float ONNX file of somebody else as a [`Graph`] with weights, for the operators we have.
//!
//! ```text
//! Conv  BatchNormalization  Relu  Clip(0, 6)  Add  Concat  MaxPool  Resize/Upsample (nearest, whole factor)
//! GlobalAveragePool or ReduceMean(2, 3), then Flatten/Reshape/Squeeze  Gemm or MatMul + Add  Identity, Dropout
//! ```
//!
//! Anything else is refused by the name of its node. Nodes keep their names where they have one.

mod attributes;
mod nodes;

use crate::read::weights::Weights;
use anyhow::{Context, Result, bail, ensure};
use graph::{Graph, Output};
use nodes::{Reader, given_constants};
use prost::Message;
use std::{collections::HashMap, fs, path::Path};
use tract_onnx::pb::{GraphProto, ModelProto, tensor_shape_proto::dimension, type_proto};

/// A network that says nothing of its task.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) graph: Graph,
    pub(crate) weights: Weights,
}

/// Reads a file.
pub(crate) fn open(path: &Path) -> Result<Foreign> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    read(&bytes).with_context(|| path.display().to_string())
}

fn read(bytes: &[u8]) -> Result<Foreign> {
    let model = ModelProto::decode(bytes).context("not an ONNX file")?;
    let onnx = model.graph.context("the ONNX file has no graph")?;
    if let Some(node) = onnx.node.iter().find(|node| node.op_type == "DequantizeLinear") {
        bail!("node `{}` is DequantizeLinear: found a quantized model, expected float", node.name);
    }
    let (input, input_shape) = image_input(&onnx)?;
    let given = given_constants(&onnx);
    let mut reader = Reader::new(&onnx, &given, input.clone())?;
    for node in &onnx.node {
        reader.node(node)?;
    }
    let (nodes, weights, mut names) = reader.finish();
    names.insert(input.clone(), input.clone());
    let output = |output: &tract_onnx::pb::ValueInfoProto| -> Result<Output> {
        let node = names.get(&output.name);
        let node = node.with_context(|| format!("nothing makes the output `{}`", output.name))?;
        Ok(Output { name: output.name.clone(), node: node.clone() })
    };
    let graph = Graph {
        name: if onnx.name.is_empty() { "foreign".into() } else { onnx.name.clone() },
        outputs: onnx.output.iter().map(output).collect::<Result<_>>()?,
        input,
        input_shape,
        nodes,
    };
    graph.shapes()?;
    crate::read::weights::check(&weights, &graph)?;
    Ok(Foreign { graph, weights })
}

/// Name and `[C, H, W]` of the one input that is no initializer.
fn image_input(onnx: &GraphProto) -> Result<(String, [usize; 3])> {
    let constants: HashMap<&str, ()> =
        onnx.initializer.iter().map(|tensor| (tensor.name.as_str(), ())).collect();
    let inputs: Vec<_> =
        onnx.input.iter().filter(|input| !constants.contains_key(input.name.as_str())).collect();
    let [input] = inputs[..] else {
        bail!("found {} inputs, expected one: the image", inputs.len());
    };
    let shape = input.r#type.as_ref().and_then(|kind| match &kind.value {
        Some(type_proto::Value::TensorType(tensor)) => tensor.shape.as_ref(),
        _ => None,
    });
    let dims: Vec<Option<usize>> = shape
        .map(|shape| &shape.dim[..])
        .unwrap_or_default()
        .iter()
        .map(|dim| match dim.value {
            Some(dimension::Value::DimValue(n)) => usize::try_from(n).ok().filter(|&n| n > 0),
            _ => None,
        })
        .collect();
    let [_, Some(c), Some(h), Some(w)] = dims[..] else {
        bail!(
            "input `{}` has shape {dims:?}, expected [N, C, H, W] with fixed C, H and W",
            input.name
        );
    };
    ensure!(
        c == 1 || c == 3,
        "input `{}` has {c} channels, expected 1 (grey) or 3 (grey, repeated)",
        input.name
    );
    Ok((input.name.clone(), [c, h, w]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures, passes::interpreter::Interpreter, write::onnx};
    use graph::Backbone;
    use tract_onnx::pb::{AttributeProto, NodeProto, attribute_proto::AttributeType};

    #[test]
    fn our_own_float_files_come_back_with_the_same_outputs() {
        let networks = [
            fixtures::network(Backbone::Resnet18, 2),
            fixtures::network(Backbone::Mobilenetv2, 2),
            fixtures::yolov3(Backbone::Resnet18, 2),
        ];
        for (graph, weights) in networks {
            let model = onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap();
            let foreign = read(&model.encode_to_vec()).unwrap();
            let image = fixtures::image(&graph, 8);
            let ours = Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap();
            let theirs = Interpreter::new(&foreign.graph, &foreign.weights)
                .unwrap()
                .outputs(&image)
                .unwrap();
            for ((name, a), (_, b)) in ours.iter().zip(&theirs) {
                assert!(fixtures::relative_difference(a, b) < 1e-5, "{} {name}", graph.name);
            }
        }
    }

    #[test]
    fn what_we_do_not_have_is_named_with_its_node() {
        let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
        let mut model = onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap();
        let node = &mut model.graph.as_mut().unwrap().node[4];
        (node.op_type, node.name) = ("GridSample".into(), "warp".into());
        let error = format!("{:#}", read(&model.encode_to_vec()).unwrap_err());
        assert!(error.contains("node `warp`") && error.contains("GridSample"), "{error}");
        assert!(read(b"not onnx at all").is_err());
    }

    fn attribute(
        name: &str,
        kind: AttributeType,
        of: impl Fn(&mut AttributeProto),
    ) -> AttributeProto {
        let mut made = AttributeProto { name: name.into(), ..AttributeProto::default() };
        made.r#type = kind as i32;
        of(&mut made);
        made
    }

    fn int(name: &str, i: i64) -> AttributeProto {
        attribute(name, AttributeType::Int, |a| a.i = i)
    }

    fn ints(name: &str, ints: &[i64]) -> AttributeProto {
        attribute(name, AttributeType::Ints, |a| a.ints = ints.to_vec())
    }

    fn text(name: &str, s: &str) -> AttributeProto {
        attribute(name, AttributeType::String, |a| a.s = s.into())
    }

    /// Reads a network in which the first node of an operator has another attribute; the node's name beside it.
    fn read_with(op: &str, attribute: AttributeProto) -> (String, Result<Foreign>) {
        let (graph, weights) = fixtures::yolov3(Backbone::Resnet18, 2);
        let mut model = onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap();
        let nodes = &mut model.graph.as_mut().unwrap().node;
        let node = nodes.iter_mut().find(|node| node.op_type == op).unwrap();
        node.attribute.retain(|other| other.name != attribute.name);
        node.attribute.push(attribute);
        (node.name.clone(), read(&model.encode_to_vec()))
    }

    #[test]
    fn an_attribute_that_changes_the_result_and_is_not_understood_is_refused_by_name() {
        for (op, attribute) in [
            ("Conv", int("flavour", 1)),
            ("Conv", int("strides", 2)), // a list by ONNX
            ("Conv", text("auto_pad", "SAME_UPPER")),
            ("Conv", ints("dilations", &[2, 2])),
            ("Conv", ints("kernel_shape", &[5, 5])),
            ("MaxPool", text("auto_pad", "SAME_LOWER")),
            ("MaxPool", text("auto_pad", "VALID")), // its pads say 1
            ("MaxPool", ints("dilations", &[2, 2])),
            ("MaxPool", int("ceil_mode", 1)),
            ("Resize", text("mode", "linear")),
            ("Resize", text("coordinate_transformation_mode", "align_corners")),
            ("Resize", text("nearest_mode", "ceil")),
            ("Resize", int("antialias", 1)),
        ] {
            let name = attribute.name.clone();
            let (node, read) = read_with(op, attribute);
            let error = format!("{:#}", read.map(drop).unwrap_err());
            assert!(error.contains(&name) && error.contains(&node), "{op} {name}: {error}");
        }
    }

    #[test]
    fn an_attribute_that_says_what_holds_without_it_changes_nothing() {
        let (_, plain) = read_with("Conv", ints("dilations", &[1, 1]));
        let plain = plain.unwrap();
        for (op, attribute) in [
            ("Conv", text("auto_pad", "NOTSET")),
            ("MaxPool", ints("dilations", &[1, 1])),
            ("MaxPool", int("storage_order", 1)), // of the indices, which nobody takes
            ("Resize", int("antialias", 0)),
            ("Resize", text("nearest_mode", "round_prefer_floor")), // with asymmetric and a factor of 2
        ] {
            let name = attribute.name.clone();
            let (_, read) = read_with(op, attribute);
            assert_eq!(read.unwrap().graph, plain.graph, "{op} {name}");
        }
    }

    #[test]
    fn nodes_of_one_name_are_told_apart_by_what_they_make() {
        let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
        let mut model = onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap();
        let nodes = &mut model.graph.as_mut().unwrap().node;
        nodes.iter_mut().for_each(|node| node.name.clone_from(&node.op_type));
        let read = read(&model.encode_to_vec()).unwrap();
        let image = fixtures::image(&graph, 8);
        let [a, b] = [(&graph, &weights), (&read.graph, &read.weights)]
            .map(|(graph, weights)| Interpreter::new(graph, weights).unwrap().outputs(&image));
        for ((name, a), (_, b)) in a.unwrap().iter().zip(&b.unwrap()) {
            assert!(fixtures::relative_difference(a, b) < 1e-5, "{name}");
        }
    }

    #[test]
    fn a_bias_that_no_constant_is_is_refused() {
        let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
        let mut model = onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap();
        let nodes = &mut model.graph.as_mut().unwrap().node;
        let image = nodes[0].input[0].clone();
        let node = nodes.iter_mut().find(|node| node.op_type == "Gemm").unwrap();
        node.input[2] = image;
        let error = format!("{:#}", read(&model.encode_to_vec()).unwrap_err());
        assert!(error.contains("its bias is not constant"), "{error}");
    }

    /// As PyTorch writes networks whose layers have equal biases, and torch.export a mean.
    #[test]
    fn a_shared_constant_and_a_mean_over_axes_in_any_order_are_read() {
        let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
        let mut model = onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap();
        let plain = read(&model.encode_to_vec()).unwrap();
        let nodes = &mut model.graph.as_mut().unwrap().node;
        let gemm = nodes.iter_mut().find(|node| node.op_type == "Gemm").unwrap();
        let bias = std::mem::replace(&mut gemm.input[2], "shared".into());
        let (input, output) = (vec![bias], vec!["shared".into()]);
        let op_type = "Identity".into();
        nodes.insert(0, NodeProto { input, output, op_type, ..NodeProto::default() });
        let mean = nodes.iter_mut().find(|node| node.op_type == "GlobalAveragePool").unwrap();
        mean.op_type = "ReduceMean".into();
        mean.input.push("axes".into());
        let (output, op_type) = (vec!["axes".into()], "Constant".into());
        let attribute = vec![ints("value_ints", &[-1, 2])];
        nodes.insert(0, NodeProto { output, op_type, attribute, ..NodeProto::default() });
        let changed = read(&model.encode_to_vec()).unwrap();
        assert_eq!(changed.graph, plain.graph);
        assert_eq!(format!("{:?}", changed.weights), format!("{:?}", plain.weights));
    }
}
