//! Attributes of a file: what is not understood is refused by its name, never ignored.

use crate::qdq::{Layer, Qdq, Rectify, float, int, ints, text};
use engine::{Engine, Options};
use prost::Message;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto};

/// One of each operator that has integers.
fn network() -> ModelProto {
    let (mut net, x) = Qdq::new(11, false, [2, 8, 8]);
    let a = net.conv(&x, Layer::square(4, 3, 1, Rectify::Relu6));
    let b = net.unary("LeakyRelu", &a);
    let sum = net.add(&a, &b, true);
    let up = net.upsample(&sum, 2, false);
    let pooled = net.pool("MaxPool", &up, 3, 2);
    let pooled = net.pool("AveragePool", &pooled, 3, 1);
    let joined = net.concat(&[&pooled, &x]);
    let mean = net.global_pool(&joined);
    let attended = net.attention_pool(&joined, 2);
    net.output(&attended);
    let logits = net.linear(&mean, 3, true);
    net.output(&crate::Real { name: logits, ..mean });
    net.model()
}

/// What loading says when `change` was done to the first node of an operator.
fn refusal(op: &str, change: impl FnOnce(&mut NodeProto)) -> String {
    let mut model = network();
    let nodes = &mut model.graph.as_mut().unwrap().node;
    let node = nodes.iter_mut().find(|node| node.op_type == op).unwrap();
    change(node);
    let name = node.name.clone();
    let loaded = Engine::from_onnx(&model.encode_to_vec(), &[], &Options::threads(1));
    let text = loaded.err().unwrap_or_else(|| panic!("{op} `{name}` was read")).to_string();
    assert!(text.contains(&name), "{text}");
    text
}

fn set(node: &mut NodeProto, attribute: AttributeProto) {
    node.attribute.retain(|other| other.name != attribute.name);
    node.attribute.push(attribute);
}

#[test]
fn an_attribute_that_nobody_knows_is_refused_by_name_on_every_operator() {
    let model = network();
    assert!(Engine::from_onnx(&model.encode_to_vec(), &[], &Options::threads(1)).is_ok());
    let mut ops: Vec<String> = model.graph.unwrap().node.into_iter().map(|n| n.op_type).collect();
    ops.sort();
    ops.dedup();
    assert!(ops.len() > 14, "{ops:?}");
    for op in ops {
        let text = refusal(&op, |node| set(node, int("flavour", 1)));
        assert!(text.contains("`flavour`"), "{text}");
    }
}

#[test]
fn an_attribute_there_twice_or_of_another_type_is_refused_by_name() {
    let twice = refusal("Conv", |node| node.attribute.push(ints("strides", &[2, 2])));
    assert!(twice.contains("`strides` is there twice"), "{twice}");
    let float_axis = refusal("Concat", |node| set(node, float("axis", 1.0)));
    assert!(float_axis.contains("`axis` is of type Float, expected Int"), "{float_axis}");
    let whole = refusal("LeakyRelu", |node| set(node, int("alpha", 1)));
    assert!(whole.contains("`alpha`"), "{whole}");
    let noise = refusal("Resize", |node| {
        set(node, AttributeProto { s: vec![0xff], ..text("mode", "nearest") });
    });
    assert!(noise.contains("`mode` is no text in UTF-8"), "{noise}");
}

#[test]
fn attributes_that_change_the_result_and_are_not_supported_are_refused_by_name() {
    for (op, attribute) in [
        ("Conv", ints("kernel_shape", &[5, 5])),
        ("Conv", text("auto_pad", "SOMEHOW")),
        ("Resize", int("antialias", 1)),
        ("Resize", int("exclude_outside", 1)),
        ("Resize", ints("axes", &[2, 3])),
        ("Resize", text("nearest_mode", "up")),
        ("QuantizeLinear", int("block_size", 2)),
        ("DequantizeLinear", int("block_size", 2)),
        ("QuantizeLinear", int("output_dtype", 3)), // the zero point is uint8
        ("QuantizeLinear", int("output_dtype", 4)),
        ("QuantizeLinear", int("precision", 10)),
        ("DequantizeLinear", int("output_dtype", 10)),
    ] {
        let name = attribute.name.clone();
        let text = refusal(op, |node| set(node, attribute));
        assert!(text.contains(&name), "{text}");
    }
}

/// Operator set 21: without a zero point, `output_dtype` says what the codes are.
#[test]
fn codes_without_a_zero_point_are_of_the_type_that_output_dtype_names() {
    for (kind, lowest) in [(2, 0.0), (3, -128.0)] {
        let (mut net, x) = Qdq::new(7, kind == 3, [1, 16, 16]);
        net.output(&x);
        let mut model = net.model();
        for node in &mut model.graph.as_mut().unwrap().node {
            node.input.truncate(2);
            if node.op_type == "QuantizeLinear" {
                set(node, int("output_dtype", kind));
            }
        }
        let options = Options::threads(1);
        let mut engine = Engine::from_onnx(&model.encode_to_vec(), &[], &options).unwrap();
        let pixels: Vec<f32> = (0..256).map(|i| (i as f32 / 128.0 - 1.0) * 4.0).collect();
        let (_, seen) = engine.run_intermediates(&pixels).unwrap();
        assert_eq!(seen[0].zero, 0);
        for (x, code) in pixels.iter().zip(&seen[0].values) {
            let expected = (x / seen[0].scale).round_ties_even().clamp(lowest, lowest + 255.0);
            assert_eq!(f32::from(*code), expected, "{x}");
        }
    }
}

#[test]
fn a_dilated_pooling_runs_in_integers_with_the_numbers_of_its_definition() {
    let (mut net, x) = Qdq::new(5, false, [1, 6, 6]);
    let window = vec![ints("kernel_shape", &[2, 2]), ints("dilations", &[3, 2])];
    let pooled = net.float("MaxPool", &[&x.name], window);
    let pooled = net.quantized(&pooled, [1, 3, 4], 1.0);
    // The same codes: a maximum needs no rounding.
    let last = net.graph.node.len();
    let codes: Vec<String> = net.graph.node[0].input[1..].to_vec();
    for node in &mut net.graph.node[last - 2..] {
        node.input.truncate(1);
        node.input.extend(codes.iter().cloned());
    }
    net.output(&x);
    net.output(&pooled);
    let mut engine = Engine::from_onnx(&net.bytes(), &[], &Options::threads(1)).unwrap();
    assert_eq!(engine.integer_share().float_nodes.len(), 0);
    let pixels: Vec<f32> = (0..36).map(|i| ((i * 29) % 36) as f32 / 9.0 - 2.0).collect();
    let outputs = engine.run(&pixels).unwrap().outputs;
    let (x, y) = (&outputs[0].data, &outputs[1]);
    assert_eq!(y.shape, [1, 1, 3, 4]);
    for row in 0..3 {
        for column in 0..4 {
            let seen = [(0, 0), (0, 2), (3, 0), (3, 2)];
            let largest = seen.map(|(r, c)| x[(row + r) * 6 + column + c]).into_iter();
            let largest = largest.fold(f32::MIN, f32::max);
            assert_eq!(y.data[row * 4 + column], largest, "{row} {column}");
        }
    }
}
