//! PRIOR's encoder as published, with its attention pool, from fine-tuning to findings on integers.

use anyhow::{Context, Result};
use e2e::pipeline::Work;
use e2e::radiographs;
use e2e::tool::{exporter, runtime, trainer};
use serde_json::Value;
use std::path::Path;

/// The instruction sets of this machine, as `runtime` names them to whoever asks for one that it has not.
fn instruction_sets(bundle: &Path) -> Result<Vec<String>> {
    let wrong = runtime().env("CXR_ISA", "none").args(["selftest", "--bundle"]).arg(bundle);
    let error = String::from_utf8(wrong.output()?.stderr)?;
    let list = error.split("this machine's: ").nth(1).with_context(|| error.clone())?;
    Ok(list.trim().split(", ").map(str::to_owned).collect())
}

#[test]
fn a_signed_bundle_with_an_attention_pool_answers_alike_on_every_instruction_set() -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let (checkpoint, bundle) = (folder.path().join("checkpoint"), folder.path().join("a.bundle"));
    trainer()
        .args(["finetune", "--task", "classification", "--labels", "Pneumonia", "--epochs", "1"])
        .args(["--encoder", "none", "--arch", "resnet50", "--width", "8", "--image-size", "96"])
        .args(["--pool", "attention", "--batch", "8", "--data"])
        .arg(work.index())
        .arg("--out")
        .arg(&checkpoint)
        .run()?;
    exporter()
        .args(["quantize", "--int8", "--checkpoint"])
        .arg(&checkpoint)
        .arg("--calibration")
        .arg(work.index())
        .arg("--out")
        .arg(&bundle)
        .arg("--sign")
        .arg(work.private_key())
        .run()?;
    exporter().arg("check").arg(&bundle).arg("--key").arg(work.public_key()).run()?;

    let radiograph = radiographs::nema("RG1_UNCR.dcm")?;
    let sets = instruction_sets(&bundle)?;
    assert!(sets.contains(&"scalar".to_owned()), "{sets:?}");
    let mut answers: Vec<(Value, Value)> = Vec::new();
    for isa in &sets {
        runtime().env("CXR_ISA", isa).args(["selftest", "--bundle"]).arg(&bundle).run()?;
        let lines = runtime()
            .env("CXR_ISA", isa)
            .arg("analyze")
            .arg(&radiograph)
            .arg("--bundle")
            .arg(&bundle)
            .json()?;
        let answer = lines.first().context("no answer")?;
        assert_eq!(answer["status"], "analysed", "{isa}: {answer}");
        answers.push((answer["embedding_digest"].clone(), answer["findings"].clone()));
    }
    assert!(answers[0].0.is_string(), "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{sets:?}: {answers:?}");

    let timed = runtime()
        .args(["bench", "--threads", "1", "--queries", "2", "--seconds", "0", "--bundle"])
        .arg(&bundle)
        .json()?;
    let parts = timed[0]["parts"].as_array().context("no parts")?.clone();
    let pool = parts.iter().find(|part| part["name"] == "attnpool").context("no pool")?;
    assert!(pool["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{pool}");
    Ok(())
}
