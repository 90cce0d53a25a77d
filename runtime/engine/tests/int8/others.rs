//! What other quantizers leave out or write otherwise: biases in float, no QuantizeLinear behind what only moves codes.

use crate::qdq::{Layer, Qdq, Real, Rectify, floats, int, ints};
use crate::{as_defined, bits, image};
use engine::{Engine, Options, Outputs};
use prost::Message;
use tract_onnx::pb::ModelProto;

const SHAPE: [usize; 3] = [3, 8, 8];

/// A convolution, a linear layer behind it, and how many biases each has.
fn layers() -> ModelProto {
    let (mut net, x) = Qdq::new(21, false, SHAPE);
    let y = net.conv(&x, Layer::square(6, 3, 1, Rectify::Relu));
    let logits = net.linear(&y, 5, true);
    net.output(&Real { name: logits, ..y });
    net.model()
}

fn run(model: &ModelProto) -> Outputs {
    let mut engine = Engine::from_onnx(&model.encode_to_vec(), &[], &Options::threads(1)).unwrap();
    assert!(engine.integer_share().float_nodes.is_empty());
    engine.run(&image(21, SHAPE)).unwrap()
}

fn refusal(model: &ModelProto) -> String {
    let loaded = Engine::from_onnx(&model.encode_to_vec(), &[], &Options::threads(1));
    loaded.err().expect("it was read").to_string()
}

/// The model with its biases in float, each changed by `change` units of its sums.
fn in_float(mut model: ModelProto, change: f64) -> ModelProto {
    let graph = model.graph.as_mut().unwrap();
    let of = |name: &str| graph.initializer.iter().find(|tensor| tensor.name == name).unwrap();
    let mut made = Vec::new();
    for layer in graph.node.iter().filter(|node| matches!(&*node.op_type, "Conv" | "Gemm")) {
        let bias = graph.node.iter().find(|node| node.output[0] == layer.input[2]).unwrap();
        let four = |name: &str| of(name).raw_data.as_chunks::<4>().0.to_vec();
        let units = four(&bias.input[0]).into_iter().map(i32::from_le_bytes);
        let scales = four(&bias.input[1]).into_iter().map(f32::from_le_bytes);
        let real = |(units, scale)| ((f64::from(units) + change) * f64::from(scale)) as f32;
        let reals: Vec<f32> = units.zip(scales).map(real).collect();
        let mut tensor = floats(&[reals.len()], &reals);
        tensor.name.clone_from(&layer.input[2]);
        made.push(tensor);
    }
    let names: Vec<String> = made.iter().map(|tensor| tensor.name.clone()).collect();
    graph.node.retain(|node| !names.contains(&node.output[0]));
    graph.initializer.extend(made);
    model
}

/// The model with one more unit in each of its int32 biases.
fn with_one_more(mut model: ModelProto) -> ModelProto {
    let graph = model.graph.as_mut().unwrap();
    for at in 0..graph.node.len() {
        let axis_0 = graph.node[at].attribute.iter().any(|a| a.name == "axis" && a.i == 0);
        let tensor = graph.initializer.iter_mut().find(|t| t.name == graph.node[at].input[0]);
        if let (true, Some(tensor)) = (axis_0, tensor.filter(|tensor| tensor.data_type == 6)) {
            let more = |bytes: &[u8; 4]| (i32::from_le_bytes(*bytes) + 1).to_le_bytes();
            tensor.raw_data = tensor.raw_data.as_chunks().0.iter().flat_map(more).collect();
        }
    }
    model
}

#[test]
fn a_float_bias_is_the_nearest_whole_number_of_units() {
    let expected = bits(&run(&layers()));
    for change in [0.0, 0.3, -0.4] {
        assert_eq!(bits(&run(&in_float(layers(), change))), expected, "{change}");
    }
    let more = bits(&run(&with_one_more(layers())));
    assert_ne!(more, expected);
    assert_eq!(bits(&run(&in_float(layers(), 0.7))), more);
}

#[test]
fn a_float_bias_of_no_32_bits_or_another_length_is_refused_by_name() {
    let with = |values: &[f32]| {
        let mut model = in_float(layers(), 0.0);
        let graph = model.graph.as_mut().unwrap();
        let conv = graph.node.iter().find(|node| node.op_type == "Conv").unwrap();
        let (name, bias) = (conv.name.clone(), conv.input[2].clone());
        let at = graph.initializer.iter().position(|tensor| tensor.name == bias).unwrap();
        graph.initializer[at] = floats(&[values.len()], values);
        graph.initializer[at].name = bias;
        let text = refusal(&model);
        assert!(text.contains(&name), "{text}");
        text
    };
    for bias in [1e30, f32::NAN, f32::INFINITY] {
        let text = with(&[0.0, bias, 0.0, 0.0, 0.0, 0.0]);
        assert!(text.contains("units, expected 32 bits"), "{text}");
    }
    assert!(with(&[0.0]).contains("1 biases, expected 6"));
}

/// QuantizeLinear and DequantizeLinear with the scale and zero point of `like`.
fn rounded(net: &mut Qdq, name: &str, like: &Real) -> String {
    let node = net.graph.node.iter().find(|node| node.output[0] == like.name).unwrap();
    let [_, scale, zero] = &node.input[..] else { panic!("{node:?}") };
    let (scale, zero) = (scale.clone(), zero.clone());
    let codes = net.node("QuantizeLinear", &[name, &scale, &zero], vec![]);
    net.node("DequantizeLinear", &[&codes, &scale, &zero], vec![])
}

/// A pool, a ReLU and a join before a convolution, rounded to the codes they have anyway or not.
fn moved(signed: bool, round: bool) -> Vec<u8> {
    let (mut net, x) = Qdq::new(22, signed, SHAPE);
    let a = net.conv(&x, Layer::square(6, 3, 1, Rectify::None));
    let attributes = vec![ints("kernel_shape", &[3; 2]), ints("pads", &[1; 4])];
    let mut parts = vec![net.node("MaxPool", &[&a.name], attributes)];
    parts.push(net.node("Relu", &[&a.name], vec![]));
    parts.push(a.name.clone());
    if round {
        parts = parts.iter().map(|part| rounded(&mut net, part, &a)).collect();
    }
    let names: Vec<&str> = parts.iter().map(String::as_str).collect();
    let mut joined = net.node("Concat", &names, vec![int("axis", 1)]);
    if round {
        joined = rounded(&mut net, &joined, &a);
    }
    let joined = Real { name: joined, shape: [18, 8, 8], ..a };
    let y = net.conv(&joined, Layer::square(4, 3, 1, Rectify::Relu));
    net.output(&y);
    net.bytes()
}

#[test]
fn what_only_moves_codes_needs_no_rounding_behind_it() {
    for signed in [false, true] {
        let x = image(22, SHAPE);
        let mut engine =
            Engine::from_onnx(&moved(signed, false), &[], &Options::threads(1)).unwrap();
        assert!(engine.integer_share().float_nodes.is_empty());
        let mut other = Engine::from_onnx(&moved(signed, true), &[], &Options::threads(1)).unwrap();
        let found = engine.run(&x).unwrap();
        assert!(found.outputs[0].data.iter().any(|value| *value != found.outputs[0].data[0]));
        let data = |outputs: &Outputs| outputs.outputs[0].data.clone();
        assert_eq!(data(&found), data(&other.run(&x).unwrap()));
        as_defined(&moved(signed, false), &x).unwrap();
    }
}

/// Rows and columns of an image as tokens, `[1, H·W, C]`, which lie as the image does.
fn tokens(net: &mut Qdq, x: &Real) -> String {
    let [c, h, w] = x.shape;
    let rows = net.reshaped(x, &[c, h * w]);
    net.node("Transpose", &[&rows.name], vec![ints("perm", &[0, 2, 1])])
}

#[test]
fn tokens_of_an_image_leave_in_their_own_order() {
    let (mut net, x) = Qdq::new(23, false, SHAPE);
    let a = net.conv(&x, Layer::square(6, 3, 1, Rectify::None));
    let rows = tokens(&mut net, &a);
    let ones = net.constant(floats(&[1, 64, 6], &[1.0; 384]));
    let sum = net.float("Add", &[&rows, &ones], vec![]);
    for name in [a.name.clone(), rows, sum.clone()] {
        net.output(&Real { name, ..a.clone() });
    }
    let again = net.quantized(&sum, [64, 1, 6], 300.0 * a.scale);
    net.output(&again);
    let onnx = net.bytes();
    let x = image(23, SHAPE);
    let options = Options::threads(1);
    let found = Engine::from_onnx(&onnx, &[], &options).unwrap().run(&x).unwrap();
    let [image, rows, sum, rounded] = &found.outputs[..] else { panic!("four outputs") };
    assert_eq!((&rows.shape[..], &sum.shape[..]), (&[1, 64, 6][..], &[1, 64, 6][..]));
    for at in 0..384 {
        let pixel = image.data[at % 6 * 64 + at / 6];
        assert_eq!((rows.data[at], sum.data[at]), (pixel, pixel + 1.0), "{at}");
    }
    let float = Engine::open_float(&onnx, &options).unwrap().run(&x).unwrap();
    let step = a.scale.max(again.scale) * 1.001;
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= step;
    assert!(rounded.data.iter().zip(&float.outputs[3].data).all(close));
}
