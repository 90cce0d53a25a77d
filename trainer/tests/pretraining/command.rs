//! The binary: what it begins with, and what stops it.

use super::{CONFIG, records};
use std::{fs, path::Path, process::Command};
use trainer::checkpoint;

#[test]
fn a_run_begins_with_the_encoders_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trainer::index::write(&folder.join("index.jsonl"), &records(folder)).unwrap();
    let nothing = ["--set", "stage.0.epochs=0", "--set", "stage.1.epochs=0"];
    let (fine, _, error) = pretrain(folder, "true", &[&nothing[..], &["--set", "seed=5"]].concat());
    assert!(fine, "{error}");
    let donor = folder.join("donor");
    fs::rename(folder.join("out"), &donor).unwrap();
    let bert = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/bert");
    let encoders =
        ["--image-encoder", donor.to_str().unwrap(), "--text-encoder", bert.to_str().unwrap()];
    let (fine, _, error) = pretrain(folder, "true", &[&nothing[..], &encoders].concat());
    assert!(fine, "{error}");
    let ours = checkpoint::load(&folder.join("out")).unwrap().weights;
    let donor = checkpoint::load(&donor).unwrap().weights;
    let text = checkpoint::read_torch_file(&bert.join("pytorch_model.bin")).unwrap();
    let mut begun = 0;
    for (name, weight) in &ours {
        if let Some(rest) = name.strip_prefix("text_encoder.encoder.") {
            assert!(weight.equal(&text[&format!("bert.{rest}")]), "{name}");
        } else if name.starts_with("image_encoder.") {
            assert!(weight.equal(&donor[name]), "{name}");
        } else {
            continue;
        }
        begun += 1;
    }
    assert!(begun > 100, "{begun}");
    assert!(
        !ours["predictor.0.weight"].equal(&donor["predictor.0.weight"]),
        "the rest is the seed's"
    );
}

#[test]
fn a_run_goes_on_from_a_whole_prior_at_another_size_and_grid() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trainer::index::write(&folder.join("index.jsonl"), &records(folder)).unwrap();
    let nothing = ["--set", "stage.0.epochs=0", "--set", "stage.1.epochs=0"];
    let mean = [&nothing[..], &["--set", "model.pool=mean", "--set", "seed=5"]].concat();
    let (fine, _, error) = pretrain(folder, "true", &mean);
    assert!(fine, "{error}");
    let donor = folder.join("donor");
    fs::rename(folder.join("out"), &donor).unwrap();
    let from = ["--prior", donor.to_str().unwrap(), "--set", "model.pool=mean"];
    let larger = ["preprocess.height=64", "preprocess.width=64", "model.output_stride=16"];
    let larger = larger.iter().flat_map(|change| ["--set", change]);
    let larger: Vec<&str> = larger.chain(["--set", "stage.1.weights.image=0.0"]).collect();
    let (fine, _, error) = pretrain(folder, "true", &[&nothing[..], &from, &larger].concat());
    assert!(fine, "{error}");
    let ours = checkpoint::load(&folder.join("out")).unwrap();
    assert_eq!(ours.config.preprocess.height, 64);
    let donor_weights = checkpoint::load(&donor).unwrap().weights;
    assert_eq!(ours.weights.len(), donor_weights.len());
    ours.weights.iter().for_each(|(name, own)| assert!(own.equal(&donor_weights[name]), "{name}"));
    let words = |of: &Path| fs::read(of.join("tokenizer.json")).unwrap();
    assert_eq!(words(&folder.join("out")), words(&donor));

    fs::remove_dir_all(folder.join("out")).unwrap();
    let other = [&nothing[..], &from, &["--set", "joint.prototypes=4"]].concat();
    let (fine, _, error) = pretrain(folder, "true", &other);
    assert!(!fine && error.contains("sentence_bank.embed.weight"), "{error}");
    let attention = [&nothing[..], &from[..2]].concat();
    let (fine, _, error) = pretrain(folder, "true", &attention);
    assert!(!fine && error.contains("has no `image_encoder.atten_pool."), "{error}");
}

#[test]
fn positions_of_an_attention_pool_are_drawn_out_to_a_finer_map() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trainer::index::write(&folder.join("index.jsonl"), &records(folder)).unwrap();
    let nothing = ["stage.0.epochs=0", "stage.1.epochs=0", "stage.1.weights.image=0.0"];
    let size = ["preprocess.height=64", "preprocess.width=64"];
    let same: Vec<&str> =
        nothing.iter().chain(&size).flat_map(|change| ["--set", change]).collect();
    let (fine, _, error) = pretrain(folder, "true", &same);
    assert!(fine, "{error}");
    let donor = folder.join("donor");
    fs::rename(folder.join("out"), &donor).unwrap();
    let finer = ["--prior", donor.to_str().unwrap(), "--set", "model.output_stride=16"];
    let (fine, _, error) = pretrain(folder, "true", &[&same[..], &finer].concat());
    assert!(fine, "{error}");
    let [coarse, fine] = [&donor, &folder.join("out")].map(|of| {
        let name = "image_encoder.atten_pool.positional_embedding";
        checkpoint::load(of).unwrap().weights[name].shallow_clone()
    });
    // 2x2 places become 4x4; the mean token comes first.
    assert_eq!((coarse.size()[0], fine.size()[0]), (5, 17));
    let close = |at: i64, expected: &tch::Tensor| {
        assert!(fine.get(at).allclose(expected, 1e-5, 1e-7, false), "position {at}");
    };
    for (at, before) in [(0, 0), (1, 1), (4, 2), (13, 3), (16, 4)] {
        close(at, &coarse.get(before));
    }
    close(2, &(coarse.get(1) * 0.75 + coarse.get(2) * 0.25));
    close(12, &(coarse.get(2) * 0.25 + coarse.get(4) * 0.75));
}

#[test]
fn a_text_encoder_that_is_not_given_cannot_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trainer::index::write(&folder.join("index.jsonl"), &records(folder)).unwrap();
    let (fine, _, error) = pretrain(folder, "true", &["--set", "freeze-text=true"]);
    assert!(!fine && error.contains("freeze-text") && error.contains("--text-encoder"), "{error}");
}

#[test]
fn unreadable_images_stop_a_run_unless_a_few_are_allowed_and_then_listed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trainer::index::write(&folder.join("index.jsonl"), &records(folder)).unwrap();
    fs::write(folder.join("7.png"), b"not a picture").unwrap();
    let (fine, _, error) = pretrain(folder, "true", &[]);
    assert!(!fine && error.contains("case-7") && error.contains("7.png"), "{error}");
    fs::remove_dir_all(folder.join("out")).unwrap();

    // One pair fewer: five steps an epoch instead of six.
    let (fine, events, error) = pretrain(folder, "true", &["--skip-bad-images", "1"]);
    assert!(fine, "{error}");
    let end = events.last().unwrap();
    assert_eq!((&end["event"], end["step"].as_u64()), (&"end".into(), Some(10)));
    assert_eq!(end["skipped"][0]["id"], "case-7");

    let page = fs::read_to_string(folder.join("out/report.html")).unwrap();
    assert!(page.matches("<svg").count() >= 12, "a curve for each term, and more");
    assert!(page.contains("<h2>Prototypes</h2>") && page.contains("Heart size"));
    assert!(page.matches("data:image/png;base64,").count() == 12, "six images and what was drawn");
    assert!(page.contains("7.png") && !page.contains("http://localhost"));
    assert_eq!(fs::read_to_string(folder.join("out/history.jsonl")).unwrap().lines().count(), 10);
}

#[test]
fn a_disk_without_room_is_a_clear_error_and_leaves_no_half_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trainer::index::write(&folder.join("index.jsonl"), &records(folder)).unwrap();
    // Files may grow to 64 kB: enough for pictures, words and events, not for a model.
    let (fine, _, error) = pretrain(folder, "ulimit -f 64", &[]);
    assert!(!fine, "{error}");
    assert!(error.contains("cannot write") && error.contains("model.safetensors"), "{error}");
    let left: Vec<_> = fs::read_dir(folder.join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".new") || name.starts_with("state"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The binary on drawn pictures: its events and its last words.
fn pretrain(folder: &Path, limit: &str, more: &[&str]) -> (bool, Vec<serde_json::Value>, String) {
    let config = folder.join("c.toml");
    fs::write(&config, CONFIG).unwrap();
    let output = Command::new("bash")
        .args(["-c", &format!("trap '' XFSZ; {limit}; exec \"$@\""), "bash"])
        .arg(env!("CARGO_BIN_EXE_trainer"))
        .args(["pretrain", "--json", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(folder.join("index.jsonl"))
        .arg("--out")
        .arg(folder.join("out"))
        .args(more)
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    let events = String::from_utf8(output.stdout).unwrap();
    let events = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), events, String::from_utf8(output.stderr).unwrap())
}
