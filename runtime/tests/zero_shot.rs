//! Findings by phrases, where they look, and the nearest sentences: on the command line, over HTTP, in the archive, and
//! again years later.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Daemon, Settings, archive::Archive, fixtures, model, scu::Scu};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn runtime(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with an image and a bundle with language.
struct Case {
    folder: tempfile::TempDir,
    image: PathBuf,
    bundle: PathBuf,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (image, bundle) =
            (folder.path().join("chest.dcm"), model::write_speaking(folder.path()));
        let meta = dicom_object::FileMetaTableBuilder::new().transfer_syntax(fixtures::EXPLICIT);
        let object = fixtures::chest("1.2.3", 200, 1).with_meta(meta).unwrap();
        object.write_to_file(&image).unwrap();
        Self { folder, image, bundle }
    }

    fn analyse(&self, flags: &[&str]) -> Output {
        let bundle = ["--bundle", text(&self.bundle)];
        let said = runtime(&[&["analyze", text(&self.image)], &bundle[..], flags].concat());
        assert!(said.status.success(), "{said:?}");
        said
    }

    /// What the library says.
    fn expected(&self) -> engine::Findings {
        let bundle = bundle::Bundle::open(&self.bundle).unwrap();
        let mut analyzer = engine::Analyzer::open(&bundle, &engine::Options::threads(1)).unwrap();
        let bytes = fs::read(&self.image).unwrap();
        match analyzer.analyze(&radiograph::read(&bytes).unwrap()).unwrap() {
            engine::Analysis::Analysed(findings) => findings,
            other => panic!("{other:?}"),
        }
    }
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

#[test]
fn findings_by_phrases_come_with_where_they_look_and_with_sentences() {
    let case = Case::new();
    let expected = case.expected();
    let said: Value = serde_json::from_slice(&case.analyse(&["--json"]).stdout).unwrap();
    let names: Vec<&str> =
        said["findings"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    let phrases = ["Finding 1", "Finding 2", "Finding 3"];
    assert_eq!(names, [&model::LABELS[..], &phrases].concat());
    let maps = said["heat_maps"].as_array().unwrap();
    assert_eq!(maps.len(), 3);
    for (map, heat) in maps.iter().zip(&expected.heat) {
        assert_eq!((map["rows"].as_u64(), map["columns"].as_u64()), (Some(4), Some(4)));
        assert_eq!([number(&map["x"]), number(&map["y"])], heat.peak);
        assert_eq!(map["name"], heat.name);
        assert!(map.get("values").is_none(), "not shown");
    }
    let nearest = said["nearest"].as_array().unwrap();
    assert_eq!(nearest.len(), 3);
    for (near, expected) in nearest.iter().zip(&expected.nearest) {
        assert_eq!(near["sentence"], expected.sentence);
        assert_eq!(number(&near["similarity"]), expected.similarity);
        assert_eq!([number(&near["x"]), number(&near["y"])], expected.place);
    }
    let table = String::from_utf8(case.analyse(&[]).stdout).unwrap();
    assert_eq!(table.matches("zero-shot, looks most at").count(), 3, "{table}");
    assert_eq!(table.matches("nearest training sentences, not a report:").count(), 1, "{table}");
}

#[test]
fn the_overlay_shows_where_the_phrases_of_positive_findings_look() {
    let case = Case::new();
    let drawn = case.folder.path().join("overlay.png");
    case.analyse(&["--overlay", text(&drawn), "--overlay-pixels", "800"]);
    let drawn = image::open(&drawn).unwrap().to_rgb8();
    let [x, y] = case.expected().heat[0].peak.map(|pixel| pixel * 800.0 / 200.0);
    // The ring around the peak, in a colour that no other part of the radiograph has.
    let reddish = |x: u32, y: u32| {
        let [red, green, blue] = drawn.get_pixel(x, y).0;
        red > 180 && green < 120 && blue < 120
    };
    let near = (0..40).flat_map(|dy| (0..40).map(move |dx| (dx, dy)));
    let around = near
        .map(|(dx, dy)| ((x as u32 + dx).saturating_sub(20), (y as u32 + dy).saturating_sub(20)));
    assert!(around.filter(|&(x, y)| reddish(x, y)).count() > 20, "no ring at ({x}, {y})");
}

#[test]
fn a_self_test_covers_what_phrases_say() {
    let case = Case::new();
    let said = runtime(&["selftest", "--json", "--bundle", text(&case.bundle)]);
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["outputs"], 7, "4 of the network, 3 of phrases: {said}");
}

#[test]
fn a_replay_finds_a_heat_map_or_a_sentence_that_was_changed() {
    let case = Case::new();
    let folder = text(case.folder.path());
    let json = case.analyse(&["--json", "--dicom", folder]).stdout;
    let told = case.folder.path().join("result.json");
    let replay = |result: &Path| -> (bool, Vec<String>) {
        let bundle = text(&case.bundle);
        let output =
            runtime(&["replay", "--json", text(result), text(&case.image), "--bundle", bundle]);
        let said: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let parts = said["parts"].as_array().unwrap().iter();
        let differs = parts.filter(|part| part["outcome"] == "differs");
        let name = |part: &Value| part["part"].as_str().unwrap().to_owned();
        (output.status.success(), differs.map(name).collect())
    };
    fs::write(&told, &json).unwrap();
    assert_eq!(replay(&told), (true, vec![]));
    assert_eq!(replay(&case.folder.path().join("chest.dcm.sr.dcm")), (true, vec![]));

    type Change = fn(&mut Value);
    let changes: [(Change, &str); 4] = [
        (|it| it["heat_maps"][1]["x"] = 1.5.into(), "heat maps"),
        (|it| it["account"]["heat"] = "0".repeat(64).into(), "heat maps' values"),
        (|it| it["nearest"][0]["sentence"] = "nothing is seen".into(), "nearest sentences"),
        (|it| it["findings"][3]["probability"] = 0.5.into(), "findings"),
    ];
    for (change, part) in changes {
        let mut changed: Value = serde_json::from_slice(&json).unwrap();
        change(&mut changed);
        fs::write(&told, changed.to_string()).unwrap();
        let (same, differs) = replay(&told);
        assert!(!same && differs.iter().any(|found| found == part), "{part}: {differs:?}");
    }
}

#[test]
fn the_daemon_shows_and_delivers_where_phrases_look() {
    let archive = Archive::start();
    let case = Case::new();
    let destination = format!(
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{}\"\n\
         objects = [\"sr\", \"seg\", \"heat\"]\n",
        archive.address
    );
    let bundle = model::trusted(&case.bundle);
    let settings = Settings { bundle: &bundle, dicom: &destination, ..Settings::default() };
    let daemon = Daemon::start(settings);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.7", 7), 0);
    let shown = daemon.findings("1.2.7");
    assert_eq!(shown["heat_maps"].as_array().unwrap().len(), 3, "{shown}");
    assert_eq!(shown["nearest"].as_array().unwrap().len(), 3, "{shown}");
    let png = |query: &str| daemon.get(&format!("/images/1.2.7/overlay.png{query}"));
    let all = png("");
    let [one, two] = ["?finding=Finding%201", "?finding=Finding%202"].map(png);
    assert_eq!([all.0, one.0, two.0, png("?finding=heart").0], [200, 200, 200, 404]);
    assert!(all.1 == one.1 && one.1 != two.1, "only the first is positive");

    // No mask: the only segmentation is the fractional one.
    daemon.wait("a report and a segmentation", |_| (archive.uids().len() >= 2).then_some(()));
    let inside = archive.inside();
    let classes: Vec<&str> = inside.kept.iter().map(|kept| &*kept.class).collect();
    assert!(classes.contains(&"1.2.840.10008.5.1.4.1.1.66.4"), "{classes:?}");
    assert_eq!(classes.len(), 2, "{classes:?}");
}
