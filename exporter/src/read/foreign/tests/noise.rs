//! Damaged files: refused or read, soon, without a panic and in bounded memory.

#[path = "../../../../../runtime/engine/tests/fuzz/mutate.rs"]
mod mutate;

use super::super::read;
use crate::{fixtures, write::onnx};
use graph::Backbone;
use mutate::Dice;
use prost::Message;
use std::{env, fs, time::Instant};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    attribute_proto::AttributeType, tensor_proto::DataType,
};

/// A network that says its shapes by computing them, with what a front end folds and fuses.
fn computed_shapes() -> ModelProto {
    let mut graph = GraphProto::default();
    let (like, _) = fixtures::network(Backbone::Resnet18, 2);
    let weights = fixtures::random(&like, 2);
    let file = onnx::float_model(&like, &weights, onnx::Batch::One).unwrap();
    graph.input = file.graph.as_ref().unwrap().input.clone();
    graph.output = vec![file.graph.unwrap().output[0].clone()];
    let image = graph.input[0].name.clone();
    graph.output[0].name = "y".into();
    for (name, values) in
        [("zero", &[0_i64][..]), ("two", &[2]), ("four", &[4]), ("rest", &[1, -1])]
    {
        graph.initializer.push(TensorProto {
            name: name.into(),
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
    }
    for (name, dims, values) in [
        ("w", vec![2_i64, 1, 3, 3], vec![0.1_f32; 18]),
        ("half", vec![], vec![0.5]),
        ("one", vec![1], vec![1.0]),
        ("root", vec![1], vec![std::f32::consts::SQRT_2]),
    ] {
        graph.initializer.push(TensorProto {
            name: name.into(),
            dims,
            data_type: DataType::Float as i32,
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }
    let axis = |at| int("axis", at);
    let pads = ints("pads", &[1, 1, 1, 1]);
    let twos = ints("strides", &[2, 2]);
    graph.node = vec![
        node("Conv", &[&image, "w"], &["c"], vec![pads.clone(), twos.clone()]),
        node("Shape", &["c"], &["s"], vec![]),
        node("Slice", &["s", "zero", "two"], &["head"], vec![]),
        node("Slice", &["s", "two", "four"], &["sides"], vec![]),
        node("Mul", &["sides", "two"], &["twice"], vec![]),
        node("Concat", &["head", "twice"], &["size"], vec![axis(0)]),
        node("Resize", &["c", "", "", "size"], &["up"], vec![]),
        node("Div", &["up", "root"], &["g1"], vec![]),
        node("Erf", &["g1"], &["g2"], vec![]),
        node("Add", &["g2", "one"], &["g3"], vec![]),
        node("Mul", &["up", "g3"], &["g4"], vec![]),
        node("Mul", &["g4", "half"], &["gelu"], vec![]),
        node("Split", &["gelu"], &["a", "b"], vec![axis(1)]),
        node("Concat", &["b", "a"], &["shuffled"], vec![axis(1)]),
        node("Gather", &["shuffled", "zero"], &["row"], vec![axis(2)]),
        node(
            "MaxPool",
            &["shuffled"],
            &["m"],
            vec![ints("kernel_shape", &[3, 3]), pads, twos, int("ceil_mode", 1)],
        ),
        node("Transpose", &["m"], &["t"], vec![ints("perm", &[0, 2, 3, 1])]),
        node("ReduceMean", &["t"], &["mean"], vec![ints("axes", &[1, -2]), int("keepdims", 1)]),
        node("Mul", &["row", "one"], &["gated"], vec![]),
        node("Reshape", &["gated", "rest"], &["y"], vec![]),
    ];
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { graph: Some(graph), opset_import, ir_version: 8, ..ModelProto::default() }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: format!("{op}_{}", outputs[0]),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: outputs.iter().map(|&name| name.into()).collect(),
        attribute,
        ..NodeProto::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    let (name, ints) = (name.into(), ints.to_vec());
    AttributeProto { name, r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    let name = name.into();
    AttributeProto { name, r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

/// The most memory the process had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

/// In `cargo test` a fixed number of seeds; `FUZZ_SEED` and `FUZZ_SECONDS` as in `make fuzz`.
#[test]
fn damaged_files_are_read_or_refused_soon_in_bounded_memory() {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, seconds) = (number("FUZZ_SEED").unwrap_or(0), number("FUZZ_SECONDS"));
    let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
    let models =
        [computed_shapes(), onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap()];
    models.iter().for_each(|model| drop(read(&model.encode_to_vec()).unwrap()));
    let (began, before) = (Instant::now(), peak());
    let (mut refused, mut accepted) = (0, 0);
    for seed in first.. {
        let over = match seconds {
            Some(seconds) => began.elapsed().as_secs() >= seconds,
            None => seed - first >= 1500,
        };
        if over {
            break;
        }
        let mut dice = Dice::new(seed);
        let mut model = models[usize::from(dice.below(4) == 0)].clone();
        let mut changes = 1 + dice.below(4);
        let bytes = if dice.below(4) == 0 {
            let mut bytes = model.encode_to_vec();
            (0..changes).for_each(|_| mutate::bytes(&mut bytes, &mut dice));
            bytes
        } else {
            while changes > 0 {
                mutate::model(&mut model, &mut dice);
                changes -= 1;
            }
            model.encode_to_vec()
        };
        let case = Instant::now();
        match read(&bytes) {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
        assert!(case.elapsed().as_secs() < 60, "seed {seed} takes {:?}", case.elapsed());
        let grown = peak().saturating_sub(before);
        assert!(grown < 2 << 30, "seed {seed}: {grown} bytes more");
    }
    assert!(refused > 0 && accepted > 0, "{refused} refused, {accepted} read");
}
