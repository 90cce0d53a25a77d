mod beside;
mod noise;
mod oracle;

use super::*;
use crate::{fixtures, passes::interpreter::Interpreter, write::onnx};
use graph::Backbone;
use prost::Message;
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
        let theirs =
            Interpreter::new(&foreign.graph, &foreign.weights).unwrap().outputs(&image).unwrap();
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

fn attribute(name: &str, kind: AttributeType, of: impl Fn(&mut AttributeProto)) -> AttributeProto {
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
        ("Conv", text("auto_pad", "SOME")),
        ("Conv", ints("dilations", &[0, 2])),
        ("Conv", ints("kernel_shape", &[5, 5])),
        ("MaxPool", text("auto_pad", "VALID")), // its pads say 1
        ("MaxPool", ints("pads", &[1, 3, 1, 3])),
        ("MaxPool", ints("pads", &[1, -1, 1, 1])),
        ("MaxPool", int("ceil_mode", 2)),
        ("Resize", text("mode", "cubic")),
        ("Resize", text("coordinate_transformation_mode", "tf_crop_and_resize")),
        ("Resize", text("nearest_mode", "up")),
        ("Resize", text("keep_aspect_ratio_policy", "not_larger")),
        ("Resize", int("exclude_outside", 1)),
        ("Resize", int("antialias", 1)),
        ("Gemm", int("transB", 2)),
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

/// Before operator set 14, a normalisation with further outputs takes the statistics of its own batch.
#[test]
fn a_normalisation_in_training_is_refused() {
    let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
    let mut model = onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap();
    model.opset_import[0].version = 11;
    let nodes = &mut model.graph.as_mut().unwrap().node;
    let image = nodes[0].input[0].clone();
    let made = |op: &str, input: &[&str], output: &[&str], attribute| NodeProto {
        op_type: op.into(),
        input: input.iter().map(|name| (*name).into()).collect(),
        output: output.iter().map(|name| (*name).into()).collect(),
        attribute,
        ..NodeProto::default()
    };
    let one = attribute("value_floats", AttributeType::Floats, |a| a.floats = vec![1.0]);
    nodes[0].input[0] = "normalised".into();
    let inputs = [&image[..], "one", "one", "one", "one"];
    let outputs = ["normalised", "mean", "variance", "", ""];
    nodes.insert(0, made("BatchNormalization", &inputs, &outputs[..1], Vec::new()));
    nodes.insert(0, made("Constant", &[], &["one"], vec![one]));
    read(&model.encode_to_vec()).unwrap();
    let nodes = &mut model.graph.as_mut().unwrap().node;
    nodes[1].output = outputs.map(str::to_owned).to_vec();
    let error = format!("{:#}", read(&model.encode_to_vec()).unwrap_err());
    assert!(error.contains("output `mean`") && error.contains("training"), "{error}");
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
fn a_bias_that_does_not_fit_is_refused() {
    let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
    let mut model = onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap();
    let nodes = &mut model.graph.as_mut().unwrap().node;
    let image = nodes[0].input[0].clone();
    let node = nodes.iter_mut().find(|node| node.op_type == "Gemm").unwrap();
    node.input[2] = image;
    let error = format!("{:#}", read(&model.encode_to_vec()).unwrap_err());
    assert!(error.contains("node `fc`") && error.contains("[1, 1, 64, 64]"), "{error}");
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
