//! `runtime replay`: a result is held to its image and its bundle, and a single flipped bit is found.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{fixtures, model};
use results::{Device, Kind, Record};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// An image, a bundle, and what was said of it, as JSON and as a report.
struct Case {
    folder: tempfile::TempDir,
    image: PathBuf,
    bundle: PathBuf,
    json: PathBuf,
    report: PathBuf,
}

fn runtime(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (image, bundle, json) =
            (at("chest.dcm"), model::write(folder.path(), 1), at("result.json"));
        let object = fixtures::chest("1.2.3", 200, 1)
            .with_meta(
                dicom_object::FileMetaTableBuilder::new().transfer_syntax(fixtures::EXPLICIT),
            )
            .unwrap();
        object.write_to_file(&image).unwrap();
        let flags = ["--json", "--dicom", "--bundle"].map(Path::new);
        let said = runtime(&[
            Path::new("analyze"),
            &image,
            flags[0],
            flags[1],
            folder.path(),
            flags[2],
            &bundle,
        ]);
        assert!(said.status.success(), "{said:?}");
        fs::write(&json, said.stdout).unwrap();
        let report = at("chest.dcm.sr.dcm");
        Self { folder, image, bundle, json, report }
    }

    /// Whether all is the same, and the parts that differ.
    fn replay(&self, result: &Path, image: &Path, bundle: &Path) -> (bool, Vec<(String, String)>) {
        let [verb, json, flag] = ["replay", "--json", "--bundle"].map(Path::new);
        let output = runtime(&[verb, json, result, image, flag, bundle]);
        let said: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(said["same"], output.status.success(), "{output:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let differs =
            said["parts"].as_array().unwrap().iter().filter(|part| part["outcome"] == "differs");
        let differs = differs.map(|part| (text(&part["part"]), text(&part["said"]))).collect();
        (output.status.success(), differs)
    }

    /// The same with the lowest bit of one byte of a file changed.
    fn flipped(&self, file: &Path, at: usize) -> PathBuf {
        let mut bytes = fs::read(file).unwrap();
        bytes[at] ^= 1;
        let path = self.folder.path().join("flipped");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn place(&self, file: &Path, of: &str) -> usize {
        let bytes = fs::read(file).unwrap();
        let found = bytes.windows(of.len()).position(|window| window == of.as_bytes());
        found.unwrap_or_else(|| panic!("no {of:?} in {}", file.display()))
    }
}

#[test]
fn a_result_comes_from_its_image_and_its_bundle() {
    let case = Case::new();
    for result in [&case.json, &case.report] {
        let (same, differs) = case.replay(result, &case.image, &case.bundle);
        assert!(same && differs.is_empty(), "{}: {differs:?}", result.display());
    }
    let [verb, flag] = ["replay", "--bundle"].map(Path::new);
    let said = runtime(&[verb, &case.json, &case.image, flag, &case.bundle]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.ends_with("this result came from this image and this bundle\n"), "{said}");
    // A name, as every result has one, is not what was analysed.
    let elsewhere = case.folder.path().join("copy.dcm");
    fs::copy(&case.image, &elsewhere).unwrap();
    assert!(case.replay(&case.json, &elsewhere, &case.bundle).0);
}

#[test]
fn a_flipped_bit_of_the_image_is_found_and_named() {
    let case = Case::new();
    let length = fs::read(&case.image).unwrap().len();
    let (_, differs) =
        case.replay(&case.json, &case.flipped(&case.image, length - 2), &case.bundle);
    let parts: Vec<&str> = differs.iter().map(|(part, _)| &**part).collect();
    assert_eq!(&parts[..2], ["image", "network input"], "{differs:?}");
    // In the header: the network saw the same all the same.
    let name = case.place(&case.image, "Phantom^Drawn");
    let (_, differs) = case.replay(&case.json, &case.flipped(&case.image, name), &case.bundle);
    assert_eq!((differs.len(), &*differs[0].0), (1, "image"), "{differs:?}");
    let (_, differs) = case.replay(&case.report, &case.flipped(&case.image, name), &case.bundle);
    assert!(
        differs.iter().any(|(part, said)| part == "report" && said.contains("PatientName")),
        "{differs:?}"
    );
}

#[test]
fn a_flipped_bit_of_the_bundle_or_another_bundle_is_found_and_named() {
    let case = Case::new();
    let length = fs::read(&case.bundle).unwrap().len();
    let (same, differs) =
        case.replay(&case.json, &case.image, &case.flipped(&case.bundle, length / 2));
    assert!(!same && differs[0].0 == "bundle", "{differs:?}");
    let other = model::write(case.folder.path(), 2);
    let (_, differs) = case.replay(&case.json, &case.image, &other);
    let parts: Vec<&str> = differs.iter().map(|(part, _)| &**part).collect();
    assert!(parts.starts_with(&["bundle"]) && parts.contains(&"findings"), "{differs:?}");
    assert!(!parts.contains(&"network input"), "both have one preprocessing");
}

#[test]
fn a_flipped_bit_of_a_result_is_found_and_named() {
    let case = Case::new();
    let json = fs::read_to_string(&case.json).unwrap();
    // The last digit of a number, a letter of a name, digits of digests, the version, the study.
    let behind = |key: &str, more: usize| json.find(key).unwrap() + key.len() + more;
    for (at, part) in [
        (behind("\"probability\":0.", 3), "findings"),
        (behind("\"threshold\":0.", 0), "findings"),
        (behind("\"name\":\"", 2), "findings"),
        (behind("\"embedding_digest\":\"", 5), "embedding"),
        (behind("\"digest\":\"", 5), "bundle"),
        (behind("\"version\":\"", 0), "result itself"),
        (behind("\"study_instance_uid\":\"", 0), "result itself"),
        (behind("\"input\":\"", 5), "network input"),
        (behind("\"said\":\"", 5), "result itself"),
        (behind("\"file\":\"/", 1), "result itself"),
    ] {
        let (same, differs) = case.replay(&case.flipped(&case.json, at), &case.image, &case.bundle);
        let named = differs.iter().any(|(found, _)| found == part || found == "result");
        assert!(!same && named, "byte {at}, {:?}: {differs:?}", &json[at - 12..=at]);
    }
    for (of, named) in [
        ("Pneumonia", "report"),
        ("Unverified, not for", "report"),
        ("Phantom^Drawn", "PatientName"),
        ("account 1 file=", "report"),
        ("Present in", "report"),
    ] {
        let bytes = fs::read(&case.report).unwrap();
        let Some(at) = bytes.windows(of.len()).position(|window| window == of.as_bytes()) else {
            continue;
        };
        let (same, differs) =
            case.replay(&case.flipped(&case.report, at + 4), &case.image, &case.bundle);
        let all = format!("{differs:?}");
        assert!(!same && all.contains(named), "{of}: {all}");
    }
}

#[test]
fn results_from_before_accounts_replay_and_what_they_do_not_tell_is_said() {
    let case = Case::new();
    let mut record: Record = serde_json::from_slice(&fs::read(&case.json).unwrap()).unwrap();
    record.account = None;
    let old = case.folder.path().join("old.json");
    fs::write(&old, serde_json::to_vec(&record).unwrap()).unwrap();
    let (same, differs) = case.replay(&old, &case.image, &case.bundle);
    assert!(same, "{differs:?}");
    let mut wrong = record.clone();
    wrong.findings[0].positive = !wrong.findings[0].positive;
    fs::write(&old, serde_json::to_vec(&wrong).unwrap()).unwrap();
    assert_eq!(case.replay(&old, &case.image, &case.bundle).1[0].0, "findings");
    // As a box of then wrote its report, with the usual settings and with others.
    let image = fs::read(&case.image).unwrap();
    for overlay in ["overlay 1024", "overlay 512"] {
        let device = Device::new("box-1");
        let record = Record {
            analysed: Some("2026-11-22T08:00:00Z".into()),
            configuration: Some(device.configuration(&[overlay.into()])),
            device: Some(device.clone()),
            ..record.clone()
        };
        let no_drawing = || -> Result<image::RgbImage, std::io::Error> { unreachable!() };
        let object =
            results::object(Kind::Sr, &record, &image, &device, no_drawing).unwrap().unwrap();
        let path = case.folder.path().join("old.sr.dcm");
        fs::write(&path, object.bytes).unwrap();
        let (same, differs) = case.replay(&path, &case.image, &case.bundle);
        assert!(same, "{overlay}: {differs:?}");
    }
}
