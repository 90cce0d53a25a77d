//! `runtime acceptance`: a site whose truth is known, through the very daemon.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use bundle::{Bundle, Metric, OperatingPoint, section};
use common::{archive::Archive, browser, fixtures, model, slots};
use dicom_core::{PrimitiveValue, Tag, VR, value::Value};
use dicom_object::{FileMetaTableBuilder, mem::InMemElement};
use keyring::SigningKey;
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

const FINDING: &str = "Pneumonia";
const IMAGES: usize = 20;

fn runtime(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
    command.args(arguments).env_remove("RUST_LOG").output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A site with its own studies, labels and bundle.
struct Site {
    folder: tempfile::TempDir,
    bundle: Bundle,
    /// By file.
    truth: BTreeMap<String, bool>,
    /// What `runtime analyze` says of each file, without any daemon.
    probabilities: BTreeMap<String, f64>,
}

impl Site {
    /// Twenty images, ten above the threshold and ten below it. One of the ten above has no pneumonia and two of those
    /// below have one: sensitivity 9/11, specificity 8/9.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("studies")).unwrap();
        for at in 0..IMAGES {
            draw(&folder.path().join("studies").join(file(at)), at);
        }
        let first = model::write(folder.path(), 1);
        let probabilities = analysed(folder.path(), &first);
        let mut order: Vec<_> = probabilities.iter().collect();
        order.sort_by(|a, b| b.1.total_cmp(a.1));
        let threshold = f64::midpoint(*order[IMAGES / 2 - 1].1, *order[IMAGES / 2].1);
        assert!(order[IMAGES / 2 - 1].1 > order[IMAGES / 2].1, "the images differ: {order:?}");
        let truth = order
            .iter()
            .enumerate()
            .map(|(at, (name, _))| {
                let above = at < IMAGES / 2;
                ((*name).clone(), if [3, 12, 15].contains(&at) { !above } else { above })
            })
            .collect();
        let bundle = with_threshold(threshold as f32);
        let site = Self { truth, probabilities, bundle, folder };
        fs::write(site.path("chest.bundle"), site.bundle.to_bytes().unwrap()).unwrap();
        keyring::write_pair(&site.path("site"), &SigningKey::from_bytes(&[9; 32])).unwrap();
        site.label(&site.truth);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn label(&self, truth: &BTreeMap<String, bool>) {
        let rows =
            truth.iter().map(|(file, truth)| format!("{file},Infiltrate,{}\n", u8::from(*truth)));
        let table = format!("file,finding,truth\n{}", rows.collect::<String>());
        fs::write(self.path("labels.csv"), table).unwrap();
    }

    /// The plan's path. `more` stands at its end, in the table of the finding.
    fn plan(&self, daemon: &str, more: &str) -> String {
        let plan = format!(
            "site = \"St. Elsewhere\"\nperson = \"A. Physicist\"\n[daemon]\n{daemon}\n\
             [studies]\nfolder = \"studies\"\nlabels = \"labels.csv\"\n\
             [test]\nrepeats = 2\ninterval_width = 0.6\nwindow_images = 3\n\
             [report]\nhtml = \"out.html\"\nkey = \"site.key\"\nkey_list = \"cases.csv\"\n\
             [[findings]]\nname = \"{FINDING}\"\nlabel = \"Infiltrate\"\nprevalence = 0.1\n{more}\n"
        );
        fs::write(self.path("acceptance.toml"), plan).unwrap();
        self.path("acceptance.toml").to_str().unwrap().to_owned()
    }

    fn bundle_of_the_plan(&self) -> String {
        format!("bundle = \"chest.bundle\"\ntrusted_keys = [\"{}\"]", model::public_key())
    }

    fn accept(&self, plan: &str) -> (Output, Json) {
        let output = runtime(&["acceptance", "--config", plan, "--json", "--replace"]);
        let report = fs::read(self.path("out.json")).unwrap_or_default();
        (output, serde_json::from_slice(&report).unwrap_or_default())
    }

    fn verify(&self, key: &str) -> Output {
        let report = self.path("out.html");
        runtime(&["acceptance", "--verify", report.to_str().unwrap(), "--key", key])
    }
}

fn file(at: usize) -> String {
    format!("image-{at:02}.dcm")
}

/// A chest of a patient of its own; the window makes the images differ.
fn draw(path: &Path, at: usize) {
    let mut object = fixtures::chest(&format!("1.2.{}", at + 1), 160, at as u32);
    let mut put = |group, element, vr, text: String| {
        let value: Value<_, _> = PrimitiveValue::from(text.as_str()).into();
        object.put(InMemElement::new(Tag(group, element), vr, value));
    };
    put(0x0010, 0x0020, VR::LO, format!("P-{at}"));
    put(0x0010, 0x0040, VR::CS, if at.is_multiple_of(2) { "F" } else { "M" }.into());
    put(0x0010, 0x1010, VR::AS, format!("{:03}Y", 30 + at));
    put(0x0008, 0x0070, VR::LO, "ACME".into());
    put(0x0008, 0x1010, VR::SH, format!("ROOM{}", at % 2));
    put(0x0028, 0x1050, VR::DS, format!("{}", 1300 + 40 * at));
    put(0x0028, 0x1051, VR::DS, format!("{}", 2600 - 60 * at));
    let meta = FileMetaTableBuilder::new().transfer_syntax(fixtures::EXPLICIT);
    object.with_meta(meta).unwrap().write_to_file(path).unwrap();
}

fn analysed(folder: &Path, bundle: &Path) -> BTreeMap<String, f64> {
    let probability = |at: usize| {
        let path = folder.join("studies").join(file(at));
        let [path, bundle] = [&*path, bundle].map(|path| path.to_str().unwrap());
        let output = runtime(&["analyze", path, "--bundle", bundle, "--json"]);
        let record: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(record["findings"][0]["name"], FINDING);
        (file(at), record["findings"][0]["probability"].as_f64().unwrap())
    };
    (0..IMAGES).map(probability).collect()
}

/// The test model, which is positive from `threshold` on and claims an AUROC.
fn with_threshold(threshold: f32) -> Bundle {
    let before = model::seal(1, true);
    let mut manifest = before.manifest.clone();
    let text = |text: &str| text.to_owned();
    let point = OperatingPoint { name: text(FINDING), threshold, chosen: text("for this test") };
    manifest.operating_points = vec![point];
    manifest.metrics = vec![Metric {
        task: text("classification"),
        metric: format!("auroc/{FINDING}"),
        data: text("phantoms"),
        split: text("test"),
        value: 0.9,
        interval: [0.8, 0.95],
        n: 120,
        arithmetic: text("int8"),
    }];
    let sections = [section::MODEL, section::GOLDEN];
    let sections = sections.map(|name| (text(name), before.section(name).unwrap().to_vec())).into();
    Bundle::seal(manifest, sections, Some(&model::key())).unwrap()
}

const MET: &str = "minimum_sensitivity = 0.4\nminimum_specificity = 0.4";

#[test]
fn a_sites_figures_follow_from_its_labels_and_the_daemons_answers() {
    let site = Site::new();
    let (output, report) = site.accept(&site.plan(&site.bundle_of_the_plan(), MET));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["accepted"], &told["images"]), (&Json::Bool(true), &Json::from(20)));
    let figures = &report["findings"][0];
    let counts =
        |what: &str| [&figures[what]["hits"], &figures[what]["of"]].map(|n| n.as_u64().unwrap());
    assert_eq!((counts("sensitivity"), counts("specificity")), ([9, 11], [8, 9]));
    assert_eq!(figures["claims"][0]["what"], "AUROC");
    // Pairs in the right order, of the answers that no daemon gave.
    let of = |positive: bool| {
        let those = site.truth.iter().filter(move |(_, truth)| **truth == positive);
        those.map(|(name, _)| site.probabilities[name]).collect::<Vec<_>>()
    };
    let pairs: f64 = of(true)
        .iter()
        .flat_map(|a| of(false).into_iter().map(move |b| (*a, b)))
        .map(|(a, b)| {
            if a > b {
                1.0
            } else if a == b {
                0.5
            } else {
                0.0
            }
        })
        .sum();
    let auroc = figures["auroc"]["value"].as_f64().unwrap();
    assert!((auroc - pairs / 99.0).abs() < 1e-9, "{auroc}, {}", pairs / 99.0);
    assert_eq!(
        report["repeatability"],
        serde_json::json!({ "images": 20, "repeats": 40, "different": [] })
    );
    assert_eq!(report["times"]["count"], 60);
    assert_eq!(report["bundle"]["signed_by"], model::public_key());
    let settings: Vec<&str> = report["windows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["setting"].as_str().unwrap())
        .collect();
    assert_eq!(settings.len(), 9);
    assert!(settings.contains(&"width +10 %") && settings.contains(&"inverted"), "{settings:?}");
    let moved = |change: &Json| change["findings"][0]["largest"].as_f64().unwrap() > 0.0;
    assert!(report["windows"].as_array().unwrap().iter().all(moved), "{}", report["windows"]);
    let groups = figures["groups"].as_array().unwrap();
    let axes: Vec<&str> = groups.iter().map(|g| g["group"]["axis"].as_str().unwrap()).collect();
    assert_eq!(axes, ["age", "age", "machine", "machine", "sex", "sex", "view"]);
    // Patients are numbers in all that is filed; the list is the site's.
    let html = fs::read_to_string(site.path("out.html")).unwrap();
    for text in [&html, &report.to_string()] {
        assert!(!text.contains("P-1") && !text.contains("1.2.3") && !text.contains("Phantom^"));
    }
    let list = fs::read_to_string(site.path("cases.csv")).unwrap();
    assert!(list.contains("1,1,") && list.contains("image-00.dcm\",1.2.1\n"), "{list}");
}

#[test]
fn a_report_is_verified_and_a_changed_one_is_not() {
    let site = Site::new();
    let plan = site.plan(&site.bundle_of_the_plan(), "minimum_sensitivity = 0.4");
    let (output, _) = site.accept(&plan);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let again = runtime(&["acceptance", "--config", &plan]);
    assert!(said(&again).contains("is there already: --replace"), "{}", said(&again));
    let key = site.path("site.pub");
    let key = key.to_str().unwrap();
    let good = site.verify(key);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    assert!(String::from_utf8_lossy(&good.stdout).contains("St. Elsewhere, accepted"));
    let stranger = site.verify(&model::public_key());
    assert_eq!(stranger.status.code(), Some(1));
    assert!(said(&stranger).contains("none of the keys that are trusted"), "{}", said(&stranger));
    for name in ["out.json", "out.html", "out.sig"] {
        let path = site.path(name);
        let before = fs::read_to_string(&path).unwrap();
        let (from, to) = if name == "out.sig" {
            ("format = 1", "format = 2")
        } else {
            ("St. Elsewhere", "St. Somewhere")
        };
        assert!(before.contains(from), "{name}");
        fs::write(&path, before.replacen(from, to, 1)).unwrap();
        let output = site.verify(key);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(said(&output).contains("was changed"), "{}", said(&output));
        fs::write(&path, before).unwrap();
    }
    assert!(site.verify(key).status.success());
}

#[test]
fn a_flipped_label_changes_the_figures_and_too_few_cases_never_pass() {
    let site = Site::new();
    let mut truth = site.truth.clone();
    let found = site.probabilities.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    truth.insert(found.clone(), false);
    site.label(&truth);
    let plan = site.plan(&site.bundle_of_the_plan(), MET).clone();
    let (output, report) = site.accept(&plan);
    let sensitivity = &report["findings"][0]["sensitivity"];
    assert_eq!((&sensitivity["hits"], &sensitivity["of"]), (&Json::from(8), &Json::from(10)));
    assert_eq!(report["findings"][0]["false_alarms"].as_array().unwrap().len(), 2);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    // With two positives left nothing can be said of the sensitivity.
    let mut positives = 0;
    truth.retain(|_, truth| {
        positives += u32::from(*truth);
        !*truth || positives <= 2
    });
    site.label(&truth);
    let (output, report) = site.accept(&plan);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let criterion = &report["findings"][0]["criteria"][0];
    assert_eq!(criterion["verdict"], "not-enough-cases");
    assert!(criterion["cases"]["needed"].as_u64().unwrap() > 2);
    assert_eq!(report["accepted"], false);
    assert_eq!(report["studies"]["without_labels"], 8);
}

/// The box's own configuration, with a slot and an archive: neither hears of the test.
#[test]
fn a_test_leaves_slots_spool_and_archive_alone() {
    let site = Site::new();
    let archive = Archive::start();
    for folder in ["slots", "spool"] {
        fs::create_dir(site.path(folder)).unwrap();
    }
    slots::activate(&site.path("slots"), &site.bundle);
    let config = format!(
        "[bundle]\nslots = \"slots\"\ntrusted_keys = [\"{}\"]\n[dicom]\nlisten = \"127.0.0.1:0\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[spool]\npath = \"spool\"\n\
         [[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{}\"\n",
        model::public_key(),
        archive.address
    );
    fs::write(site.path("runtime.toml"), config).unwrap();
    let listed = |name: &str| {
        let entries = fs::read_dir(site.path(name)).unwrap().map(|entry| entry.unwrap());
        let mut all: Vec<_> =
            entries.map(|e| (e.file_name(), fs::read(e.path()).unwrap())).collect();
        all.sort();
        all
    };
    let before = listed("slots");
    let (output, report) = site.accept(&site.plan("config = \"runtime.toml\"", MET));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(report["conditions"]["configuration"].as_str().unwrap().len(), 64);
    assert_eq!(report["bundle"]["digest"], site.bundle.digest());
    assert_eq!(listed("slots"), before);
    assert_eq!(fs::read_dir(site.path("spool")).unwrap().count(), 0);
    assert_eq!(archive.uids(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_accepted_is_refused_by_name_and_nothing_is_written() {
    let site = Site::new();
    let refused = |daemon: &str, more: &str, expected: &str| {
        let (output, report) = site.accept(&site.plan(daemon, more));
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}, expected {expected}", said(&output));
        assert_eq!(report, Json::Null);
    };
    let lungs = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/chest-lungs.bundle");
    let lungs = format!("bundle = {lungs:?}\nallow_unsigned = true");
    refused(&lungs, MET, "expected findings with a probability, nothing else has a sensitivity");
    let own = site.bundle_of_the_plan();
    refused(&own, "", "nothing can be accepted");
    let other = "minimum_sensitivity = 0.4\n[[findings]]\nname = \"Edema\"";
    refused(&own, other, "knows no finding `Edema`, it knows Pneumonia, Effusion");
    let unlabelled = "minimum_sensitivity = 0.4\n[[findings]]\nname = \"Effusion\"";
    refused(&own, unlabelled, "the labels speak of Infiltrate; the plan needs `Effusion`");
    refused("bundle = \"chest.bundle\"", MET, "no bundle answers");
    fs::write(site.path("labels.csv"), "file,finding,truth\nimage-99.dcm,Infiltrate,1\n").unwrap();
    refused(&own, MET, "labels.csv: line 2: no image has this file (20 images were looked at)");
    assert!(!site.path("out.html").exists());
}

#[test]
fn a_stopped_test_leaves_no_image_and_no_report_behind() {
    let site = Site::new();
    let plan = site.plan(&site.bundle_of_the_plan(), MET);
    let text = fs::read_to_string(&plan).unwrap();
    // Two thousand objects: it is stopped long before its end.
    let long = text.replace("repeats = 2", "repeats = 100\nfolder = \"spools\"");
    fs::write(&plan, long).unwrap();
    fs::create_dir(site.path("spools")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["acceptance", "--config", &plan])
        .spawn()
        .unwrap();
    let spool = || {
        fs::read_dir(site.path("spools"))
            .unwrap()
            .next()
            .map(|e| e.unwrap().path().join("spool/images"))
    };
    let answers =
        || spool().and_then(|images| fs::read_dir(images).ok()).map_or(0, Iterator::count);
    let until = Instant::now() + common::PATIENCE;
    while answers() == 0 {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "no image came");
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(fs::read_dir(site.path("spools")).unwrap().count(), 0);
    assert!(!site.path("out.html").exists() && !site.path("out.json").exists());
}

/// Judged by axe-core; screenshots lie in `target/tmp/report`.
#[test]
fn the_report_can_be_read_by_everybody_and_printed() {
    let (python, axe) = match browser::tools() {
        Ok(tools) => tools,
        Err(missing) => return skip::because(missing),
    };
    let site = Site::new();
    let (output, _) = site.accept(&site.plan(&site.bundle_of_the_plan(), MET));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&shots).unwrap();
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report.py"))
        .args([&site.path("out.html"), &axe, &shots])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}
