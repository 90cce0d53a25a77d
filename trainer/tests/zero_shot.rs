//! Zero-shot classification and retrieval on a data set in CheXpert-5x200's layout, by the binary, as a user would.

#![expect(clippy::unwrap_used, reason = "a test may")]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const CLASSES: [&str; 5] =
    ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"];
const IMAGES: usize = 20;

/// What the binary prints with `--json`, or its complaint.
fn trainer(arguments: &[&str]) -> Result<Vec<Value>, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(arguments)
        .arg("--json")
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let lines = String::from_utf8(output.stdout).unwrap();
    Ok(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A PRIOR checkpoint that has seen a few phantoms.
fn pretrained(folder: &Path) -> PathBuf {
    pretrained_with(folder, &[])
}

/// The same with these changes to `configs/test.toml`.
fn pretrained_with(folder: &Path, changes: &[&str]) -> PathBuf {
    let (phantoms, index, out) =
        (folder.join("phantoms"), folder.join("phantoms.jsonl"), folder.join("prior"));
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/test.toml");
    trainer(&["phantom", "--seed", "3", "--count", "24", "--out", text(&phantoms)]).unwrap();
    trainer(&["index", "cxr-mini", "--root", text(&phantoms), "--out", text(&index)]).unwrap();
    let (config, data) = (["--config", text(&config)], ["--data", text(&index)]);
    let set: Vec<&str> = changes.iter().flat_map(|&change| ["--set", change]).collect();
    let arguments = [&["pretrain"], &config[..], &data, &["--out", text(&out)], &set[..]].concat();
    trainer(&arguments).unwrap();
    out
}

/// Four drawn pictures of each class, whose reports end with `ending`, and the index of them.
fn five_classes(folder: &Path, ending: &str) -> PathBuf {
    let (root, index) = (folder.join("chexpert"), folder.join("5x200.jsonl"));
    let mut table = format!(",Path,{},Report Impression\n", CLASSES.join(","));
    for n in 0..IMAGES {
        let path = format!("CheXpert-v1.0/train/patient{n:05}/study1/view1_frontal.jpg");
        let file = root.join(&path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let pixel = |x: u32, y: u32| image::Luma([((x * (n as u32 + 1)) ^ (y * 3)) as u8]);
        image::GrayImage::from_fn(64, 64, pixel).save(&file).unwrap();
        let marks: Vec<&str> = (0..5).map(|c| if c == n % 5 { "1" } else { "0" }).collect();
        let class = CLASSES[n % 5].to_lowercase();
        table.push_str(&format!(
            "{n},{path},{},\"There is {class}. Case {n}.{ending}\"\n",
            marks.join(",")
        ));
    }
    fs::write(root.join("chexpert_5x200.csv"), table).unwrap();
    let paths = ["--root", text(&root), "--out", text(&index)];
    trainer(&[&["index", "chexpert-5x200"], &paths[..]].concat()).unwrap();
    index
}

#[test]
fn a_pretrained_checkpoint_names_and_finds_what_it_was_never_taught_and_always_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (prior, index) = (pretrained(folder.path()), five_classes(folder.path(), ""));
    let on = ["--checkpoint", text(&prior), "--data", text(&index)];
    let classes = CLASSES.join(",");
    let zero_shot = |classes: &str| {
        let task = ["evaluate", "--task", "zero-shot", "--classes", classes];
        trainer(&[&task[..], &on].concat())
    };
    let found = zero_shot(&classes).unwrap();
    assert_eq!(found[0]["images"], IMAGES);
    assert_eq!(found[0]["auroc"].as_object().unwrap().len(), CLASSES.len());
    // Every class is as frequent, so accuracy is a multiple of one image, and the mean recall is the accuracy.
    let accuracy = found[0]["accuracy"].as_f64().unwrap();
    let right = accuracy * IMAGES as f64;
    assert!((right - right.round()).abs() < 1e-9);
    assert!((accuracy - found[0]["macro_recall"].as_f64().unwrap()).abs() < 1e-12);
    assert_eq!(zero_shot(&classes).unwrap(), found);
    // The same images as PRIOR's list has them.
    let root = folder.path().join("chexpert/CheXpert-v1.0");
    let entry = |n: usize| {
        let path = format!("train/patient{n:05}/study1/view1_frontal.jpg");
        let label: Vec<u8> = (0..5).map(|c| u8::from(c == n % 5)).collect();
        format!(r#""{n}": {{ "image_path": "{path}", "label": {label:?} }}"#)
    };
    let list: Vec<String> = (0..IMAGES).map(entry).collect();
    fs::write(root.join("chexpert_5x200.json"), format!("{{ {} }}", list.join(", "))).unwrap();
    let released = folder.path().join("released.jsonl");
    let paths = ["--root", text(&root), "--out", text(&released)];
    trainer(&[&["index", "chexpert-5x200"], &paths[..]].concat()).unwrap();
    let on_released = ["--checkpoint", text(&prior), "--data", text(&released)];
    let task = ["evaluate", "--task", "zero-shot", "--classes", &classes];
    let of_list = trainer(&[&task[..], &on_released].concat()).unwrap();
    assert_eq!(
        (&of_list[0]["images"], &of_list[0]["auroc"]),
        (&found[0]["images"], &found[0]["auroc"])
    );
    let complaint = zero_shot("Fracture,Hernia").unwrap_err();
    assert!(complaint.contains("Fracture"), "{complaint}");

    let retrieval = || trainer(&[&["evaluate", "--task", "retrieval"], &on[..]].concat()).unwrap();
    let found = retrieval();
    assert_eq!(found[0]["pairs"], IMAGES);
    for (at, k) in [1, 5, 10].into_iter().enumerate() {
        let (precision, recall) = (&found[0]["precision"][at], &found[0]["recall"][at]);
        assert_eq!((&precision["k"], &recall["k"]), (&k.into(), &k.into()));
        // Four of twenty reports have the image's class; one of them is its own.
        assert!((precision["chance"].as_f64().unwrap() - 0.2).abs() < 1e-12);
        assert!((recall["chance"].as_f64().unwrap() - f64::from(k) / 20.0).abs() < 1e-12);
        // No class is commoner, so no ranking is good for every image.
        for at_k in [precision, recall] {
            let blind = at_k["chance"].as_f64().unwrap() - at_k["shuffled"].as_f64().unwrap();
            assert!(blind.abs() < 1e-12);
        }
        assert!(precision["low"].as_f64() <= precision["value"].as_f64());
        assert!(precision["value"].as_f64() <= precision["high"].as_f64());
    }
    assert_eq!(found[0]["patients"], IMAGES);
    let queries = found[0]["queries"].as_array().unwrap();
    assert_eq!(queries.len(), IMAGES);
    for (at, whole) in found[0]["precision"].as_array().unwrap()[..3].iter().enumerate() {
        let mean = |of: &str| {
            let all = queries.iter().map(|query| query[of][at].as_f64().unwrap());
            all.sum::<f64>() / IMAGES as f64
        };
        assert!((mean("precision") - whole["value"].as_f64().unwrap()).abs() < 1e-12);
        let lift = mean("precision") - mean("shuffled");
        assert!((lift - whole["lift"]["value"].as_f64().unwrap()).abs() < 1e-12);
    }
    assert_eq!(retrieval(), found);
}

#[test]
fn zero_shot_is_random_only_where_noise_is_asked_for_by_name_and_then_the_seed_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let prior = pretrained_with(folder.path(), &["stage.0.weights.prototype=10.0"]);
    let index = five_classes(folder.path(), "");
    let (config, classes) = (prior.join("config.toml"), CLASSES.join(","));
    let written = fs::read_to_string(&config).unwrap();
    let off = "released_quirks = false\n";
    assert_eq!(written.matches(off).count(), 2, "{written}");
    let found = |quirks: &str, seed: &str| {
        let table = written.replace(off, &format!("released_quirks = {quirks}\n"));
        fs::write(&config, table).unwrap();
        let on = ["--checkpoint", text(&prior), "--data", text(&index), "--seed", seed];
        let task = ["evaluate", "--task", "zero-shot", "--classes", &classes];
        trainer(&[&task[..], &on].concat()).unwrap()
    };
    // The layout, or everything else the released code does, says the same whatever the seed.
    for quirks in ["false", "true", "{ layout = true }"] {
        assert_eq!(found(quirks, "1"), found(quirks, "2"), "{quirks}");
    }
    let noisy = found("{ layout = true, noise = true }", "1");
    assert_eq!(found("{ layout = true, noise = true }", "1"), noisy);
    let others = (2..6).map(|seed| found("{ layout = true, noise = true }", &seed.to_string()));
    assert!(others.into_iter().any(|other| other != noisy), "no seed changes anything");
}

#[test]
fn a_report_is_read_no_further_than_in_training() {
    let folder = tempfile::tempdir().unwrap();
    let prior = pretrained(folder.path());
    // configs/test.toml reads 64 tokens.
    let padding = " The heart is of normal size.".repeat(10);
    let found = |ending: &str| {
        let index = five_classes(folder.path(), ending);
        let on = ["--checkpoint", text(&prior), "--data", text(&index)];
        trainer(&[&["evaluate", "--task", "retrieval"], &on[..]].concat()).unwrap()
    };
    let unseen = format!("{padding} Large effusion on the left.");
    assert_eq!(found(&padding)[0]["queries"], found(&unseen)[0]["queries"]);
    assert_ne!(found(" Large effusion on the left.")[0]["queries"], found(&padding)[0]["queries"]);
}

#[test]
fn what_a_checkpoint_lacks_for_a_task_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (prior, index) = (pretrained(folder.path()), five_classes(folder.path(), ""));
    let phantoms = folder.path().join("phantoms.jsonl");
    let lungs = folder.path().join("lungs");
    let learn = ["finetune", "--task", "segmentation", "--labels", "lung", "--epochs", "1"];
    let from = ["--encoder", text(&prior), "--data", text(&phantoms), "--out", text(&lungs)];
    trainer(&[&learn[..], &from].concat()).unwrap();
    let refused = |task: &str, checkpoint: &Path, data: &Path, more: &[&str]| {
        let on = ["--checkpoint", text(checkpoint), "--data", text(data)];
        let complaint = trainer(&[&["evaluate", "--task", task], &on[..], more].concat());
        complaint.unwrap_err()
    };
    // An image encoder alone knows no words.
    for (task, more) in [("retrieval", &[][..]), ("zero-shot", &["--classes", "Edema,Mass"])] {
        let complaint = refused(task, &lungs, &index, more);
        assert!(complaint.contains("lungs is no PRIOR checkpoint"), "{complaint}");
    }
    let complaint = refused("classification", &prior, &phantoms, &[]);
    assert!(complaint.contains("is no checkpoint of a resnet"), "{complaint}");
    // Every image of that index is of the test split.
    let complaint = refused("linear", &prior, &index, &["--labels", "Edema"]);
    assert!(complaint.contains("images of the train split"), "{complaint}");
}
