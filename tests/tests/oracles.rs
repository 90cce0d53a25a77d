//! Independent oracles, in Python: ONNX Runtime and OpenVINO for the int8 network, scikit-learn and pycocotools for metrics.

use anyhow::Result;
use e2e::pipeline::Work;
use e2e::radiographs;
use e2e::tool::{binaries, exporter, python, root, trainer};
use std::ffi::OsStr;
use std::path::Path;

fn oracle(script: &str, args: &[&OsStr]) -> Result<()> {
    let output = python().arg(root().join("tests/oracles").join(script)).args(args).output()?;
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Holds a bundle's network to ONNX Runtime (every activation) and OpenVINO (outputs), on a real chest and golden inputs.
fn runs_alike(bundle: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    exporter()
        .arg("dump")
        .arg(bundle)
        .arg(radiographs::nema("RG1_UNCR.dcm")?)
        .arg("--out")
        .arg(folder.path())
        .run()?;
    oracle("onnx_qdq.py", &[folder.path().as_os_str()])
}

/// A small network with one head, trained for an epoch on phantoms, runs alike everywhere.
fn head_runs_alike(task: &str, labels: &str, more: &[&str]) -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let (checkpoint, bundle) = (folder.path().join("checkpoint"), folder.path().join("a.bundle"));
    let small = ["--encoder", "none", "--width", "16", "--image-size", "64", "--batch", "8"];
    trainer()
        .args(["finetune", "--task", task, "--labels", labels, "--epochs", "1"])
        .args(small)
        .args(more)
        .arg("--data")
        .arg(work.index())
        .arg("--out")
        .arg(&checkpoint)
        .run()?;
    exporter()
        .args(["quantize", "--int8", "--int8-detection", "--checkpoint"])
        .arg(&checkpoint)
        .arg("--calibration")
        .arg(work.index())
        .arg("--out")
        .arg(&bundle)
        .run()?;
    runs_alike(&bundle)
}

#[test]
fn a_classifier_runs_alike_in_onnx_runtime_and_openvino() -> Result<()> {
    runs_alike(&Work::for_tests()?.bundle())
}

#[test]
fn a_segmentation_network_runs_alike_in_onnx_runtime_and_openvino() -> Result<()> {
    head_runs_alike("segmentation", "lung", &[])
}

#[test]
fn a_detector_runs_alike_in_onnx_runtime_and_openvino() -> Result<()> {
    head_runs_alike("detection", "Left Lung,Right Lung", &[])
}

#[test]
fn yolov3_and_its_leaky_relus_run_alike_in_onnx_runtime_and_openvino() -> Result<()> {
    head_runs_alike("detection", "Left Lung,Right Lung", &["--protocol", "mgca"])
}

#[test]
fn metrics_equal_scikit_learns_and_pycocotools() -> Result<()> {
    oracle("metrics.py", &[binaries().join("trainer").as_os_str()])
}
