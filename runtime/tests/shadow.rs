//! A second bundle looks on: what it says is compared, and whatever becomes of it, answers are what they were.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    Daemon, Settings, fixtures, model,
    scu::Scu,
    slots::{activate, stage},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

/// A daemon with one bundle that answers and, at `shadow.bundle` in its folder, one that looks on.
fn daemon(folder: tempfile::TempDir, shadow: &str) -> Daemon {
    let answers = model::trusted(&model::write(folder.path(), 1));
    let shadow = format!("[shadow]\npath = \"shadow.bundle\"\n{shadow}");
    let settings = Settings { bundle: &answers, dicom: &shadow, ..Settings::default() };
    Daemon::start_in(folder, settings)
}

/// A folder with a bundle for the shadow.
fn with_shadow(seed: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &model::seal(seed, true).to_bytes().unwrap());
    folder
}

fn put(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("shadow.new"), bytes).unwrap();
    fs::rename(folder.join("shadow.new"), folder.join("shadow.bundle")).unwrap();
}

fn status(daemon: &Daemon) -> Value {
    daemon.json("/shadow").1["status"].clone()
}

/// Waits until a bundle looks on; which.
fn ready(daemon: &Daemon) -> String {
    daemon.wait("a bundle that looks on", |daemon| {
        Some(status(daemon)["bundle"]["id"].as_str()?.to_owned())
    })
}

/// Images that it has looked at, or left out.
fn done(status: &Value) -> u64 {
    let skipped = ["busy", "not_ready", "failed"].map(|name| &status["skipped"][name]);
    skipped.into_iter().chain([&status["compared"]]).map(|count| count.as_u64().unwrap()).sum()
}

/// Sends an image, waits for its findings and until the shadow is through with it.
fn send(daemon: &Daemon, seed: u32) -> Value {
    let before = done(&status(daemon));
    let uid = format!("1.2.{seed}");
    assert_eq!(Scu::associate(daemon.dicom).store(&uid, seed), 0);
    let findings = daemon.findings(&uid);
    daemon.wait("the shadow", |daemon| (done(&status(daemon)) > before).then_some(()));
    findings
}

fn report(daemon: &Daemon, arguments: &[&str]) -> Output {
    let config = daemon.folder.path().join("runtime.toml");
    Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["shadow", "report", "--config", config.to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap()
}

fn pairs(daemon: &Daemon) -> Vec<Value> {
    let log = fs::read_to_string(daemon.folder.path().join("spool/shadow.log")).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Probabilities by name that `runtime analyze` finds with a bundle.
fn analysed(bundle: &Path, image: &Path) -> BTreeMap<String, f64> {
    let output = Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["analyze", "--json", "--bundle"])
        .args([bundle, image])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = record["findings"].as_array().unwrap();
    let value =
        |f: &Value| (f["name"].as_str().unwrap().into(), f["probability"].as_f64().unwrap());
    findings.iter().map(value).collect()
}

#[test]
fn what_both_bundles_say_is_kept_and_reported_and_outlasts_a_kill() {
    let daemon = daemon(with_shadow(2), "");
    assert_eq!(ready(&daemon), "test-2");
    for seed in 1..=4 {
        assert_eq!(send(&daemon, seed)["bundle"]["id"], "test-1");
    }
    assert_eq!(status(&daemon)["compared"], 4);
    assert!(status(&daemon)["resident_bytes"].as_u64().unwrap() > 1 << 20);
    let folder = daemon.folder.path();
    for (pair, image) in pairs(&daemon).iter().zip(daemon.spool("images")) {
        let said = |at: usize| -> BTreeMap<String, f64> {
            let findings = pair["findings"].as_array().unwrap();
            let value = |f: &Value| {
                (f["name"].as_str().unwrap().into(), f["probability"][at].as_f64().unwrap())
            };
            findings.iter().map(value).collect()
        };
        assert_eq!(said(0), analysed(&folder.join("model-1.bundle"), &image));
        assert_eq!(said(1), analysed(&folder.join("shadow.bundle"), &image));
    }
    let calls = daemon.get("/metrics").1;
    let calls = String::from_utf8(calls).unwrap();
    let calls: u64 = calls
        .lines()
        .filter(|line| line.starts_with("cxr_shadow_calls{finding=\"Effusion\""))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(calls, 4);

    let folder = daemon.kill();
    let daemon = self::daemon(folder, "");
    // What was kept is read on the thread that loads the bundle, before it.
    ready(&daemon);
    assert_eq!(daemon.json("/shadow").1["agreement"]["pairs"], 4);
    send(&daemon, 5);
    let page = daemon.folder.path().join("report.html");
    let output = report(&daemon, &["--json", "--html", page.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let reported: Value = serde_json::from_slice(&output.stdout).unwrap();
    let shown = &daemon.json("/shadow").1["agreement"];
    for part in ["bundles", "span", "pairs", "findings"] {
        assert_eq!(reported[0][part], shown[part]);
    }
    assert_eq!((&reported[0]["pairs"], reported.as_array().unwrap().len()), (&5.into(), 1));
    let html = fs::read_to_string(page).unwrap();
    assert_eq!(html.matches("<circle").count(), 10, "two findings of five images");
    let text = String::from_utf8(report(&daemon, &[]).stdout).unwrap();
    assert!(text.contains("test-1 1.1.0") && text.contains("Pneumonia"), "{text}");
}

#[test]
fn a_shadow_that_is_refused_is_told_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut unsigned = model::seal(2, true);
    unsigned.sign(None).unwrap();
    put(folder.path(), &unsigned.to_bytes().unwrap());
    let daemon = daemon(folder, "");
    let refused = |word: &'static str| {
        move |daemon: &Daemon| {
            let status = status(daemon);
            status["reason"].as_str().is_some_and(|why| why.contains(word)).then_some(())
        }
    };
    daemon.wait("the unsigned bundle to be refused", refused("sign"));
    assert_eq!(send(&daemon, 1)["status"], "analysed");
    let (code, health) = daemon.json("/health");
    assert_eq!((code, &health["status"]), (200, &"ok".into()), "{health}");
    assert!(health["warnings"][0].as_str().unwrap().starts_with("no bundle looks on: "));
    assert_eq!(status(&daemon)["skipped"]["not_ready"], 1);
    let folder = daemon.folder.path();
    put(folder, b"no bundle at all");
    daemon.wait("nonsense to be refused", refused("begins with"));
    put(folder, &model::seal(3, false).to_bytes().unwrap());
    daemon.wait("the lying bundle to be refused", refused("golden vector"));
    put(folder, &model::seal(3, true).to_bytes().unwrap());
    assert_eq!(ready(&daemon), "test-3", "a file that was replaced is looked at");
    assert_eq!(send(&daemon, 2)["bundle"]["id"], "test-1");
    assert_eq!(status(&daemon)["compared"], 1);
}

/// Process ids of the shadows that work in this spool.
fn processes(daemon: &Daemon) -> Vec<String> {
    let images = daemon.folder.path().join("spool/images");
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let is_ours = line.contains("shadow\0work") && line.contains(images.to_str().unwrap());
        is_ours.then(|| entry.file_name().to_string_lossy().into_owned())
    });
    processes.collect()
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args(["-s", name, process]).status().unwrap().success());
}

/// Killed by the kernel for want of memory, or ended by a fault of its own: to the daemon it looks like this.
#[test]
fn a_shadow_that_dies_or_hangs_takes_no_answer_with_it() {
    let daemon = daemon(with_shadow(2), "");
    ready(&daemon);
    let [process] = &processes(&daemon)[..] else { panic!("one process") };
    let nice = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = nice.rsplit(')').next().unwrap();
    assert_eq!(after_name.split_whitespace().nth(16), Some("19"), "the lowest priority: {nice}");
    signal("KILL", process);
    assert_eq!(send(&daemon, 1)["status"], "analysed");
    assert_eq!(status(&daemon)["skipped"]["failed"], 1);
    assert!(daemon.log().contains("nothing looks on: image 0: "), "{}", daemon.log());
    ready(&daemon);
    assert_eq!(send(&daemon, 2)["status"], "analysed");
    assert_eq!(status(&daemon)["compared"], 1);

    // It hangs: the next one is answered while it does.
    let [process] = &processes(&daemon)[..] else { panic!("one process") };
    signal("STOP", process);
    for seed in 3..=5 {
        assert_eq!(Scu::associate(daemon.dicom).store(&format!("1.2.{seed}"), seed), 0);
        assert_eq!(daemon.findings(&format!("1.2.{seed}"))["status"], "analysed");
    }
    assert!(status(&daemon)["skipped"]["busy"].as_u64().unwrap() >= 1);
    signal("CONT", process);
    daemon.wait("it to go on", |daemon| (done(&status(daemon)) == 5).then_some(()));
    let before = status(&daemon)["compared"].as_u64().unwrap();
    send(&daemon, 6);
    assert_eq!(status(&daemon)["compared"], before + 1);
    assert_eq!(processes(&daemon), [process.as_str()]);
    let images = daemon.folder.path().join("spool/images");
    let folder = daemon.kill();
    let ended = |process: &str| {
        let line = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        !line.contains(images.to_str().unwrap())
    };
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while !ended(process) {
        assert!(std::time::Instant::now() < deadline, "it outlives the daemon");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(folder);
}

#[test]
fn a_shadow_that_wants_more_memory_than_it_may_have_ends_alone() {
    let daemon = daemon(with_shadow(2), "max_memory_bytes = 67108864");
    // Where there are many processors, its threads alone take so much; elsewhere an image of 50 MB does.
    daemon.wait("the shadow", |daemon| {
        let status = status(daemon);
        (status["bundle"].is_object() || status["reason"].is_string()).then_some(())
    });
    let dataset = fixtures::encode(&fixtures::chest("1.2.1", 5000, 1), fixtures::IMPLICIT);
    assert_eq!(Scu::associate(daemon.dicom).store_bytes("1.2.1", &dataset), 0);
    assert_eq!(daemon.findings("1.2.1")["status"], "analysed");
    daemon.wait("its end", |daemon| {
        let why = status(daemon)["reason"].as_str()?.to_owned();
        // Whether it was reading or computing then.
        let ends = ["its process ended: signal", "out of memory"];
        ends.iter().any(|end| why.contains(end)).then_some(())
    });
    daemon.wait("the image to be counted", |daemon| {
        let skipped = &status(daemon)["skipped"];
        let left_out = ["failed", "not_ready"].map(|why| skipped[why].as_u64().unwrap());
        (left_out.iter().sum::<u64>() == 1).then_some(())
    });
    assert_eq!(daemon.json("/health").1["status"], "ok");
}

#[test]
fn what_is_staged_looks_on_before_it_runs() {
    let keys = format!("slots = \"slots\"\ntrusted_keys = [\"{}\"]", model::public_key());
    let settings = Settings {
        bundle: &keys,
        dicom: "[shadow]\nstandby = true\nshare = 1.0",
        ..Settings::default()
    };
    let daemon = Daemon::start(settings);
    let slots = daemon.folder.path().join("slots");
    activate(&slots, &model::seal(1, true));
    daemon.wait("the bundle", |daemon| (daemon.get("/health").0 == 200).then_some(()));
    let nothing = |daemon: &Daemon| {
        let why = status(daemon)["reason"].as_str()?.to_owned();
        (why == "the standby slot holds no whole bundle").then_some(())
    };
    daemon.wait("nothing to be staged", nothing);
    stage(&slots, &model::seal(2, true));
    assert_eq!(ready(&daemon), "test-2");
    assert_eq!(send(&daemon, 1)["bundle"]["id"], "test-1");
    assert_eq!(status(&daemon)["compared"], 1);
    let ids: Vec<_> = pairs(&daemon)[0]["bundles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bundle| bundle["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["test-1", "test-2"]);
}

#[test]
fn a_report_about_nothing_is_an_error_that_names_the_folder() {
    let daemon = Daemon::start(Settings::default());
    let output = report(&daemon, &["--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(said.contains("spool: no shadow.log"), "{said}");
    assert_eq!(daemon.json("/shadow").0, 404);
}
