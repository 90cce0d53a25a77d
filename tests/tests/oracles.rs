//! Independent oracles, in Python: ONNX Runtime and OpenVINO for the int8 network, scikit-learn and pycocotools for metrics.

use anyhow::Result;
use e2e::pipeline::Work;
use e2e::radiographs;
use e2e::tool::{binaries, exporter, python, root, trainer};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

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

/// A small network with one head, trained on phantoms for so many epochs.
fn small_network(
    work: &Work,
    folder: &Path,
    task: &str,
    labels: &str,
    epochs: &str,
    more: &[&str],
) -> Result<PathBuf> {
    let checkpoint = folder.join("checkpoint");
    let small = ["--encoder", "none", "--width", "16", "--image-size", "64", "--batch", "8"];
    trainer()
        .args(["finetune", "--task", task, "--labels", labels, "--epochs", epochs])
        .args(small)
        .args(more)
        .arg("--data")
        .arg(work.index())
        .arg("--out")
        .arg(&checkpoint)
        .run()?;
    Ok(checkpoint)
}

/// It runs alike everywhere.
fn head_runs_alike(task: &str, labels: &str, more: &[&str]) -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let checkpoint = small_network(&work, folder.path(), task, labels, "1", more)?;
    let bundle = folder.path().join("a.bundle");
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

/// Evaluates a checkpoint and has every figure computed again from the predictions alone.
fn figures_come_again(work: &Work, checkpoint: &Path, task: &[&str], linear: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    let (predictions, result, features) = (file("predictions"), file("result"), file("features"));
    let mut evaluate = trainer()
        .args(["evaluate", "--replicates", "50", "--task"])
        .args(task)
        .arg("--checkpoint")
        .arg(checkpoint)
        .arg("--data")
        .arg(work.index())
        .arg("--predictions")
        .arg(&predictions);
    if linear {
        evaluate = evaluate.arg("--features").arg(&features);
    }
    let said: Vec<String> = evaluate.json()?.iter().map(ToString::to_string).collect();
    fs::write(&result, said.join("\n"))?;
    let mut files = vec![predictions.as_os_str(), result.as_os_str()];
    files.extend(linear.then_some(features.as_os_str()));
    oracle("predictions.py", &files)
}

/// Most phantoms are of the train split.
const MANY: [&str; 2] = ["--split", "train"];

#[test]
fn a_classifiers_predictions_give_scikit_learn_the_same_figures() -> Result<()> {
    let work = Work::for_tests()?;
    let task = [&["classification"], &MANY[..]].concat();
    figures_come_again(&work, &work.checkpoint(), &task, false)
}

#[test]
fn masks_of_the_predictions_give_the_same_dice_and_iou() -> Result<()> {
    let (work, folder) = (Work::for_tests()?, tempfile::tempdir()?);
    let checkpoint = small_network(&work, folder.path(), "segmentation", "lung", "1", &[])?;
    figures_come_again(&work, &checkpoint, &[&["segmentation"], &MANY[..]].concat(), false)
}

#[test]
fn boxes_of_the_predictions_give_pycocotools_the_same_map() -> Result<()> {
    let (work, folder) = (Work::for_tests()?, tempfile::tempdir()?);
    let labels = "Left Lung,Right Lung";
    let checkpoint = small_network(&work, folder.path(), "detection", labels, "3", &[])?;
    figures_come_again(&work, &checkpoint, &[&["detection"], &MANY[..]].concat(), false)
}

#[test]
fn scores_and_rankings_of_a_pretrained_model_give_the_same_figures() -> Result<()> {
    let work = Work::for_tests()?;
    let classes = ["zero-shot", "--classes", "Pneumonia,Cardiomegaly,Effusion"];
    figures_come_again(&work, &work.pretrained(), &[&classes, &MANY[..]].concat(), false)?;
    figures_come_again(&work, &work.pretrained(), &[&["retrieval"], &MANY[..]].concat(), false)
}

#[test]
fn a_linear_probe_is_scikit_learns_on_the_same_embeddings() -> Result<()> {
    let work = Work::for_tests()?;
    figures_come_again(&work, &work.pretrained(), &["linear"], true)?;
    // Of a fine-tuned network the head is left out.
    let less = ["linear", "--labels", "Pneumonia", "--fraction", "0.8", "--seed", "3"];
    figures_come_again(&work, &work.checkpoint(), &less, true)
}
