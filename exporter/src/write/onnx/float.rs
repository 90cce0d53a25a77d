//! The float network as ONNX: what other tools, and other quantizers, start from.

use super::builder::{Attr, Batch, Builder};
use super::{attention, operator};
use crate::read::weights::Weights;
use anyhow::Result;
use graph::{Graph, Op};
use tract_onnx::pb::ModelProto;

/// Every tensor carries its node's name, every parameter its own; outputs are `Identity` copies
/// under their own names.
pub(crate) fn float_model(graph: &Graph, weights: &Weights, batch: Batch) -> Result<ModelProto> {
    let shapes = graph.shapes()?;
    let mut onnx = Builder::new(&graph.name, batch, operator::opset(graph));
    onnx.input(&graph.input, &graph.input_shape);
    for node in &graph.nodes {
        let params: Vec<String> = node.params().into_iter().map(|param| param.name).collect();
        let inputs: Vec<&str> = node.inputs.iter().chain(&params).map(String::as_str).collect();
        match &node.op {
            Op::AttentionPool2d { .. } => {
                attention::attention_pool(&mut onnx, weights, node, &node.name);
                continue;
            }
            Op::BatchNorm2d { eps, .. } => {
                let attributes = [("epsilon", Attr::Float(*eps as f32))];
                onnx.node("BatchNormalization", &node.name, &inputs, &node.name, &attributes);
            }
            Op::GlobalAvgPool => {
                let map = format!("{}.map", node.name);
                onnx.node("GlobalAveragePool", &node.name, &inputs, &map, &[]);
                let flatten = format!("{}.flatten", node.name);
                onnx.node("Flatten", &flatten, &[&map], &node.name, &[("axis", Attr::Int(1))]);
            }
            Op::Constant { .. } => {
                let array = &weights[&params[0]];
                onnx.f32(&node.name, &[&[1], &array.shape[..]].concat(), &array.values);
                continue;
            }
            Op::Linear { in_features, out_features }
                if shapes[node.inputs[0].as_str()].len() > 1 =>
            {
                operator::linear_on_tokens(&mut onnx, &node.name, &inputs, &node.name);
                let weight = operator::columns_first(&weights[&params[0]].values, *out_features);
                onnx.f32(&params[0], &[*in_features, *out_features], &weight);
                onnx.f32(&params[1], &[*out_features], &weights[&params[1]].values);
                continue;
            }
            _ => operator::write(&mut onnx, node, &inputs, &node.name),
        }
        for param in &params {
            let array = &weights[param];
            onnx.f32(param, &array.shape, &array.values);
        }
    }
    for output in &graph.outputs {
        onnx.node("Identity", &output.name, &[&output.node], &output.name, &[]);
        onnx.output(&output.name, &shapes[output.node.as_str()]);
    }
    Ok(onnx.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures, passes::interpreter::Interpreter};
    use graph::{Backbone, ModelConfig, Pool};
    use prost::Message;
    use tract_onnx::prelude::*;

    fn run_in_tract(model: &ModelProto, image: &[f32], shape: [usize; 3]) -> Vec<Vec<f32>> {
        let bytes = model.encode_to_vec();
        let model = onnx().model_for_read(&mut bytes.as_slice()).unwrap();
        let [c, h, w] = shape;
        let input = Tensor::from_shape(&[1, c, h, w], image).unwrap();
        let plan = model.into_typed().unwrap().into_runnable().unwrap();
        let outputs = plan.run(tvec![input.into()]).unwrap();
        outputs
            .iter()
            .map(|output| output.to_plain_array_view::<f32>().unwrap().iter().copied().collect())
            .collect()
    }

    #[test]
    fn tract_reads_the_file_and_gets_what_candle_gets() {
        let networks = [
            fixtures::network(Backbone::Resnet18, 5),
            fixtures::network(Backbone::Resnet50, 5),
            fixtures::yolov3(Backbone::Resnet18, 5),
        ];
        for (graph, weights) in networks {
            let image = fixtures::image(&graph, 9);
            let model = float_model(&graph, &weights, Batch::One).unwrap();
            let theirs = run_in_tract(&model, &image, graph.input_shape);
            let ours = Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap();
            for ((name, ours), theirs) in ours.iter().zip(&theirs) {
                assert!(
                    fixtures::relative_difference(ours, theirs) < 1e-4,
                    "{} {name}",
                    graph.name
                );
            }
        }
    }

    #[test]
    fn an_attention_pool_means_the_same_in_tract() {
        let config =
            ModelConfig { width: 8, ..ModelConfig::encoder(Backbone::Resnet18, Pool::Attention) };
        let graph = config.graph([1, 64, 64]).unwrap();
        let weights = fixtures::random(&graph, 4);
        let image = fixtures::image(&graph, 2);
        let model = float_model(&graph, &weights, Batch::One).unwrap();
        let theirs = run_in_tract(&model, &image, graph.input_shape);
        let ours = Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap();
        assert!(fixtures::relative_difference(&ours[0].1, &theirs[0]) < 1e-4);
    }
}
