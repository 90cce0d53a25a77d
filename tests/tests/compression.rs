//! From a teacher to a student on integers, with ONNX Runtime as the oracle and as the opponent.

use anyhow::Result;
use e2e::pipeline::Work;
use e2e::tool::{exporter, python, root};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;

fn oracle(script: &str, args: &[&dyn AsRef<OsStr>]) -> Result<Vec<Value>> {
    let output = python().arg(root().join("tests/oracles").join(script)).args(args).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script}: {text}{}", String::from_utf8_lossy(&output.stderr));
    let documents = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    Ok(documents.collect::<Result<_, _>>()?)
}

fn quantize(work: &Work, checkpoint: &Path, out: &Path, more: &[&str]) -> Result<()> {
    exporter()
        .args(["quantize", "--int8", "--checkpoint"])
        .arg(checkpoint)
        .arg("--calibration")
        .arg(work.index())
        .arg("--out")
        .arg(out)
        .args(more)
        .run()
}

/// ONNX Runtime agrees with every activation of a bundle.
fn agrees_with_onnx_runtime(bundle: &Path, folder: &Path) -> Result<()> {
    exporter().arg("dump").arg(bundle).arg("--out").arg(folder).run()?;
    oracle("onnx_qdq.py", &[&folder])?;
    Ok(())
}

#[test]
fn a_distilled_student_is_smaller_and_sees_on_integers_what_it_saw_in_float() -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let (student, bundle) = (folder.path().join("student"), folder.path().join("student.bundle"));
    let lines = exporter()
        .args(["distill", "--student", "resnet18", "--width", "8", "--epochs", "1", "--qat", "1"])
        .args(["--batch", "8", "--teacher"])
        .arg(work.checkpoint())
        .arg("--data")
        .arg(work.index())
        .arg("--out")
        .arg(&student)
        .json()?;
    let phases: Vec<&str> = lines.iter().filter_map(|line| line["phase"].as_str()).collect();
    assert_eq!(phases, ["distill", "qat"]);
    let outcome = lines.last().expect("the outcome comes last");
    let count = |of: &str| outcome[of].as_u64().expect("a count");
    assert!(2 * count("multiplications") < count("teacher_multiplications"), "{outcome}");

    quantize(&work, &student, &bundle, &[])?;
    let report = folder.path().join("report.html");
    let lines = exporter()
        .args(["verify", "--split", "val", "--checkpoint"])
        .arg(&student)
        .arg(&bundle)
        .arg("--data")
        .arg(work.index())
        .arg("--report")
        .arg(&report)
        .json()?;
    let line = |metric: &str| lines.iter().find(|line| line["metric"] == metric);
    assert!(line("agreement/Pneumonia").is_some(), "the teacher knew pneumonia: {lines:?}");
    let cosine = line("cosine-with-float").expect("every network has an embedding");
    assert!(cosine["int8"].as_f64() > Some(0.95), "{cosine}");
    let page = std::fs::read_to_string(report)?;
    assert!(page.contains("What calibration saw") && page.contains("<svg"), "{page}");
    agrees_with_onnx_runtime(&bundle, &folder.path().join("dump"))
}

/// A late layer: sums in float may round to the other side of a tie, and what follows for many layers inherits that.
#[test]
fn symmetric_and_partly_float_files_mean_the_same_in_onnx_runtime() -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("x.bundle");
    for (at, more) in [&["--symmetric"][..], &["--float", "layer4.1.conv2"]].into_iter().enumerate()
    {
        quantize(&work, &work.checkpoint(), &bundle, more)?;
        agrees_with_onnx_runtime(&bundle, &folder.path().join(at.to_string()))?;
    }
    Ok(())
}

/// The promise of the exporter, on whatever network the tests have just trained.
#[test]
fn our_int8_is_closer_to_float_than_onnx_runtimes_best_in_nearly_every_activation() -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    exporter()
        .args(["onnx", "--checkpoint"])
        .arg(work.checkpoint())
        .arg("--out")
        .arg(at("float.onnx"))
        .run()?;
    exporter()
        .args(["onnx", "--int8", "--adaround", "--checkpoint"])
        .arg(work.checkpoint())
        .arg("--calibration")
        .arg(work.index())
        .arg("--out")
        .arg(at("int8.onnx"))
        .run()?;
    let inputs = |limit: &str, out: &Path| {
        exporter()
            .arg("inputs")
            .arg(work.index())
            .arg("--checkpoint")
            .arg(work.checkpoint())
            .args(["--limit", limit, "--out"])
            .arg(out)
            .run()
    };
    inputs("48", &at("calibration.npy"))?;
    inputs("16", &at("test.npy"))?;
    let lines = oracle(
        "ptq_compare.py",
        &[&at("float.onnx"), &at("calibration.npy"), &at("test.npy"), &at("int8.onnx")],
    )?;
    let verdict = lines.last().expect("the verdict comes last");
    let count = |of: &str| verdict[of].as_u64().expect("a count");
    assert!(count("activations") > 20, "{verdict}");
    assert!(
        10 * count("activations_where_ours_is_closer") >= 9 * count("activations"),
        "{verdict}"
    );
    Ok(())
}
