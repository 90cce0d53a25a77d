//! Images in, findings out: queue, worker, slots and HTTP together, with a small real bundle.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use bundle::Bundle;
use common::{Daemon, Settings, fixtures, model, scu::Scu, slots::activate};
use std::fs;

/// What the library says of a picture: the oracle for the service.
fn expected(bundle: &Bundle, uid: &str, seed: u32) -> engine::Findings {
    let object = fixtures::chest(uid, 160, seed)
        .with_meta(dicom_object::FileMetaTableBuilder::new().transfer_syntax(fixtures::IMPLICIT))
        .unwrap();
    let mut file = Vec::new();
    object.write_all(&mut file).unwrap();
    let mut analyzer = engine::Analyzer::open(bundle, &engine::Options::threads(1)).unwrap();
    match analyzer.analyze(&radiograph::read(&file).unwrap()).unwrap() {
        engine::Analysis::Analysed(findings) => findings,
        other => panic!("{other:?}"),
    }
}

fn agrees(answer: &serde_json::Value, bundle: &Bundle, uid: &str, seed: u32) {
    let findings = expected(bundle, uid, seed);
    assert_eq!(answer["status"], "analysed", "{answer}");
    assert_eq!(answer["sop_instance_uid"], uid);
    assert_eq!(answer["embedding_digest"].as_str(), findings.embedding_digest.as_deref());
    let number = |found: &serde_json::Value| found.as_f64().unwrap() as f32; // exact: printed to round-trip
    let answered = answer["findings"].as_array().unwrap();
    assert_eq!(answered.len(), findings.findings.len());
    for (found, expected) in answered.iter().zip(&findings.findings) {
        assert_eq!(found["name"], expected.name);
        assert_eq!(number(&found["probability"]), expected.probability);
        assert_eq!(number(&found["threshold"]), expected.threshold);
        assert_eq!(found["positive"], expected.positive);
    }
    assert_eq!(answer["bundle"]["digest"], bundle.digest());
}

#[test]
fn a_sent_image_is_answered_with_the_librarys_findings() {
    let folder = tempfile::tempdir().unwrap();
    let path = model::write(folder.path(), 1);
    let daemon = Daemon::start(Settings { bundle: &model::trusted(&path), ..Settings::default() });
    let mut scu = Scu::associate(daemon.dicom);
    for seed in 0..3 {
        assert_eq!(scu.store(&format!("1.2.{seed}"), seed), 0);
    }
    let bundle = Bundle::open(&path).unwrap();
    for seed in 0..3 {
        let uid = format!("1.2.{seed}");
        agrees(&daemon.findings(&uid), &bundle, &uid, seed);
        let (status, png) = daemon.get(&format!("/images/{uid}/overlay.png"));
        assert_eq!(status, 200);
        let overlay = image::load_from_memory(&png).unwrap();
        assert!(overlay.width() > 1024 && overlay.height() >= 1024);
    }
    let (status, health) = daemon.json("/health");
    assert_eq!((status, health["bundle"]["id"].as_str()), (200, Some("test-1")));
    assert_eq!(health["bundle"]["signed_by"], model::public_key());
    assert_eq!(daemon.metric("cxr_images_analysed_total"), 3);
    assert_eq!(daemon.metric("cxr_answer_seconds_count"), 3);
    let (status, page) = daemon.get("/");
    let page = String::from_utf8(page).unwrap();
    assert_eq!(status, 200);
    assert!(page.contains("Not for diagnostic use"));
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "the page needs nothing from outside"
    );
}

#[test]
fn an_acknowledged_image_is_answered_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = model::write(folder.path(), 1);
    let trusted = model::trusted(&path);
    let settings = Settings { bundle: &trusted, ..Settings::default() };
    let daemon = Daemon::start(settings);
    let mut scu = Scu::associate(daemon.dicom);
    for seed in 0..4 {
        assert_eq!(scu.store(&format!("1.2.{seed}"), seed), 0);
    }
    let daemon = daemon.kill_and_restart(settings); // SIGKILL, in the middle of whatever it was doing
    let bundle = Bundle::open(&path).unwrap();
    for seed in 0..4 {
        let uid = format!("1.2.{seed}");
        agrees(&daemon.findings(&uid), &bundle, &uid, seed);
    }
}

/// Report and picture of the daemon's oldest answer.
fn objects(daemon: &Daemon) -> Vec<results::Object> {
    let first = |folder| fs::read(daemon.spool(folder).into_iter().min().unwrap()).unwrap();
    let record: results::Record = serde_json::from_slice(&first("results")).unwrap();
    let (image, device) = (first("images"), results::Device::new("box-1"));
    let drawing = || Ok::<_, std::io::Error>(image::RgbImage::new(8, 8));
    let make = |kind| results::object(kind, &record, &image, &device, drawing).unwrap().unwrap();
    [results::Kind::Sr, results::Kind::Sc].map(make).to_vec()
}

#[test]
fn an_answer_makes_the_same_objects_after_a_restart_with_another_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = [1, 2].map(|seed| model::trusted(&model::write(folder.path(), seed)));
    let daemon = Daemon::start(Settings { bundle: &first, ..Settings::default() });
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.7", 7), 0);
    let shown = daemon.findings("1.2.7");
    assert_eq!(shown["source"]["study_instance_uid"], "1.2.7.1");
    assert!(shown.get("codes").is_none(), "codes are for the objects: {shown}");
    let made = objects(&daemon);

    let daemon = daemon.kill_and_restart(Settings { bundle: &second, ..Settings::default() });
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.8", 8), 0);
    assert_eq!(daemon.findings("1.2.8")["bundle"]["id"], "test-2");
    assert_eq!(objects(&daemon), made);
}

#[test]
fn what_the_network_must_not_see_is_answered_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = model::write(folder.path(), 1);
    let daemon = Daemon::start(Settings { bundle: &model::trusted(&path), ..Settings::default() });
    let mut scu = Scu::associate(daemon.dicom);
    // Too small, and a data set that breaks off within its pixels.
    let small = fixtures::encode(&fixtures::chest("1.2.1", 64, 1), fixtures::IMPLICIT);
    assert_eq!(scu.store_bytes("1.2.1", &small), 0);
    let cut = fixtures::encode(&fixtures::chest("1.2.2", 160, 1), fixtures::IMPLICIT);
    assert_eq!(scu.store_bytes("1.2.2", &cut[..cut.len() / 2]), 0);
    assert_eq!(scu.store("1.2.3", 3), 0);
    let small = daemon.findings("1.2.1");
    assert_eq!(small["status"], "not-analysed");
    assert!(small["reason"].as_str().unwrap().contains("64x64"), "{small}");
    let cut = daemon.findings("1.2.2");
    assert_eq!(cut["status"], "not-analysed");
    assert!(cut["reason"].as_str().unwrap().starts_with("cannot be read: "), "{cut}");
    assert_eq!(daemon.findings("1.2.3")["status"], "analysed");
    assert_eq!(daemon.get("/images/1.2.1/overlay.png").0, 404);
    assert_eq!(daemon.metric("cxr_images_not_analysed_total"), 2);
}

#[test]
fn the_active_slot_answers_and_a_switch_drops_no_image() {
    let keys = format!("slots = \"slots\"\ntrusted_keys = [\"{}\"]", model::public_key());
    let daemon = Daemon::start(Settings { bundle: &keys, ..Settings::default() });
    let slots = daemon.folder.path().join("slots");
    assert_eq!(daemon.get("/health").0, 503);
    let mut scu = Scu::associate(daemon.dicom);
    assert_eq!(scu.store("1.2.1", 1), 0, "before there is any bundle");

    let (first, second) = (model::seal(1, true), model::seal(2, true));
    activate(&slots, &first);
    agrees(&daemon.findings("1.2.1"), &first, "1.2.1", 1);
    assert_eq!(daemon.json("/health").1["bundle"]["slot"], "a");

    for seed in 2..8 {
        if seed == 4 {
            activate(&slots, &second);
        }
        assert_eq!(scu.store(&format!("1.2.{seed}"), seed), 0);
    }
    for seed in 2..8 {
        let uid = format!("1.2.{seed}");
        let answer = daemon.findings(&uid);
        let by = if answer["bundle"]["id"] == "test-1" { &first } else { &second };
        agrees(&answer, by, &uid, seed);
    }
    let in_b = |daemon: &Daemon| (daemon.json("/health").1["bundle"]["slot"] == "b").then_some(());
    daemon.wait("slot b", in_b);
    assert_eq!(scu.store("1.2.9", 9), 0);
    agrees(&daemon.findings("1.2.9"), &second, "1.2.9", 9);
}

#[test]
fn images_wait_while_the_active_bundle_is_not_to_be_trusted() {
    let keys = format!("slots = \"slots\"\ntrusted_keys = [\"{}\"]", model::public_key());
    let daemon = Daemon::start(Settings { bundle: &keys, ..Settings::default() });
    let slots = daemon.folder.path().join("slots");
    let mut unsigned = model::seal(1, true);
    unsigned.sign(None).unwrap();
    activate(&slots, &unsigned);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.1", 1), 0);
    let reason = |word: &'static str| {
        move |daemon: &Daemon| {
            let health = daemon.json("/health").1;
            health["reason"].as_str().is_some_and(|reason| reason.contains(word)).then_some(())
        }
    };
    daemon.wait("the unsigned bundle to be refused", reason("sign"));
    activate(&slots, &model::seal(2, false));
    daemon.wait("the lying bundle to be refused", reason("golden vector"));
    assert_eq!(daemon.json("/images/1.2.1").0, 202);
    activate(&slots, &model::seal(3, true));
    assert_eq!(daemon.findings("1.2.1")["bundle"]["id"], "test-3");
}

/// A full disk, for instance. It once made daemons give images up as if these had killed them.
#[test]
fn a_disk_that_refuses_answers_is_told_and_every_image_is_analysed_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = model::write(folder.path(), 1);
    let settings = Settings { bundle: &model::trusted(&path), ..Settings::default() };
    let daemon = Daemon::start(settings);
    let results = daemon.folder.path().join("spool/results");
    fs::remove_dir(&results).unwrap();
    fs::write(&results, b"a file where a folder should be").unwrap();
    let mut scu = Scu::associate(daemon.dicom);
    for seed in 1..4 {
        assert_eq!(scu.store(&format!("1.2.{seed}"), seed), 0);
    }
    daemon.wait("the trouble to be told", |daemon| {
        let (status, health) = daemon.json("/health");
        let reason = health["reason"].as_str().unwrap_or_default();
        let told = health["status"] == "failing" && reason.contains("cannot write the answer");
        (status == 503 && told).then_some(())
    });
    fs::remove_file(&results).unwrap();
    fs::create_dir(&results).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    for seed in 1..4 {
        let uid = format!("1.2.{seed}");
        agrees(&daemon.findings(&uid), &bundle, &uid, seed);
    }
    assert_eq!(daemon.json("/health").1["status"], "ok");
    assert_eq!(daemon.metric("cxr_images_parked_total"), 0);
}

#[test]
fn a_second_daemon_in_the_same_spool_is_refused_by_name() {
    let daemon = Daemon::start(Settings::default());
    let incoming = daemon.folder.path().join("spool/incoming/7.part");
    fs::write(&incoming, b"half an image").unwrap();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["serve", "--config"])
        .arg(daemon.folder.path().join("runtime.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("spool: another daemon works in it"), "{text}");
    assert!(incoming.exists(), "what the first one receives is left alone");
    assert_eq!(daemon.get("/health").0, 503, "no bundle, but alive");
}

#[test]
fn an_unreadable_boot_record_leaves_the_loaded_bundle_at_work() {
    let keys = format!("slots = \"slots\"\ntrusted_keys = [\"{}\"]", model::public_key());
    let daemon = Daemon::start(Settings { bundle: &keys, ..Settings::default() });
    let slots = daemon.folder.path().join("slots");
    let bundle = model::seal(1, true);
    activate(&slots, &bundle);
    daemon.wait("the bundle", |daemon| (daemon.get("/health").0 == 200).then_some(()));
    let whole = protocol::RECORD_FILES.map(|name| fs::read(slots.join(name)).ok());
    let mut newer = whole.iter().flatten().next().unwrap().clone();
    newer[4..6].copy_from_slice(&9u16.to_le_bytes());
    let crc = newer.len() - 4;
    let sum = crc32fast::hash(&newer[..crc]).to_le_bytes();
    newer[crc..].copy_from_slice(&sum);
    let mut scu = Scu::associate(daemon.dicom);
    for (seed, (contents, told)) in
        (1..).zip([(&b"torn"[..], "neither copy"), (&newer, "format 9 is newer than 1")])
    {
        for name in protocol::RECORD_FILES {
            fs::write(slots.join(name), contents).unwrap();
        }
        daemon.wait("the reason", |daemon| {
            let (status, health) = daemon.json("/health");
            assert_eq!((status, &health["bundle"]["slot"]), (200, &"a".into()), "{health}");
            health["reason"].as_str().is_some_and(|why| why.contains(told)).then_some(())
        });
        let uid = format!("1.2.{seed}");
        assert_eq!(scu.store(&uid, seed), 0);
        agrees(&daemon.findings(&uid), &bundle, &uid, seed);
    }
    for (name, contents) in protocol::RECORD_FILES.iter().zip(&whole) {
        match contents {
            Some(contents) => fs::write(slots.join(name), contents).unwrap(),
            None => fs::remove_file(slots.join(name)).unwrap(),
        }
    }
    daemon.wait("the reason to go", |daemon| {
        let (status, health) = daemon.json("/health");
        assert_eq!(status, 200);
        health["reason"].is_null().then_some(())
    });
    assert_eq!(daemon.log().matches("test-1 ").count(), 1, "loaded once: {}", daemon.log());
}
