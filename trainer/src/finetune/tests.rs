use super::*;
use crate::{
    checkpoint,
    commands::{EvaluateArgs, FinetuneArgs},
    learn::fit::STOP_AFTER,
    phantom,
    terminal::Terminal,
};
use anyhow::Result;
use clap::Parser;
use graph::{Fit, Preprocess};
use std::path::Path;

#[derive(Parser)]
#[command(args_override_self = true)]
struct Finetune {
    #[command(flatten)]
    args: FinetuneArgs,
}

#[derive(Parser)]
#[command(args_override_self = true)]
struct Evaluate {
    #[command(flatten)]
    args: EvaluateArgs,
}

const QUIET: Terminal = Terminal::SILENT;

fn phantoms(count: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    phantom::draw_into(folder.path(), count, 3, 96).unwrap();
    folder
}

fn finetune(data: &Path, out: &Path, more: &[&str]) -> Result<()> {
    let (data, out) = (data.join("manifest.jsonl"), out.to_owned());
    let base = [
        "finetune",
        "--task",
        "classification",
        "--encoder",
        "none",
        "--width",
        "8",
        "--image-size",
        "64",
        "--batch",
        "8",
    ];
    // Labels add up, so the usual ones must give way to a test's own.
    let usual = ["--labels", "Pneumonia,Cardiomegaly"];
    let labels = if more.contains(&"--labels") { &[][..] } else { &usual[..] };
    let (data, out) = (data.display().to_string(), out.display().to_string());
    let paths = ["--data", &data, "--out", &out];
    let all = base.iter().chain(&paths).chain(labels).chain(more).copied();
    Finetune::try_parse_from(all)?.args.run(&QUIET)
}

#[test]
fn a_run_leaves_a_checkpoint_that_can_be_evaluated() {
    let (data, out) = (phantoms(48), tempfile::tempdir().unwrap());
    finetune(data.path(), out.path(), &["--epochs", "2"]).unwrap();
    let saved = checkpoint::load(out.path()).unwrap();
    assert!(saved.state.finished);
    assert_eq!(saved.config.model.heads[0].labels, ["Pneumonia", "Cardiomegaly"]);
    assert_eq!(saved.config.preprocess.height, 64);
    assert_eq!(saved.tables["training"]["epochs"].as_integer(), Some(2));
    assert!(!out.path().join("resume").exists());

    let report = out.path().join("report");
    let data = data.path().join("manifest.jsonl").display().to_string();
    let (checkpoint, report_name) =
        (out.path().display().to_string(), report.display().to_string());
    let args =
        ["evaluate", "--task", "classification", "--checkpoint", &checkpoint, "--data", &data];
    let more = ["--split", "train", "--report", &report_name, "--replicates", "50"];
    Evaluate::try_parse_from(args.iter().chain(&more)).unwrap().args.run(&QUIET).unwrap();
    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("Cardiomegaly") && page.contains("<svg"));
    assert!(std::fs::read_to_string(report.join("scores.csv")).unwrap().lines().count() > 20);
}

#[test]
fn a_checkpoint_is_never_overwritten() {
    let (data, out) = (phantoms(48), tempfile::tempdir().unwrap());
    finetune(data.path(), out.path(), &["--epochs", "1"]).unwrap();
    let before = std::fs::read(out.path().join("model.safetensors")).unwrap();
    let error = finetune(data.path(), out.path(), &["--epochs", "1", "--seed", "9"]).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("holds a checkpoint already") && error.contains("--resume"), "{error}");
    assert_eq!(std::fs::read(out.path().join("model.safetensors")).unwrap(), before);
}

#[test]
fn one_command_goes_from_an_index_to_a_report() {
    let (data, out) = (phantoms(48), tempfile::tempdir().unwrap());
    let report = out.path().join("report");
    let name = report.display().to_string();
    finetune(data.path(), out.path(), &["--epochs", "1", "--report", &name]).unwrap();
    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("test split") && page.contains("case-1.png"));
    assert!(report.join("case-1.png").is_file() && report.join("scores.csv").is_file());
}

fn evaluate(data: &Path, checkpoint: &Path, task: &str, more: &[&str]) -> Result<()> {
    let data = data.join("manifest.jsonl").display().to_string();
    let checkpoint = checkpoint.display().to_string();
    let args = ["evaluate", "--task", task, "--checkpoint", &checkpoint, "--data", &data];
    let args = args.iter().chain(&["--replicates", "20"]).chain(more);
    Evaluate::try_parse_from(args)?.args.run(&QUIET)
}

/// The figure of the validation split a run ended with.
fn figure_of(out: &Path) -> f64 {
    let figures = &checkpoint::load(out).unwrap().tables["metrics"];
    figures[0]["value"].as_float().unwrap()
}

#[test]
fn a_segmentation_network_learns_lungs_and_is_evaluated_on_a_page() {
    let (data, out) = (phantoms(48), tempfile::tempdir().unwrap());
    let run = |epochs: &str, out: &Path| {
        let task = ["--task", "segmentation", "--labels", "lung", "--epochs", epochs];
        finetune(data.path(), out, &[&task[..], &["--width", "8", "--rate", "0.003"]].concat())
    };
    run("12", out.path()).unwrap();
    assert!(figure_of(out.path()) > 0.75, "Dice {}", figure_of(out.path()));
    let report = out.path().join("report").display().to_string();
    evaluate(data.path(), out.path(), "segmentation", &["--split", "train", "--report", &report])
        .unwrap();
    let page = std::fs::read_to_string(out.path().join("report/index.html")).unwrap();
    assert!(page.contains("Dice") && page.contains("worst: phantom-") && page.contains("<svg"));
    assert!(out.path().join("report/case-9.png").exists());
    let error = evaluate(data.path(), out.path(), "detection", &[]).unwrap_err().to_string();
    assert!(error.contains("was trained for segmentation, expected detection"), "{error}");
}

#[test]
fn a_detector_learns_the_lungs_boxes_and_is_evaluated_on_a_page() {
    let (data, out) = (phantoms(48), tempfile::tempdir().unwrap());
    let labels = "Left Lung,Right Lung";
    let task = ["--task", "detection", "--labels", labels, "--epochs", "30", "--rate", "0.003"];
    finetune(data.path(), out.path(), &task).unwrap();
    let map = figure_of(out.path());
    assert!(map > 0.3, "mAP {map}");
    let recipe = &checkpoint::load(out.path()).unwrap().tables["training"];
    assert_eq!(recipe["augmentation"]["flip"].as_float(), Some(0.0), "left stays left");
    let report = out.path().join("report").display().to_string();
    evaluate(data.path(), out.path(), "detection", &["--split", "train", "--report", &report])
        .unwrap();
    let page = std::fs::read_to_string(out.path().join("report/index.html")).unwrap();
    assert!(page.contains("mgca-compat") && page.contains("Left Lung"));
}

#[test]
fn mgcas_protocol_freezes_the_encoder_under_its_decoder_and_its_yolov3() {
    let data = phantoms(48);
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    finetune(data.path(), &first, &["--epochs", "1"]).unwrap();
    let encoder = first.display().to_string();
    let before = checkpoint::load(&first).unwrap().weights;
    for (task, labels, head) in
        [("segmentation", "boxes.Lung Opacity", "seg."), ("detection", "Lung Opacity", "yolo.")]
    {
        let out = folder.path().join(task);
        let protocol = ["--protocol", "mgca", "--encoder", &encoder, "--epochs", "1"];
        let task = ["--task", task, "--labels", labels];
        finetune(data.path(), &out, &[&task[..], &protocol].concat()).unwrap();
        let after = checkpoint::load(&out).unwrap().weights;
        let shared = before.keys().filter(|name| !name.starts_with("fc."));
        assert!(shared.into_iter().all(|name| before[name] == after[name]));
        assert!(after.keys().any(|name| name.starts_with(head)));
        evaluate(data.path(), &out, task[1], &["--split", "val"]).unwrap();
    }
}

/// Training sees parts of 512-pixel pictures, the checkpoint's own input (and the box) the whole one.
#[test]
fn benchxs_protocol_learns_every_task_from_parts_of_larger_pictures() {
    let data = phantoms(32);
    let folder = tempfile::tempdir().unwrap();
    for (task, labels) in
        [("classification", "Pneumonia"), ("segmentation", "lung"), ("detection", "Lung Opacity")]
    {
        let out = folder.path().join(task);
        let args = ["--task", task, "--labels", labels, "--protocol", "benchx", "--fit", "pad"];
        let args = [&args[..], &["--epochs", "1"]].concat();
        finetune(data.path(), &out, &args).unwrap();
        let saved = checkpoint::load(&out).unwrap();
        let crop = &saved.tables["training"]["augmentation"]["crop"];
        assert_eq!(crop["from"].as_integer(), Some(512));
        let pad = Preprocess { height: 64, width: 64, fit: Fit::Pad, ..Preprocess::PRIOR };
        assert_eq!(saved.config.preprocess, pad);
        evaluate(data.path(), &out, task, &["--split", "val"]).unwrap();
    }
    let recipe = Protocol::Benchx.recipe(Task::Classification);
    let size = |recipe: &Recipe| {
        let kept = recipe.kept(Preprocess::PRIOR).unwrap();
        [kept.height, kept.width]
    };
    assert_eq!(size(&recipe), [512, 512]);
    let oblong = Preprocess { height: 192, fit: Fit::Pad, ..Preprocess::PRIOR };
    let error = recipe.kept(oblong).unwrap_err().to_string();
    assert!(error.contains("the input is 192x224, expected a square"), "{error}");
    assert_eq!(size(&Recipe { mode: Mode::Linear, ..recipe }), [224, 224]);
}

#[test]
fn the_same_seed_gives_the_same_weights_and_a_resumed_run_too() {
    let data = phantoms(32);
    let folder = tempfile::tempdir().unwrap();
    let [whole, again, cut] = ["whole", "again", "cut"].map(|name| folder.path().join(name));
    let weights = |path: &Path| {
        let mut weights: Vec<_> = checkpoint::load(path).unwrap().weights.into_iter().collect();
        weights.sort_by(|a, b| a.0.cmp(&b.0));
        weights
    };
    let same = |a: &Path, b: &Path| {
        weights(a).iter().zip(weights(b)).all(|(a, b)| a.0 == b.0 && a.1 == b.1)
    };
    finetune(data.path(), &whole, &["--epochs", "2"]).unwrap();
    finetune(data.path(), &again, &["--epochs", "2"]).unwrap();
    assert!(same(&whole, &again));

    STOP_AFTER.set(Some(1));
    finetune(data.path(), &cut, &["--epochs", "2"]).unwrap_err();
    STOP_AFTER.set(None);
    assert!(cut.join("resume").exists());
    finetune(data.path(), &cut, &["--epochs", "2", "--resume"]).unwrap();
    assert!(same(&whole, &cut));
}

#[test]
fn a_linear_probe_leaves_the_encoder_alone() {
    let data = phantoms(32);
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    finetune(data.path(), &first, &["--epochs", "1"]).unwrap();
    let encoder = first.display().to_string();
    for mode in ["linear", "frozen"] {
        let probe = folder.path().join(mode);
        finetune(data.path(), &probe, &["--epochs", "2", "--encoder", &encoder, "--mode", mode])
            .unwrap();
        let (before, after) =
            (checkpoint::load(&first).unwrap().weights, checkpoint::load(&probe).unwrap().weights);
        for (name, tensor) in &before {
            assert_eq!(*tensor == after[name], !name.starts_with("fc."), "{mode} {name}");
        }
    }
}

#[test]
fn the_pool_is_the_encoders_unless_another_is_asked_for() {
    let data = phantoms(32);
    let folder = tempfile::tempdir().unwrap();
    let [mean, attention, again, back] =
        ["mean", "attention", "again", "back"].map(|name| folder.path().join(name));
    let run = |out: &Path, encoder: Option<&Path>, more: &[&str]| {
        let encoder = encoder.map(|folder| folder.display().to_string());
        let mut all = vec!["--epochs", "1"];
        all.extend(encoder.iter().flat_map(|encoder| ["--encoder", encoder]));
        all.extend(more);
        finetune(data.path(), out, &all)
    };
    let weights = |folder: &Path| checkpoint::load(folder).unwrap().weights;
    let pool_of = |folder: &Path| checkpoint::load(folder).unwrap().config.model.pool;
    let in_pool = |name: &str| name.starts_with("attnpool.");

    run(&mean, None, &[]).unwrap();
    assert!(!weights(&mean).keys().any(|name| in_pool(name)));
    // A new pool is learnt beside a frozen encoder, as the head is.
    run(&attention, Some(&mean), &["--pool", "attention", "--mode", "frozen"]).unwrap();
    let (before, after) = (weights(&mean), weights(&attention));
    assert_eq!(pool_of(&attention), graph::Pool::Attention);
    assert!(before.iter().all(|(name, x)| name.starts_with("fc.") || *x == after[name]));
    assert!(after.contains_key("attnpool.positional_embedding"));
    // A known pool is kept with its weights, and frozen with the encoder.
    run(&again, Some(&attention), &["--mode", "frozen"]).unwrap();
    let kept = weights(&again);
    assert!(after.iter().filter(|(name, _)| in_pool(name)).all(|(name, x)| *x == kept[name]));
    run(&back, Some(&attention), &["--pool", "mean", "--image-size", "96"]).unwrap();
    assert_eq!(pool_of(&back), graph::Pool::Mean);
    assert!(!weights(&back).keys().any(|name| in_pool(name)));

    let new = folder.path().join("new");
    let error = |more: &[&str]| format!("{:#}", run(&new, Some(&mean), more).unwrap_err());
    let linear = error(&["--pool", "attention", "--mode", "linear"]);
    assert!(linear.contains("expected frozen or full with --pool attention"), "{linear}");
    let size = run(&new, Some(&attention), &["--image-size", "96"]).unwrap_err().to_string();
    assert!(size.contains("--pool mean has none"), "{size}");
}

#[test]
fn wrong_settings_are_one_clear_line() {
    let (data, out) = (phantoms(16), tempfile::tempdir().unwrap());
    let error = |more: &[&str]| {
        let error = format!("{:#}", finetune(data.path(), out.path(), more).unwrap_err());
        assert!(!error.contains('\n'), "{error}");
        error
    };
    assert!(error(&["--source", "nih"]).contains("no image is from `nih`; the index has phantom"));
    assert!(error(&["--fraction", "0"]).contains("--fraction"));
    assert!(error(&["--resume"]).contains("nothing to resume"));
    assert!(error(&["--image-size", "8"]).contains("8x8"));
    let segmentation = ["--task", "segmentation", "--labels"];
    let with = |more: &[&'static str]| [&segmentation[..], more].concat();
    let unknown = error(&with(&["lungs and heart"]));
    assert!(unknown.contains("no image has regions called `lungs and heart`; the index has"));
    assert!(unknown.contains("lung (16 images)"), "{unknown}");
    assert!(error(&with(&["lung", "--mode", "linear"])).contains("expected frozen or full"));
    let detection = ["--task", "detection", "--labels", "Left Lungs"];
    assert!(error(&detection).contains("Left Lung (16 images)"));
    assert!(error(&["--having", "Hernia"]).contains("no image is stated to show `Hernia`"));
}
