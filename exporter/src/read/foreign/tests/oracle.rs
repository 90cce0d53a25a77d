//! Every operator and attribute that is read, held to ONNX Runtime on the float file.

use super::super::open;
use crate::{fixtures, passes::interpreter::Interpreter};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

fn floats(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    bytes.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

/// How far our outputs are from ONNX Runtime's, or why there are none.
fn difference(folder: &Path, name: &str, sizes: &[usize]) -> Result<f32, String> {
    let at = |ending: &str| folder.join(format!("{name}.{ending}"));
    let foreign = open(&at("onnx")).map_err(|error| format!("{error:#}"))?;
    let image = floats(&at("in"));
    let outputs = Interpreter::new(&foreign.graph, &foreign.weights)
        .and_then(|interpreter| interpreter.outputs(&image))
        .map_err(|error| format!("computing: {error:#}"))?;
    let found: Vec<usize> = outputs.iter().map(|(_, values)| values.len()).collect();
    if found != sizes {
        return Err(format!("outputs of {found:?} values, expected {sizes:?}"));
    }
    let ours: Vec<f32> = outputs.into_iter().flat_map(|(_, values)| values).collect();
    Ok(fixtures::relative_difference(&ours, &floats(&at("out"))))
}

#[test]
fn small_networks_of_every_kind_compute_what_onnx_runtime_computes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = root.join(".venv/bin/python");
    if !python.exists() {
        return skip::because(format_args!("{} is missing: make setup", python.display()));
    }
    let folder = tempfile::tempdir().unwrap();
    let script = root.join("tests/oracles/foreign_onnx.py");
    let output = Command::new(&python).arg(&script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let models = report["models"].as_object().unwrap();
    assert!(models.len() >= 450, "{} models; refused: {}", models.len(), report["refused"]);
    let mut wrong = Vec::new();
    for (name, sizes) in models {
        let sizes: Vec<usize> = serde_json::from_value(sizes.clone()).unwrap();
        match difference(folder.path(), name, &sizes) {
            Ok(difference) if difference <= 1e-5 => {}
            Ok(difference) => wrong.push(format!("{name}: {difference:.1e}")),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), models.len(), wrong.join("\n"));
}
