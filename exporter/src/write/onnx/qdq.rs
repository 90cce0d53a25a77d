//! The quantized network as ONNX in QDQ form.
//!
//! ```text
//!            x.q (u8)            weight.q (s8 [O, …])   bias.q (i32 [O], scale s_x·s_w)
//!              │ DequantizeLinear      │ per channel         │ per channel
//!              ▼                       ▼                     ▼
//!             x.dq ─────────────▶     Conv ◀─────────────────┘
//!                                      │ y           ReLU is y.q's lower clamp: y.zero = 0
//!                                      ▼ QuantizeLinear
//!                                     y.q (u8)
//! ```
//!
//! A tensor `y` is named by the node whose value it is (the ReLU's where one is folded in), its
//! codes `y.q`, its dequantized values `y.dq`. Every operation reads `.dq` and feeds a
//! `QuantizeLinear`, so runtimes fuse all of them. Only a last layer whose values nobody but the
//! caller reads has none: its accumulators leave in float.

use super::builder::{Attr, Batch, Builder};
use super::operator;
use crate::passes::quantized::{Quantized, Writes};
use anyhow::Result;
use graph::{Node, Op};
use std::collections::HashMap;
use tract_onnx::pb::ModelProto;

/// Writes the network; batch 1 unless asked otherwise.
pub(crate) fn quantized_model(model: &Quantized, batch: Batch) -> Result<ModelProto> {
    let graph = &model.graph;
    let shapes = graph.shapes()?;
    let onnx = Builder::new(&graph.name, batch, operator::opset(graph));
    let mut writer = Writer { onnx, model, shapes: &shapes };
    writer.onnx.input(&graph.input, &graph.input_shape);
    writer.quantize(&graph.input, &graph.input);
    writer.dequantize(&graph.input, &format!("{}.dq", graph.input));
    for node in &graph.nodes {
        let made = match model.plan.writes(&node.name) {
            Writes::Folded => continue,
            Writes::Tensor { name, rectified_by } => {
                writer.node(node, name, rectified_by);
                continue;
            }
            // A last layer, from dequantized inputs straight to the graph's output.
            Writes::Real => {
                let output = graph.outputs.iter().find(|output| output.node == node.name);
                output.expect("logits are an output by definition").name.clone()
            }
            // A float operation whose result only float layers read.
            Writes::Float => node.name.clone(),
            // The dequantized values of what `node` reads, in another shape.
            Writes::View => format!("{}.dq", node.name),
        };
        let inputs = writer.inputs(node);
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        writer.operator(node, &inputs, &made);
    }
    for output in &graph.outputs {
        match model.plan.writes(&output.node) {
            Writes::Real => {}
            Writes::View => {
                let real = format!("{}.dq", output.node);
                writer.onnx.node("Identity", &output.name, &[&real], &output.name, &[]);
            }
            _ => writer.dequantize(&output.node, &output.name),
        }
        writer.onnx.output(&output.name, &shapes[output.node.as_str()]);
    }
    Ok(writer.onnx.finish())
}

struct Writer<'a> {
    onnx: Builder,
    model: &'a Quantized,
    shapes: &'a HashMap<&'a str, Vec<usize>>,
}

impl Writer<'_> {
    fn operator(&mut self, node: &Node, inputs: &[&str], output: &str) {
        if self.is_on_tokens(node) {
            return operator::linear_on_tokens(&mut self.onnx, &node.name, inputs, output);
        }
        operator::write(&mut self.onnx, node, inputs, output);
    }

    /// Whether `node` is a linear layer on rows of tokens, whose weights lie `[in, out]` in the file.
    fn is_on_tokens(&self, node: &Node) -> bool {
        matches!(node.op, Op::Linear { .. }) && self.shapes[node.inputs[0].as_str()].len() > 1
    }

    /// What `node` reads, dequantized; weights and bias too, unless they stayed in float.
    fn inputs(&mut self, node: &Node) -> Vec<String> {
        let real = |input: &String| {
            if self.model.plan.is_float_tensor(input) {
                input.clone()
            } else {
                format!("{input}.dq")
            }
        };
        let mut inputs: Vec<String> = node.inputs.iter().map(real).collect();
        if self.model.layers.contains_key(&node.name) {
            inputs.extend(self.layer(node));
        } else if self.model.constants.contains_key(&node.name) {
            inputs.push(self.constant(node));
        } else if let Some(params) = self.model.float_layers.get(&node.name) {
            for (param, array) in ["weight", "bias"].iter().zip(params) {
                let name = format!("{}.{param}", node.name);
                self.onnx.f32(&name, &array.shape, &array.values);
                inputs.push(name);
            }
        }
        inputs
    }

    /// One operation from dequantized inputs to the codes of `tensor`.
    fn node(&mut self, node: &Node, tensor: &str, rectified_by: Option<&Node>) {
        let inputs = self.inputs(node);
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        match node.op {
            Op::GlobalAvgPool => return self.average_pool(node, &inputs),
            Op::Constant { .. } => return self.codes(node),
            _ => {}
        }
        // With a zero point other than 0 (symmetric activations) the clamp is no ReLU.
        let explicit = rectified_by.filter(|_| self.model.activations[tensor].zero != 0);
        let real = if explicit.is_some() { node.name.as_str() } else { tensor };
        self.operator(node, &inputs, real);
        if let Some(relu) = explicit {
            self.operator(relu, &[real], tensor);
        }
        self.quantize(tensor, tensor);
        self.for_readers(tensor);
    }

    /// The mean and its flattening each between Q and DQ, with the same codes.
    fn average_pool(&mut self, node: &Node, inputs: &[&str]) {
        let Node { name, .. } = node;
        let map = format!("{name}.map");
        self.onnx.node("GlobalAveragePool", name, inputs, &map, &[]);
        self.quantize(&map, name);
        self.dequantize_as(&map, name, &format!("{map}.dq"));
        let flatten = format!("{name}.flatten");
        let axis = [("axis", Attr::Int(1))];
        self.onnx.node("Flatten", &flatten, &[&format!("{map}.dq")], name, &axis);
        self.quantize(name, name);
        self.for_readers(name);
    }

    /// A tensor that nothing makes: its codes stand in the file.
    fn codes(&mut self, node: &Node) {
        let constant = &self.model.constants[&node.name];
        let shape = [&[1], &constant.shape[..]].concat();
        self.stored(&format!("{}.q", node.name), &shape, &constant.codes);
        self.for_readers(&node.name);
    }

    /// Codes as activations have them.
    fn stored(&mut self, name: &str, shape: &[usize], codes: &[u8]) {
        if self.model.signed {
            let signed = |&code: &u8| (i16::from(code) - 128) as i8;
            self.onnx.i8(name, shape, &codes.iter().map(signed).collect::<Vec<_>>());
        } else {
            self.onnx.u8(name, shape, codes);
        }
    }

    /// `tensor.dq`, if a node reads it.
    fn for_readers(&mut self, tensor: &str) {
        if self.model.graph.readers(tensor).next().is_some() {
            self.dequantize(tensor, &format!("{tensor}.dq"));
        }
    }

    /// Weights and biases of `node`, dequantized; returns the tensors' names.
    fn layer(&mut self, node: &Node) -> [String; 2] {
        let layer = &self.model.layers[&node.name];
        let channels = layer.weights.scales.len();
        let (weight, bias) = (format!("{}.weight", node.name), format!("{}.bias", node.name));
        let on_tokens = self.is_on_tokens(node);
        let [first, axis] = [0, i64::from(on_tokens)].map(|axis| [("axis", Attr::Int(axis))]);

        let [q, scale, zero] = parts(&weight);
        if on_tokens {
            let values = operator::columns_first(&layer.weights.values, channels);
            self.onnx.i8(&q, &[layer.shape[1], channels], &values);
        } else {
            self.onnx.i8(&q, &layer.shape, &layer.weights.values);
        }
        self.onnx.f32(&scale, &[channels], &layer.weights.scales);
        self.onnx.i8(&zero, &[channels], &vec![0; channels]);
        let dq = format!("{weight}.dq");
        self.onnx.node("DequantizeLinear", &dq, &[&q, &scale, &zero], &dq, &axis);

        if self.model.float_bias {
            let real = layer.bias.iter().zip(&layer.bias_scales);
            let real: Vec<f32> = real.map(|(&q, scale)| q as f32 * scale).collect();
            self.onnx.f32(&bias, &[channels], &real);
            return [dq, bias];
        }
        let [q, scale, zero] = parts(&bias);
        self.onnx.i32(&q, &[channels], &layer.bias);
        self.onnx.f32(&scale, &[channels], &layer.bias_scales);
        self.onnx.i32(&zero, &[channels], &vec![0; channels]);
        let bias_dq = format!("{bias}.dq");
        self.onnx.node("DequantizeLinear", &bias_dq, &[&q, &scale, &zero], &bias_dq, &first);
        [dq, bias_dq]
    }

    /// What `node` adds, dequantized; returns the tensor's name.
    fn constant(&mut self, node: &Node) -> String {
        let constant = &self.model.constants[&node.name];
        let name = format!("{}.constant", node.name);
        let [q, scale, zero] = parts(&name);
        let shape = [&[1], &constant.shape[..]].concat();
        let zero_code = constant.params.zero as u8;
        // Of the same type as activations, which runtimes ask of the operands of an addition.
        self.stored(&q, &shape, &constant.codes);
        self.stored(&zero, &[], &[zero_code]);
        self.onnx.f32(&scale, &[], &[constant.params.scale]);
        let dq = format!("{name}.dq");
        self.onnx.node("DequantizeLinear", &dq, &[&q, &scale, &zero], &dq, &[]);
        dq
    }

    /// `real` → `real.q`, with the parameters of `tensor`.
    fn quantize(&mut self, real: &str, tensor: &str) {
        let [scale, zero] = self.params(tensor);
        let q = format!("{real}.q");
        self.onnx.node(
            "QuantizeLinear",
            &format!("{real}.quantize"),
            &[real, &scale, &zero],
            &q,
            &[],
        );
    }

    fn dequantize(&mut self, tensor: &str, output: &str) {
        self.dequantize_as(tensor, tensor, output);
    }

    fn dequantize_as(&mut self, codes: &str, tensor: &str, output: &str) {
        let [scale, zero] = self.params(tensor);
        let name = format!("{output}.dequantize");
        self.onnx.node(
            "DequantizeLinear",
            &name,
            &[&format!("{codes}.q"), &scale, &zero],
            output,
            &[],
        );
    }

    /// Scale and zero point of `tensor`, under the name of the tensor whose codes it shares.
    fn params(&mut self, tensor: &str) -> [String; 2] {
        let owner = self.model.plan.owner(tensor);
        let (scale, zero) = (format!("{owner}.scale"), format!("{owner}.zero"));
        if !self.onnx.has_constant(&scale) {
            let params = self.model.activations[owner];
            self.onnx.f32(&scale, &[], &[params.scale]);
            if self.model.signed {
                self.onnx.i8(&zero, &[], &[(params.zero - 128) as i8]);
            } else {
                self.onnx.u8(&zero, &[], &[params.zero as u8]);
            }
        }
        [scale, zero]
    }
}

fn parts(param: &str) -> [String; 3] {
    ["q", "scale", "zero"].map(|part| format!("{param}.{part}"))
}
