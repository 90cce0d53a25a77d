//! Weights that lie in a file beside the model.

use super::super::open;
use crate::{fixtures, passes::interpreter::Interpreter, write::onnx};
use graph::Backbone;
use prost::Message;
use std::{fs, path::PathBuf};
use tempfile::TempDir;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

fn entry(key: &str, value: impl ToString) -> StringStringEntryProto {
    StringStringEntryProto { key: key.into(), value: value.to_string() }
}

/// A model whose weights lie in `model.data`, in a folder of its own; `place` names where.
fn split(change: impl Fn(&mut ModelProto)) -> (TempDir, PathBuf) {
    let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
    let mut model = onnx::float_model(&graph, &weights, onnx::Batch::One).unwrap();
    let mut data = Vec::new();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let bytes = std::mem::take(&mut tensor.raw_data);
        tensor.external_data = vec![
            entry("location", "model.data"),
            entry("offset", data.len()),
            entry("length", bytes.len()),
        ];
        tensor.data_location = Some(1);
        data.extend(bytes);
    }
    change(&mut model);
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("model")).unwrap();
    let path = folder.path().join("model/model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    fs::write(folder.path().join("model/model.data"), data).unwrap();
    (folder, path)
}

fn first(model: &mut ModelProto) -> &mut Vec<StringStringEntryProto> {
    &mut model.graph.as_mut().unwrap().initializer[0].external_data
}

#[test]
fn weights_beside_the_file_are_those_of_the_file() {
    let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
    let (_folder, path) = split(|_| {});
    let read = open(&path).unwrap();
    let image = fixtures::image(&graph, 8);
    let ours = Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap();
    let theirs = Interpreter::new(&read.graph, &read.weights).unwrap().outputs(&image).unwrap();
    for ((name, a), (_, b)) in ours.iter().zip(&theirs) {
        assert!(fixtures::relative_difference(a, b) < 1e-5, "{name}");
    }
}

#[test]
fn weights_elsewhere_or_of_another_size_are_refused_by_name() {
    type Spoil<'a> = &'a dyn Fn(&mut ModelProto);
    let cases: [(&str, Spoil<'_>, &str); 6] = [
        (
            "above",
            &|m| first(m)[0].value = "../secret".into(),
            "does not lie in the model's folder",
        ),
        ("absolute", &|m| first(m)[0].value = "/etc/passwd".into(), "does not lie in the model's"),
        ("missing", &|m| first(m)[0].value = "other.data".into(), "other.data is missing"),
        ("beyond", &|m| first(m)[1].value = "99999999".into(), "from 99999999 on"),
        ("huge", &|m| first(m)[2].value = u64::MAX.to_string(), "expected 18446744073709551615"),
        ("strange", &|m| first(m)[1].key = "colour".into(), "key `colour`"),
    ];
    for (name, change, expected) in cases {
        let (_folder, path) = split(change);
        let error = format!("{:#}", open(&path).unwrap_err());
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_refused() {
    let (folder, path) = split(|_| {});
    let inside = folder.path().join("model/model.data");
    let outside = folder.path().join("elsewhere.data");
    fs::rename(&inside, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &inside).unwrap();
    let error = format!("{:#}", open(&path).unwrap_err());
    assert!(error.contains("which links to"), "{error}");
}
