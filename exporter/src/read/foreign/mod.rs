//! A float ONNX file of somebody else as a [`Graph`] with weights, for the operators we have.
//!
//! ```text
//! Conv  BatchNormalization  Relu  Clip(0, 6)  Add  Concat  MaxPool  Resize/Upsample (nearest, whole factor)
//! GlobalAveragePool or ReduceMean(2, 3), then Flatten/Reshape/Squeeze  Gemm or MatMul + Add  Identity, Dropout
//! ```
//!
//! Anything else is refused by the name of its node. Nodes keep their names where they have one.

mod nodes;
mod tensors;

use crate::read::weights::Weights;
use anyhow::{Context, Result, bail, ensure};
use graph::{Graph, Output};
use nodes::Reader;
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
    let mut reader = Reader::new(&onnx, input.clone())?;
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
}
