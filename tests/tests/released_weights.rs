//! Weights that others trained, through every program: what `exporter import` makes, all verbs open.

use anyhow::{Context, Result, ensure};
use e2e::radiographs::nema;
use e2e::tool::{binaries, exporter, python, root, runtime, trainer};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A small file with the released names and shapes, by `tests/oracles/foreign_weights.py`; what that printed.
fn stand_in(kind: &str, out: &Path, more: &[&str]) -> Result<String> {
    let script = root().join("tests/oracles/foreign_weights.py");
    let output = python().arg(script).arg(kind).arg(out).args(more).output();
    let output = output.context("cannot start .venv/bin/python: run `make setup`")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn phantoms(folder: &Path) -> Result<()> {
    let data = folder.join("phantoms");
    trainer().args(["phantom", "--seed", "7", "--count", "60", "--out"]).arg(&data).run()?;
    let index = folder.join("index.jsonl");
    trainer().args(["index", "cxr-mini", "--root"]).arg(data).arg("--out").arg(index).run()
}

/// The commands of a page, block by block.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1);
    blocks.filter_map(|block| Some(block.split_once("```")?.0.to_owned())).collect()
}

#[test]
fn the_page_from_released_weights_to_findings_runs_as_it_is_printed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let here = folder.path();
    let words = here.join("Bio_ClinicalBERT").display().to_string();
    stand_in("prior", &here.join("prior_resnet50.pt"), &["--words", &words])?;
    stand_in("resnet50", &here.join("resnet50.pth"), &[])?;
    fs::copy(nema("RG1_UNCR.dcm")?, here.join("chest.dcm"))?;

    let page = fs::read_to_string(root().join("trainer/docs/from-released-weights.md"))?;
    let blocks = commands(&page);
    assert_eq!(blocks.len(), 5, "the page has five blocks of commands");
    let path = format!("{}:{}", binaries().display(), std::env::var("PATH")?);
    let mut printed = String::new();
    for block in &blocks {
        let output = Command::new("sh")
            .args(["-euc", block])
            .envs([("PATH", path.as_str()), ("EPOCHS", "1"), ("COUNT", "60")])
            .current_dir(here)
            .stdin(Stdio::null())
            .output()?;
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{block}\n{said}\n{errors}");
        printed.push_str(&said);
    }
    for part in ["as released", "dropped 5 tensors", "AUROC", "Pneumonia"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(here.join("chest.png").is_file() && here.join("from-imagenet/config.toml").is_file());
    let mut answers = runtime()
        .arg("analyze")
        .arg(here.join("chest.dcm"))
        .arg("--bundle")
        .arg(here.join("chest.bundle"))
        .json()?;
    let answer = answers.remove(0);
    assert_eq!(answer["status"], "analysed", "{answer}");
    assert_eq!(answer["findings"][0]["name"], "Pneumonia");
    Ok(())
}

#[test]
fn every_released_tensor_arrives_bit_for_bit_or_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [file, words, out] = ["prior.pt", "words", "prior"].map(|name| folder.path().join(name));
    stand_in("prior", &file, &["--words", &words.display().to_string()])?;
    let mut said = exporter()
        .arg("import")
        .arg("--pytorch")
        .arg(&file)
        .arg("--text-encoder")
        .arg(&words)
        .arg("--out")
        .arg(&out)
        .json()?;
    let model = out.join("model.safetensors").display().to_string();
    let seen: Value = serde_json::from_str(&stand_in("prior", &file, &["--compare", &model])?)?;
    assert_eq!(seen["changed"], Value::Array(Vec::new()));
    assert!(seen["same"].as_u64().is_some_and(|count| count > 400), "{}", seen["same"]);
    let mut absent: Vec<String> = serde_json::from_value(seen["absent"].clone())?;
    absent.sort();
    let dropped: Vec<String> = serde_json::from_value(said.remove(0)["dropped"].take())?;
    assert_eq!(dropped, absent);
    let unused =
        ["global_text_projection", "pooler", "sentence_decoder.embeddings.word_embeddings"];
    assert!(absent.iter().all(|name| unused.iter().any(|part| name.contains(part))), "{absent:?}");
    Ok(())
}

/// No trainer verb used to open what `exporter import` wrote.
#[test]
fn a_torchvision_resnet_begins_pretraining_and_ends_in_a_bundle() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let here = folder.path();
    phantoms(here)?;
    let index = here.join("index.jsonl");
    let [weights, imported, prior, classifier, student, bundle] =
        ["resnet50.pt", "imported", "prior", "classifier", "student", "chest.bundle"]
            .map(|name| here.join(name));
    stand_in("resnet50", &weights, &["--width", "4"])?;
    exporter()
        .args(["import", "--size", "64", "--pytorch"])
        .arg(&weights)
        .arg("--out")
        .arg(&imported)
        .run()?;
    trainer()
        .args(["pretrain", "--set", "model.backbone=\"resnet50\"", "--set", "model.width=4"])
        .arg("--config")
        .arg(root().join("trainer/configs/test.toml"))
        .arg("--image-encoder")
        .arg(&imported)
        .arg("--data")
        .arg(&index)
        .arg("--out")
        .arg(&prior)
        .run()?;
    trainer()
        .args(["finetune", "--task", "classification", "--labels", "Pneumonia", "--epochs", "1"])
        .arg("--encoder")
        .arg(&prior)
        .arg("--data")
        .arg(&index)
        .arg("--out")
        .arg(&classifier)
        .run()?;
    for (teacher, out) in [(&classifier, &student), (&imported, &here.join("from-imported"))] {
        exporter()
            .args(["distill", "--student", "resnet18", "--epochs", "1", "--teacher"])
            .arg(teacher)
            .arg("--data")
            .arg(&index)
            .arg("--out")
            .arg(out)
            .run()?;
    }
    for (checkpoint, out) in [(&student, &bundle), (&prior, &here.join("encoder.bundle"))] {
        exporter()
            .args(["quantize", "--int8", "--checkpoint"])
            .arg(checkpoint)
            .arg("--calibration")
            .arg(&index)
            .arg("--out")
            .arg(out)
            .run()?;
    }
    let chest = nema("RG1_UNCR.dcm")?;
    let answers = runtime().arg("analyze").arg(chest).arg("--bundle").arg(&bundle).json()?;
    assert_eq!(answers[0]["status"], "analysed", "{}", answers[0]);
    assert_eq!(answers[0]["findings"][0]["name"], "Pneumonia");
    Ok(())
}

/// Folders that `exporter import` wrote before have `"stage":"imported"` and no seed.
#[test]
fn what_an_older_import_wrote_begins_a_fine_tuning() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let here = folder.path();
    phantoms(here)?;
    let (weights, imported) = (here.join("resnet50.pt"), here.join("imported"));
    stand_in("resnet50", &weights, &[])?;
    exporter()
        .args(["import", "--size", "64", "--pytorch"])
        .arg(&weights)
        .arg("--out")
        .arg(&imported)
        .run()?;
    fs::write(imported.join("state.json"), r#"{"epoch":0,"stage":"imported","step":0}"#)?;
    trainer()
        .args(["finetune", "--task", "classification", "--labels", "Pneumonia", "--epochs", "1"])
        .arg("--encoder")
        .arg(&imported)
        .arg("--data")
        .arg(here.join("index.jsonl"))
        .arg("--out")
        .arg(here.join("classifier"))
        .run()
}
