//! `runtime acceptance`: a site whose truth is known, through the very daemon.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    archive::Archive,
    browser, model,
    site::{Site, runtime, said},
    slots,
};
use serde_json::Value as Json;
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

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
    assert_eq!(report["direct"], serde_json::json!({ "images": 20, "different": [] }));
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
    assert!(list.contains("1,1,") && list.contains("image-00.dcm\",1.2.1,1.2.1.1\n"), "{list}");
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
fn an_index_names_images_patients_and_split() {
    let site = Site::new();
    site.index();
    let plan = site.plan(&site.bundle_of_the_plan(), MET);
    let text = fs::read_to_string(&plan).unwrap();
    let studies = "folder = \"studies\"\nlabels = \"labels.csv\"";
    assert!(text.contains(studies));
    let by_index = text.replace(studies, "index = \"index.jsonl\"\nsplit = \"test\"");
    fs::write(&plan, &by_index).unwrap();
    let (output, report) = site.accept(&plan);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", said(&output));
    // All images but one, two of each patient but of the first.
    assert_eq!(
        (&report["studies"]["images"], &report["studies"]["patients"]),
        (&19.into(), &10.into())
    );
    let counts = &report["findings"][0]["counts"];
    let sum: u64 = ["true_positive", "false_negative", "true_negative", "false_positive"]
        .map(|what| counts[what].as_u64().unwrap())
        .iter()
        .sum();
    assert_eq!((sum, counts["patients"].as_u64()), (19, Some(10)));
    let sensitivity = &report["findings"][0]["sensitivity"];
    assert!(sensitivity["effective"].as_f64() <= sensitivity["of"].as_f64());
    let sexes = report["findings"][0]["groups"].as_array().unwrap();
    let sexes = sexes.iter().filter(|group| group["group"]["axis"] == "sex");
    assert_eq!(sexes.map(|group| &group["group"]["value"]).collect::<Vec<_>>(), ["F"]);
    fs::write(&plan, by_index.replace("\"test\"", "\"tset\"")).unwrap();
    let (output, _) = site.accept(&plan);
    assert!(said(&output).contains("index.jsonl: no image of split tset"), "{}", said(&output));
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
    refused("bundle = \"chest.bundle\"", MET, "chest.bundle: signed by");
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
    let site = Site::new();
    let (output, _) = site.accept(&site.plan(&site.bundle_of_the_plan(), MET));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    browser::read_report(&site.path("out.html"), "report");
}
