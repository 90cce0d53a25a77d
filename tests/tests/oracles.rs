//! Independent oracles, in Python: ONNX Runtime and OpenVINO for the int8 network, scikit-learn and pycocotools for metrics.

use anyhow::{Context, Result, ensure};
use e2e::pipeline::Work;
use e2e::tool::{binaries, exporter, python, root, trainer};
use e2e::{drawn, radiographs};
use engine::{Engine, Options};
use graph::{Pool, Task};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// What a script printed, if it found nothing wrong.
fn python_run(script: &str, args: &[&OsStr]) -> Result<String> {
    let output = python().arg(root().join("tests/oracles").join(script)).args(args).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script}: {text}{errors}");
    Ok(text)
}

/// The JSON document an oracle printed, if it found nothing wrong.
fn oracle(script: &str, args: &[&OsStr]) -> Result<Value> {
    Ok(serde_json::from_str(&python_run(script, args)?)?)
}

/// Holds a bundle's network to ONNX Runtime and exact arithmetic node by node, and to ONNX Runtime and OpenVINO as a
/// whole, on a real chest and golden inputs.
fn runs_alike(bundle: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    exporter()
        .arg("dump")
        .arg(bundle)
        .arg(radiographs::nema("RG1_UNCR.dcm")?)
        .arg("--out")
        .arg(folder.path())
        .run()?;
    let report = oracle("onnx_qdq.py", &[folder.path().as_os_str()])?;
    let pictures = report["pictures"].as_array().context("one report a picture")?;
    for picture in pictures {
        assert_eq!(picture["without_definition"], json!([]), "every node has an exact definition");
    }
    Ok(())
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

/// A small network with one head, its weights drawn from a seed, runs alike everywhere.
fn head_runs_alike(task: Task, labels: &[&str], pool: Pool) -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let (checkpoint, bundle) = (folder.path().join("checkpoint"), folder.path().join("a.bundle"));
    drawn::checkpoint(&checkpoint, task, labels, pool, 5)?;
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

/// Its weights depend on the processor that trained it; what is compared does not.
#[test]
fn a_classifier_runs_alike_in_onnx_runtime_and_openvino() -> Result<()> {
    runs_alike(&Work::for_tests()?.bundle())
}

#[test]
fn a_segmentation_network_runs_alike_in_onnx_runtime_and_openvino() -> Result<()> {
    head_runs_alike(Task::Segmentation, &["lung"], Pool::Mean)
}

#[test]
fn an_attention_pool_runs_alike_in_onnx_runtime_and_openvino() -> Result<()> {
    head_runs_alike(Task::Classification, &["Pneumonia"], Pool::Attention)
}

#[test]
fn a_detector_runs_alike_in_onnx_runtime_and_openvino() -> Result<()> {
    head_runs_alike(Task::Detection, &["Left Lung", "Right Lung"], Pool::Mean)
}

#[test]
fn yolov3_and_its_leaky_relus_run_alike_in_onnx_runtime_and_openvino() -> Result<()> {
    head_runs_alike(Task::Yolov3, &["Left Lung", "Right Lung"], Pool::Mean)
}

/// Writes what the engine made of the picture of `ties.py`, changed by `change` (activation's name, values).
fn dump_ties(folder: &Path, change: impl Fn(&str, &mut [i16])) -> Result<()> {
    let picture = folder.join("0");
    let input: Vec<f32> = (0..2 * 256 * 256)
        .map(|at| (if at < 256 * 256 { at / 256 } else { at % 256 }) as f32)
        .collect();
    let options = Options { fuse: false, ..Options::threads(1) };
    let mut engine = Engine::from_onnx(&fs::read(folder.join("model.onnx"))?, &[], &options)?;
    let (mut outputs, activations) = engine.run_intermediates(&input)?;
    for mut made in activations {
        let before = made.values.clone();
        change(&made.name, &mut made.values);
        let output = made.name.replace(".q", ".out");
        let output = outputs.outputs.iter_mut().find(|of| of.name == output);
        if let Some(output) = output.filter(|_| made.values != before) {
            output.data = made.dequantized();
        }
        let bytes: Vec<u8> = made.values.iter().flat_map(|q| q.to_le_bytes()).collect();
        write_npy(&picture.join("activations"), &made.name, "<i2", &made.shape, &bytes)?;
    }
    for made in outputs.outputs {
        let bytes: Vec<u8> = made.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        write_npy(&picture.join("outputs"), &made.name, "<f4", &made.shape, &bytes)?;
    }
    Ok(())
}

fn write_npy(folder: &Path, name: &str, kind: &str, shape: &[usize], bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(folder)?;
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sides}), }}\n");
    let length = u16::try_from(header.len())?.to_le_bytes();
    let file = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), bytes].concat();
    fs::write(folder.join(format!("{name}.npy")), file)?;
    Ok(())
}

/// Runtimes may differ by one step at a tie. Ours has one definition, and everything else is another.
#[test]
fn the_oracle_takes_our_rounding_at_ties_and_no_other_requantization() -> Result<()> {
    let folder = tempfile::tempdir()?;
    python_run("ties.py", &[folder.path().as_os_str()])?;
    let folder = folder.path();
    let judge = || oracle("onnx_qdq.py", &[folder.as_os_str(), OsStr::new("--nodes")]);

    dump_ties(folder, |_, _| {})?;
    let report = judge()?;
    let count = |of: &str| report["pictures"][0][of].as_u64().expect("a count");
    assert!(count("ties") > 80_000, "{report}");
    assert_eq!(report["pictures"][0]["without_definition"], json!([]));

    let pair = |at: usize| (at / 256 + at % 256) as i16;
    let third = |at: usize, gain: f32| f32::from(pair(at)) / 3.0 * gain;
    type Code<'a> = &'a dyn Fn(usize) -> i16;
    let wrong: [(&str, &str, Code<'_>); 5] = [
        ("halves up, not to even", "odd.q", &|at| ((pair(at) + 1) / 2 + 1).min(255)),
        ("cut off, not rounded", "third.q", &|at| third(at, 1.0) as i16 + 7),
        ("a ratio a thousandth too large", "third.q", &|at| third(at, 1.001).round() as i16 + 7),
        ("another zero point", "odd.q", &|at| (pair(at) / 2 + 2).min(255)),
        ("not clamped but wrapped", "odd.q", &|at| (pair(at) / 2 + 1) % 256),
    ];
    for (what, tensor, code) in wrong {
        dump_ties(folder, |name, q| {
            if name == tensor {
                q.iter_mut().enumerate().for_each(|(at, q)| *q = code(at));
            }
        })?;
        let refusal = judge().expect_err(what).to_string();
        assert!(refusal.contains(tensor), "{what}: {refusal}");
    }
    Ok(())
}

#[test]
fn metrics_equal_scikit_learns_and_pycocotools() -> Result<()> {
    python_run("metrics.py", &[binaries().join("trainer").as_os_str()])?;
    Ok(())
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
    python_run("predictions.py", &files)?;
    Ok(())
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
