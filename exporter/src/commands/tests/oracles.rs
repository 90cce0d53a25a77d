//! Networks written down node by node, and networks that another tool brought to eight bits, held to
//! `tests/oracles/onnx_qdq.py`: each code of the engine to ONNX Runtime, to the real number behind it and, where there is
//! one, to our integer definition.

use super::{super::dump::dump, run};
use crate::{
    fixtures::{self, sketches},
    read::weights::Weights,
    verify::Network,
    write::onnx::{Batch, float_model},
};
use bundle::{Bundle, section};
use graph::Graph;
use prost::Message;
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

/// A script of `tests/oracles`, `None` where there is no Python for it.
fn script(name: &str) -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = root.join(".venv/bin/python");
    if !python.is_file() {
        skip::because(format_args!("no {}: make setup", python.display()));
        return None;
    }
    let mut command = Command::new(python);
    command.arg(root.join("tests/oracles").join(name));
    Some(command)
}

fn printed(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

/// What the oracle says of runs that `dump` wrote, picture by picture.
pub(super) fn judged(folder: &Path) -> Option<Vec<Value>> {
    let text = printed(script("onnx_qdq.py")?.arg(folder).arg("--nodes"));
    let report: Value = serde_json::from_str(&text).unwrap();
    let pictures = report["pictures"].as_array().unwrap().clone();
    for picture in &pictures {
        assert_eq!(picture["without_definition"], json!([]));
        assert!(picture["worst_steps"].as_u64() <= Some(1), "{picture}");
    }
    Some(pictures)
}

/// A network's int8 form on three pictures.
fn quantized_and_judged(graph: &Graph, weights: &Weights) -> Option<Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (float, int8, images) = (at("float.onnx"), at("model.onnx"), at("images"));
    fs::write(&float, float_model(graph, weights, Batch::One).unwrap().encode_to_vec()).unwrap();
    fs::create_dir(&images).unwrap();
    for seed in 0..8_usize {
        let pixels: Vec<u8> =
            (0..64 * 64).map(|i| (i * 7 + i / 64 * 31 * seed + seed * 101) as u8).collect();
        fixtures::save_picture(&images.join(format!("{seed}.png")), &pixels);
    }
    run(&[&"quantize", &"--int8", &"--model", &float, &"--calibration", &images, &"--out", &int8])
        .unwrap();
    let network = Network::open(&[], &fs::read(&int8).unwrap()).unwrap();
    assert!(network.integer_share().float_nodes.is_empty());
    let [c, h, w] = graph.input_shape;
    for seed in 0..3 {
        let input = fixtures::image(graph, seed);
        dump(&network, &[1, c, h, w], &input, &at(&seed.to_string())).unwrap();
    }
    judged(folder.path())
}

#[test]
fn every_code_of_a_transformer_is_what_the_file_and_our_definition_mean() {
    let (graph, weights) = sketches::tokens();
    for picture in quantized_and_judged(&graph, &weights).into_iter().flatten() {
        // All but the table of GELU, and those that are only moved.
        assert!(picture["to_the_bit"].as_u64().unwrap() >= 12, "{picture}");
    }
}

#[test]
fn every_code_of_gates_functions_and_normalisations_is_what_the_file_means() {
    let (graph, weights) = sketches::gates();
    for picture in quantized_and_judged(&graph, &weights).into_iter().flatten() {
        assert!(picture["to_the_bit"].as_u64().unwrap() >= 12, "{picture}");
    }
}

/// Lets ONNX Runtime quantize a small network, and holds our engine's codes to ONNX Runtime's on that file.
fn enters_as_it_is(network: &str) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let Some(mut quantizer) = script("came_quantized.py") else { return };
    printed(quantizer.arg(folder.path()).args(["--network", network]));
    let (model, bundle, pictures) = (at("model.onnx"), at("theirs.bundle"), at("pictures"));
    let mut args: Vec<&dyn AsRef<Path>> = vec![&"quantize", &"--int8", &"--model", &model];
    let described = at("model.toml");
    args.extend([&"--manifest" as &dyn AsRef<Path>, &described, &"--calibration", &pictures]);
    args.extend([&"--out" as &dyn AsRef<Path>, &bundle]);
    run(&args).unwrap();
    run(&[&"check", &bundle]).unwrap();

    let opened = Bundle::open(&bundle).unwrap();
    let onnx = opened.require(section::MODEL).unwrap();
    assert!(*onnx == fs::read(&model).unwrap(), "the network's bytes changed");
    assert!(opened.manifest.contract.as_ref().unwrap().came_quantized);
    let share = Network::open(&[], onnx).unwrap().integer_share();
    assert_eq!((share.float_macs, share.float_nodes.len()), (0, 0), "{share:?}");

    let (out, first) = (at("dump"), pictures.join("01.png"));
    run(&[&"dump", &bundle, &first, &pictures.join("07.png"), &"--out", &out]).unwrap();
    assert_eq!(judged(&out).unwrap().len(), 5, "three golden ones and two of ours");
}

#[test]
fn a_convolutional_network_of_onnx_runtimes_quantizer_runs_as_in_onnx_runtime() {
    enters_as_it_is("convolutions");
}

#[test]
fn a_transformer_of_onnx_runtimes_quantizer_runs_as_in_onnx_runtime() {
    enters_as_it_is("tokens");
}
