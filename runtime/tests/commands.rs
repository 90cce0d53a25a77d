//! `analyze`, `selftest` and `bench` as a user types them.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{fixtures, model};
use std::{
    path::Path,
    process::{Command, Output},
};

fn runtime(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One line on standard error that begins with "error:" and contains `expected`; exit code 1.
fn fails(output: &Output, expected: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(
        lines.len() == 1 && expected.iter().all(|word| lines[0].contains(word)),
        "{text} {expected:?}"
    );
}

fn chest(path: &Path) {
    let object = fixtures::chest("1.2.3", 200, 1)
        .with_meta(dicom_object::FileMetaTableBuilder::new().transfer_syntax(fixtures::EXPLICIT))
        .unwrap();
    object.write_to_file(path).unwrap();
}

#[test]
fn analyze_prints_the_contracts_object_and_draws_the_overlay() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = model::write(folder.path(), 1);
    let (file, overlay) = (folder.path().join("chest.dcm"), folder.path().join("out.png"));
    chest(&file);
    let [bundle, file, overlay] = [&bundle, &file, &overlay].map(|path| path.to_str().unwrap());
    let answer =
        json(&runtime(&["analyze", file, "--bundle", bundle, "--overlay", overlay, "--json"]));
    assert_eq!(
        (answer["file"].as_str(), answer["status"].as_str()),
        (Some(file), Some("analysed"))
    );
    assert_eq!(answer["bundle"]["id"], "test-1");
    let finding = &answer["findings"][0];
    assert_eq!(finding["name"], "Pneumonia");
    let positive = finding["probability"].as_f64() >= finding["threshold"].as_f64();
    assert_eq!(finding["positive"], positive);
    assert_eq!(answer["embedding_digest"].as_str().unwrap().len(), 64);
    for part in ["read", "preprocess", "infer", "total"] {
        assert!(answer["milliseconds"][part].as_f64().unwrap() > 0.0, "{part}");
    }
    assert!(image::open(overlay).unwrap().height() >= 1024);
    assert!(runtime(&["analyze", file, file, "--bundle", bundle]).status.success());
}

#[test]
fn analyze_writes_dicom_objects_into_the_same_study() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = model::write(folder.path(), 1);
    let (file, out) = (folder.path().join("chest.dcm"), folder.path().join("out"));
    chest(&file);
    std::fs::create_dir(&out).unwrap();
    let [bundle, file, out_text] = [&bundle, &file, &out].map(|path| path.to_str().unwrap());
    let answer =
        json(&runtime(&["analyze", file, "--bundle", bundle, "--dicom", out_text, "--json"]));
    assert_eq!(answer["bundle"]["version"], "1.1.0");
    assert_eq!(answer["source"]["study_instance_uid"], "1.2.3.1");
    assert!(answer.get("segments").is_none() && answer.get("codes").is_none(), "{answer}");

    let mut names: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["chest.dcm.sc.dcm", "chest.dcm.sr.dcm"], "no mask, no segmentation");
    for name in names {
        let object = dicom_object::open_file(out.join(name)).unwrap();
        let text = |tag| object.element(tag).unwrap().to_str().unwrap().into_owned();
        assert_eq!(
            text(dicom_dictionary_std::tags::STUDY_INSTANCE_UID).trim_end_matches('\0'),
            "1.2.3.1"
        );
        assert_eq!(text(dicom_dictionary_std::tags::PATIENT_NAME).trim(), "Phantom^Drawn");
    }

    let twice = runtime(&["analyze", file, file, "--bundle", bundle, "--dicom", out_text]);
    fails(&twice, &["chest.dcm", "a second file of this name"]);
    let picture = folder.path().join("chest.png");
    image::GrayImage::from_fn(200, 200, |x, y| image::Luma([(x + y) as u8]))
        .save(&picture)
        .unwrap();
    let picture = picture.to_str().unwrap();
    fails(
        &runtime(&["analyze", picture, "--bundle", bundle, "--dicom", out_text]),
        &["chest.png: no sr"],
    );
}

#[test]
fn a_bad_file_is_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = model::write(folder.path(), 1);
    let bundle = bundle.to_str().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (missing, empty, truncated) = (at("missing.dcm"), at("empty.dcm"), at("truncated.dcm"));
    std::fs::write(&empty, b"").unwrap();
    chest(Path::new(&truncated));
    let whole = std::fs::read(&truncated).unwrap();
    std::fs::write(&truncated, &whole[..whole.len() / 2]).unwrap();
    for file in [&missing, &empty, &truncated] {
        let overlay = at("out.png");
        fails(
            &runtime(&["analyze", file, "--bundle", bundle, "--overlay", &overlay, "--json"]),
            &[file],
        );
        assert!(!Path::new(&overlay).exists());
    }
    let flipped = at("flipped.bundle");
    let mut bytes = std::fs::read(bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&flipped, bytes).unwrap();
    fails(&runtime(&["selftest", "--bundle", &flipped]), &[&flipped]);
    fails(&runtime(&["serve", "--config", &missing]), &[&missing]);
    assert_eq!(runtime(&["analyze"]).status.code(), Some(2));
}

#[test]
fn an_error_says_what_failed_and_findings_are_printed_before_they_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = model::write(folder.path(), 1);
    let bundle = bundle.to_str().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (good, missing, empty) = (at("good.dcm"), at("missing.dcm"), at("empty.dcm"));
    chest(Path::new(&good));
    std::fs::write(&empty, b"").unwrap();
    let overlays = at("overlays");
    std::fs::create_dir_all(Path::new(&overlays).join("good.dcm.png/in the way")).unwrap();
    let arguments =
        ["analyze", &good, &missing, &empty, "--bundle", bundle, "--overlay", &overlays, "--json"];
    let output = runtime(&arguments);
    fails(&output, &["of 3 files 2 could not be read, 1 have findings but no overlay"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["file"], &report["status"]), (&good.into(), &"analysed".into()));
}

#[test]
fn selftest_names_the_first_difference() {
    let folder = tempfile::tempdir().unwrap();
    let good = model::write(folder.path(), 1);
    let result = json(&runtime(&["selftest", "--json", "--bundle", good.to_str().unwrap()]));
    assert_eq!((result["passed"].as_bool(), result["vectors"].as_u64()), (Some(true), Some(1)));
    let wrong = folder.path().join("wrong.bundle");
    std::fs::write(&wrong, model::seal(1, false).to_bytes().unwrap()).unwrap();
    let wrong = wrong.to_str().unwrap();
    fails(&runtime(&["selftest", "--bundle", wrong]), &[wrong, "golden vector 0", "value 0"]);
}

#[test]
fn bench_measures_what_the_contract_names() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = model::write(folder.path(), 1);
    let bundle = bundle.to_str().unwrap();
    for (scenario, queries) in [("single-stream", 64), ("multi-stream", 20), ("offline", 64)] {
        let arguments = [
            "bench",
            "--json",
            "--bundle",
            bundle,
            "--seconds",
            "0",
            "--scenario",
            scenario,
            "--queries",
        ];
        let result = json(&runtime(&[&arguments[..], &[&queries.to_string()]].concat()));
        assert_eq!(
            (result["scenario"].as_str(), result["queries"].as_u64()),
            (Some(scenario), Some(queries))
        );
        let latency = |name: &str| result["latency_ms"][name].as_f64();
        assert!(
            latency("p50").unwrap() > 0.0
                && latency("p50") <= latency("p90")
                && latency("p90") <= latency("p99")
        );
        // 64 queries are the least that p90 can be reported of; 20 are too few for p99.
        assert_eq!(latency("reported").is_some(), scenario == "single-stream");
        assert!(result["peak_share"].as_f64().unwrap() > 0.0);
        assert!(result["rss_mb"].as_f64().unwrap() > 1.0);
        assert!(result["peak_rss_mb"].as_f64() >= result["rss_mb"].as_f64());
        let images = if scenario == "multi-stream" { 8.0 } else { 1.0 };
        assert_eq!(result["images_per_query"].as_f64(), Some(images));
        let share = result["floor_ms"].as_f64().unwrap() / (latency("p50").unwrap() / images);
        assert!((share / result["peak_share"].as_f64().unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(result["float_nodes"].as_array().map(Vec::len), Some(0));
        let layers = result["layers"].as_array().unwrap();
        assert!(layers.len() >= 3 && layers.iter().all(|layer| layer["lost_ms"].is_number()));
    }
}

#[test]
fn bench_follows_an_image_from_its_sender_to_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = model::write(folder.path(), 1);
    let file = folder.path().join("chest.dcm");
    chest(&file);
    let [bundle, file, place] = [&bundle, &file, folder.path()].map(|path| path.to_str().unwrap());
    let command =
        ["bench", "--bundle", bundle, "--rounds", "1", "--folder", place, "--end-to-end", file];
    let told = json(&runtime(&[&command[..], &["--json"]].concat()));
    assert_eq!((&told["bundle"], told["rounds"].as_u64()), (&"test-1".into(), Some(1)));
    let (measured, stages) = (&told["files"][0], &told["files"][0]["stages"]);
    assert_eq!(measured["file"], file);
    let p50 =
        |name: &str| stages[name]["p50"].as_f64().unwrap_or_else(|| panic!("{name}: {stages}"));
    assert!(p50("answer") >= p50("sync") && p50("answer") >= p50("begin") + p50("analyse"));
    assert!(p50("acknowledge") >= p50("sync") + p50("accept"));
    assert!(p50("sr") > p50("answer") && p50("sc") > p50("sr"));
    let text = runtime(&command);
    assert!(text.status.success(), "{text:?}");
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("last byte → the result is on disk"), "{text}");

    let png = folder.path().join("x.png");
    image::GrayImage::new(9, 9).save(&png).unwrap();
    let refused = runtime(&["bench", "--bundle", bundle, "--end-to-end", png.to_str().unwrap()]);
    fails(&refused, &["x.png", "DICOM"]);
}
