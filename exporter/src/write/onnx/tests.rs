//! Both writers and the interpreter held to ONNX Runtime, every operator among the others of its kind.

use super::{Batch, float_model, quantized_model};
use crate::{
    fixtures,
    passes::{
        fold,
        interpreter::{Interpreter, Outputs},
        quantized::{Plan, Quantized},
        simulate::Simulation,
    },
    read::weights::Weights,
    write::npy,
};
use calibration::{Observer, Range};
use graph::{Coordinates, Filter, Graph, Node, Op, Output, Resample, Unary};
use prost::Message;
use std::{collections::BTreeMap, path::Path, process::Command};
use tract_onnx::pb::ModelProto;

/// A network written down node by node.
struct Sketch(Graph);

impl Sketch {
    fn new(name: &str, input_shape: [usize; 3]) -> Self {
        Self(Graph {
            name: name.into(),
            input: "image".into(),
            input_shape,
            nodes: Vec::new(),
            outputs: Vec::new(),
        })
    }

    fn push(&mut self, op: Op, inputs: &[&str]) -> String {
        let name = format!("n{}", self.0.nodes.len());
        let inputs = inputs.iter().map(|&input| input.into()).collect();
        self.0.nodes.push(Node { name: name.clone(), op, inputs });
        name
    }

    fn output(&mut self, node: &str) {
        self.0
            .outputs
            .push(Output { name: format!("out{}", self.0.outputs.len()), node: node.into() });
    }

    fn finish(self) -> (Graph, Weights) {
        self.0.shapes().unwrap();
        let weights = fixtures::random(&self.0, 5);
        (self.0, weights)
    }
}

fn reshape(shape: &[usize]) -> Op {
    Op::Reshape { shape: shape.to_vec() }
}

fn transpose(order: &[usize]) -> Op {
    Op::Transpose { order: order.to_vec() }
}

fn linear(in_features: usize, out_features: usize) -> Op {
    Op::Linear { in_features, out_features }
}

/// Gates, functions, affines and normalisations.
fn gates() -> (Graph, Weights) {
    let mut net = Sketch::new("gates", [1, 16, 12]);
    let stem = Op::Conv2d {
        in_channels: 1,
        out_channels: 8,
        kernel: [3, 2],
        stride: [2, 1],
        padding: [1, 0, 1, 1],
        dilation: [1, 1],
        groups: 1,
        bias: true,
    };
    let mut x = net.push(stem, &["image"]);
    let functions = [
        Unary::Silu,
        Unary::HardSwish,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Tanh,
        Unary::Elu { alpha: 0.7 },
        Unary::Mish,
        Unary::Softplus,
        Unary::Clip { lo: 0.25, hi: 1.5 },
    ];
    for function in functions {
        let y = net.push(Op::Unary { function }, &[&x]);
        x = net.push(Op::conv2d([8, 8], 3, 1, 1, 1, true), &[&y]);
    }
    for function in [Unary::Sigmoid, Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }] {
        let pooled = net.push(Op::GlobalAvgPool, &[&x]);
        let pixel = net.push(reshape(&[8, 1, 1]), &[&pooled]);
        let squeezed = net.push(Op::conv2d([8, 4], 1, 1, 0, 1, true), &[&pixel]);
        let relu = net.push(Op::Relu, &[&squeezed]);
        let excited = net.push(Op::conv2d([4, 8], 1, 1, 0, 1, true), &[&relu]);
        let gate = net.push(Op::Unary { function }, &[&excited]);
        x = net.push(Op::Mul, &[&x, &gate]);
    }
    let alone = net.push(Op::BatchNorm2d { channels: 8, eps: 1e-5 }, &[&x]);
    let groups = net.push(Op::GroupNorm { groups: 2, channels: 8, eps: 1e-5 }, &[&x]);
    let difference = net.push(Op::Sub, &[&alone, &groups]);
    let scaled = net.push(Op::MulConstant { shape: vec![8, 1, 1] }, &[&difference]);
    let whole = net.push(Op::Mul, &[&scaled, &x]);
    let relu = net.push(Op::Relu, &[&whole]);
    let both = net.push(Op::Add, &[&relu, &whole]);
    let pooled = net.push(Op::GlobalAvgPool, &[&both]);
    let logits = net.push(linear(8, 3), &[&pooled]);
    net.output(&logits);
    net.output(&both);
    net.finish()
}

/// What moves and samples pixels.
fn windows() -> (Graph, Weights) {
    let mut net = Sketch::new("windows", [1, 15, 14]);
    let stem = net.push(Op::conv2d([1, 6], 3, 1, 1, 1, true), &["image"]);
    let dilated = Op::Conv2d {
        in_channels: 6,
        out_channels: 6,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [2, 2, 2, 2],
        dilation: [2, 2],
        groups: 3,
        bias: false,
    };
    let x = net.push(dilated, &[&stem]);
    let window = ([3, 2], [2, 2], [1, 0, 1, 1]);
    let average = |count_padding| Op::AvgPool2d {
        kernel: window.0,
        stride: window.1,
        padding: window.2,
        count_padding,
    };
    let most = |dilation| Op::MaxPool2d {
        kernel: window.0,
        stride: window.1,
        padding: window.2,
        dilation,
    };
    for op in [average(true), average(false), most([1, 1]), most([2, 1])] {
        let y = net.push(op, &[&x]);
        net.output(&y);
    }
    for (value, step) in [(0.0, 1), (-0.5, 2)] {
        let padded = net.push(Op::Pad { padding: [1, 0, 2, 3], value }, &[&x]);
        let slice = net.push(Op::Slice { axis: 2, start: 1, end: 14, step }, &[&padded]);
        let last = net.push(Op::Slice { axis: 0, start: 3, end: 6, step: 1 }, &[&slice]);
        let joined = net.push(Op::Concat { axis: 1 }, &[&last, &last]);
        net.output(&joined);
    }
    let resamples = [
        (Filter::Linear, Coordinates::HalfPixel),
        (Filter::Linear, Coordinates::AlignCorners),
        (Filter::Linear, Coordinates::PytorchHalfPixel),
        (Filter::Linear, Coordinates::Asymmetric),
        (Filter::NearestFloor, Coordinates::Asymmetric),
        (Filter::NearestRoundPreferFloor, Coordinates::HalfPixel),
        (Filter::NearestRoundPreferCeil, Coordinates::AlignCorners),
        (Filter::NearestCeil, Coordinates::HalfPixelSymmetric),
    ];
    for (filter, coordinates) in resamples {
        let resample = Resample { filter, coordinates, scale: [2.0, 1.5] };
        let y = net.push(Op::Resize { size: [30, 21], resample }, &[&x]);
        net.output(&y);
    }
    let up = |kernel, padding, groups, bias| Op::ConvTranspose2d {
        in_channels: 6,
        out_channels: 6,
        kernel: [kernel; 2],
        stride: [2; 2],
        padding: [padding; 4],
        output_padding: [0; 2],
        dilation: [1; 2],
        groups,
        bias,
    };
    for op in [up(2, 0, 1, true), up(4, 1, 1, true), up(3, 1, 2, false)] {
        let y = net.push(op, &[&x]);
        let y = net.push(Op::Relu, &[&y]);
        net.output(&y);
    }
    net.finish()
}

/// A block of a vision transformer, with a class token, positions and heads.
fn tokens() -> (Graph, Weights) {
    let (tokens, width, heads) = (16, 24, 3);
    let mut net = Sketch::new("tokens", [1, 16, 16]);
    let patches = net.push(Op::conv2d([1, width], 4, 4, 0, 1, true), &["image"]);
    let columns = net.push(reshape(&[width, tokens]), &[&patches]);
    let rows = net.push(transpose(&[1, 0]), &[&columns]);
    let class = net.push(Op::Constant { shape: vec![1, width] }, &[]);
    let all = net.push(Op::Concat { axis: 0 }, &[&class, &rows]);
    let n = tokens + 1;
    let x = net.push(Op::AddConstant { shape: vec![n, width] }, &[&all]);
    let norm = net.push(Op::LayerNorm { channels: width, eps: 1e-6 }, &[&x]);
    let d = width / heads;
    let split = |net: &mut Sketch, order: &[usize]| {
        let y = net.push(linear(width, width), &[&norm]);
        let y = net.push(reshape(&[n, heads, d]), &[&y]);
        net.push(transpose(order), &[&y])
    };
    let [q, v] = [(); 2].map(|()| split(&mut net, &[1, 0, 2]));
    let k = split(&mut net, &[1, 2, 0]);
    let scores = net.push(Op::MatMul, &[&q, &k]);
    let scaled = net.push(Op::MulConstant { shape: vec![1] }, &[&scores]);
    let shares = net.push(Op::Softmax, &[&scaled]);
    let answers = net.push(Op::MatMul, &[&shares, &v]);
    let merged = net.push(transpose(&[1, 0, 2]), &[&answers]);
    let merged = net.push(reshape(&[n, width]), &[&merged]);
    let projected = net.push(linear(width, width), &[&merged]);
    let x = net.push(Op::Add, &[&x, &projected]);
    let norm = net.push(Op::LayerNorm { channels: width, eps: 1e-6 }, &[&x]);
    let wide = net.push(linear(width, 4 * width), &[&norm]);
    let gelu = net.push(Op::Unary { function: Unary::Gelu }, &[&wide]);
    let narrow = net.push(linear(4 * width, width), &[&gelu]);
    let x = net.push(Op::Add, &[&x, &narrow]);
    let first = net.push(Op::Slice { axis: 0, start: 0, end: 1, step: 1 }, &[&x]);
    let first = net.push(reshape(&[width]), &[&first]);
    let mean = net.push(Op::Mean { axis: 0 }, &[&x]);
    for vector in [first, mean] {
        let logits = net.push(linear(width, 5), &[&vector]);
        net.output(&logits);
    }
    net.finish()
}

fn networks() -> [(Graph, Weights); 3] {
    [gates(), windows(), tokens()]
}

/// What ONNX Runtime computes, `None` where it is not there.
fn onnx_runtime(model: &ModelProto, image: &[f32], [c, h, w]: [usize; 3]) -> Option<Outputs> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = root.join(".venv/bin/python");
    if !python.is_file() {
        skip::because(format_args!("no {}: make setup", python.display()));
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let [file, input] = ["model.onnx", "input.npy"].map(|name| folder.path().join(name));
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    std::fs::write(&input, npy::f32(&[1, c, h, w], image)).unwrap();
    let script = root.join("tests/oracles/run_onnx.py");
    let out = Command::new(python).arg(script).arg(file).arg(input).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let values: BTreeMap<String, Vec<f32>> = serde_json::from_slice(&out.stdout).unwrap();
    Some(values.into_iter().collect())
}

/// Both by name: ONNX Runtime's come sorted.
fn compare(ours: &Outputs, theirs: &Outputs, most: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len());
    for (name, theirs) in theirs {
        let (_, ours) = ours.iter().find(|(own, _)| own == name).unwrap();
        let difference = fixtures::relative_difference(ours, theirs);
        assert!(difference <= most as f32, "{what} {name}: {difference}");
    }
}

#[test]
fn onnx_runtime_gets_what_the_interpreter_gets_from_a_float_file() {
    for (graph, weights) in networks() {
        let image = fixtures::image(&graph, 2);
        let model = float_model(&graph, &weights, Batch::One).unwrap();
        let Some(theirs) = onnx_runtime(&model, &image, graph.input_shape) else { return };
        let ours = Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap();
        compare(&ours, &theirs, 1e-5, &graph.name);
    }
}

/// A network on eight bits with the ranges of one image.
fn quantized(graph: &Graph, weights: &Weights, image: &[f32]) -> Quantized {
    let (graph, weights) = fold::fold(graph, weights);
    let plan = Plan::new(&graph).unwrap();
    let mut observers: BTreeMap<String, Observer> = BTreeMap::new();
    let see = |tensor: &str, values: &[f32]| {
        observers.entry(tensor.into()).or_default().observe(values);
        None
    };
    Interpreter::new(&graph, &weights).unwrap().run(image, see).unwrap();
    let params = plan
        .tensors()
        .iter()
        .map(|tensor| plan.owner(tensor))
        .map(|owner| {
            let range: Range = observers[owner].range(calibration::Method::MinMax).unwrap();
            (owner.to_owned(), range.activation())
        })
        .collect();
    Quantized::new(graph, plan, &weights, &params)
}

#[test]
fn onnx_runtime_gets_what_the_simulation_gets_from_an_int8_file() {
    for (graph, weights) in networks() {
        let image = fixtures::image(&graph, 2);
        let model = quantized(&graph, &weights, &image);
        let onnx = quantized_model(&model, Batch::One).unwrap();
        let Some(theirs) = onnx_runtime(&onnx, &image, graph.input_shape) else { return };
        let ours = Simulation::new(&model).unwrap().run(&image, |_, _| {}).unwrap();
        compare(&ours, &theirs, 0.02, &graph.name);
        let float = Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap();
        compare(&float, &theirs, 0.2, &graph.name);
    }
}
