//! Both writers and the interpreter held to ONNX Runtime, every operator among the others of its kind.

use super::{Batch, float_model, quantized_model};
use crate::{
    fixtures::{self, sketches},
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
use engine::{Engine, Options};
use graph::Graph;
use prost::Message;
use std::{collections::BTreeMap, path::Path, process::Command};
use tract_onnx::pb::ModelProto;

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
    for (graph, weights) in sketches::all() {
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
    for (graph, weights) in sketches::all() {
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

#[test]
fn the_engine_runs_an_int8_file_in_integers_and_gets_what_onnx_runtime_gets() {
    for (graph, weights) in sketches::all() {
        let image = fixtures::image(&graph, 2);
        let model = quantized(&graph, &weights, &image);
        let onnx = quantized_model(&model, Batch::One).unwrap();
        let options = Options::threads(1);
        let engine = Engine::from_onnx(&onnx.encode_to_vec(), &[], &options);
        let mut engine = engine.unwrap_or_else(|error| panic!("{}: {error}", graph.name));
        let share = engine.integer_share().clone();
        assert!(share.float_nodes.is_empty(), "{}: {share:?}", graph.name);
        let Some(theirs) = onnx_runtime(&onnx, &image, graph.input_shape) else { return };
        let outputs = engine.run(&image).unwrap().outputs;
        let ours = outputs.into_iter().map(|output| (output.name, output.data)).collect();
        compare(&ours, &theirs, 0.02, &graph.name);
    }
}
