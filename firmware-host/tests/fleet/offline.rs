//! `firmware-host offline`: an image on a stick, through a running agent.

use crate::support::{Agent, bundle, image, packed, run, states, until};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

struct Stick {
    folder: TempDir,
}

impl Stick {
    /// A stick with images, and beside it a place for an agent.
    fn new(images: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("stick")).unwrap();
        for (name, bytes) in images {
            fs::write(folder.path().join("stick").join(name), bytes).unwrap();
        }
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("stick")
    }

    fn install(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firmware-host"));
        let config = self.folder.path().join("agent.toml");
        command.arg("offline").arg(self.path()).arg("--config").arg(config).arg("--json");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn document(output: &Output) -> Value {
    let first = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("").to_owned();
    serde_json::from_str(&first).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn reports(stick: &Path) -> Vec<Value> {
    let files = fs::read_dir(stick).unwrap().map(|entry| entry.unwrap().path());
    let reports = files.filter(|path| path.to_str().unwrap().ends_with(".report.json"));
    reports.map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
}

#[test]
fn an_image_on_a_stick_is_installed_and_the_report_written_after_the_confirm() {
    let stick = Stick::new(&[("chest.swu", image("1.0.0", 200_000))]);
    let agent = Agent::start(stick.folder.path(), "");
    let installing = stick.install().spawn().unwrap();
    until("the trial", || (agent.states() == states("trial", "empty", "a")).then_some(()));
    assert!(reports(&stick.path()).is_empty());
    agent.confirm();
    let output = installing.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = reports(&stick.path()).remove(0);
    assert_eq!(
        (report["outcome"].as_str(), report["image"].as_str()),
        (Some("confirmed"), Some("chest.swu"))
    );
    assert!(report["details"][0].as_str().unwrap().contains("slot a runs chest 1.0.0"), "{report}");
    // The same stick again changes nothing.
    let before = agent.record();
    assert!(stick.install().output().unwrap().status.success());
    assert_eq!(agent.record(), before);
}

#[test]
fn a_box_takes_a_bundle_that_is_larger_than_the_memory_it_needs_for_it() {
    let stick = Stick::new(&[("chest.swu", image("1.0.0", 64 << 20))]);
    let agent = Agent::start(stick.folder.path(), "");
    let output = stick.install().arg("--no-wait").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(agent.states(), states("trial", "empty", "a"));
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 32 << 10, "{peak} KiB at its peak");
}

#[test]
fn a_bundle_that_fails_its_self_test_leaves_its_evidence_on_the_stick() {
    let stick = Stick::new(&[("chest.swu", image("1.0.0", 9000))]);
    let activate =
        "[activate]\nselftest = [\"sh\", \"-c\", \"echo golden vector 3 differs; exit 1\"]\n";
    let agent = Agent::start(stick.folder.path(), activate);
    let output = stick.install().output().unwrap();
    assert!(!output.status.success());
    let report = reports(&stick.path()).remove(0);
    assert_eq!(report["outcome"], "failed");
    assert!(report["details"].to_string().contains("golden vector 3 differs"), "{report}");
    assert_eq!(agent.states(), states("bad", "empty", "none"));
}

#[test]
fn the_rules_of_a_push_hold_for_a_stick() {
    let stranger = bundle::SigningKey::from_bytes(&[9; 32]);
    let strange = packed("1.0.0", &bundle("1.0.0", 1000, Some(&stranger)));
    let mut flipped = image("1.0.0", 9000);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut cut = image("1.0.0", 9000);
    cut.truncate(middle);
    for (bytes, expected, state) in [
        (strange, "not a trusted key", "bad"),
        (flipped, "SHA-256 of the file is", "bad"),
        (cut, "the image ends within model.bundle", "writing"),
        (b"noise".to_vec(), "the image ends within a header", "empty"),
    ] {
        let stick = Stick::new(&[("chest.swu", bytes)]);
        let agent = Agent::start(stick.folder.path(), "");
        let output = stick.install().output().unwrap();
        assert!(!output.status.success());
        let told = document(&output)["details"].to_string();
        assert!(told.contains(expected), "{told}, expected {expected}");
        assert_eq!(agent.states().0, state, "{expected}");
    }
}

#[test]
fn what_is_ambiguous_or_has_no_agent_is_refused() {
    let stick = Stick::new(&[("a.swu", image("1.0.0", 900)), ("b.swu", image("1.1.0", 900))]);
    let agent = Agent::start(stick.folder.path(), "");
    let error = String::from_utf8(stick.install().output().unwrap().stderr).unwrap();
    assert!(error.contains("2 files named .swu, expected one"), "{error}");
    agent.kill();
    fs::remove_file(stick.path().join("b.swu")).unwrap();
    let error = String::from_utf8(stick.install().output().unwrap().stderr).unwrap();
    assert!(error.contains("no agent answers at"), "{error}");
    assert!(reports(&stick.path()).is_empty());
}

#[test]
fn an_agent_whose_slots_lie_too_deep_for_a_socket_serves_the_link_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(100));
    fs::create_dir(&deep).unwrap();
    let agent = Agent::start(&deep, "");
    assert_eq!(agent.states(), states("empty", "empty", "none"));
    assert!(agent.log().contains("no image can be installed from a stick"), "{}", agent.log());
}

#[test]
fn the_unit_for_sticks_calls_the_verb_as_it_is() {
    let unit = include_str!("../../packaging/cxr-offline@.service");
    let call = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words: Vec<&str> = call.split_whitespace().collect();
    assert_eq!(words[..2], ["/usr/bin/firmware-host", "offline"]);
    // A path that is not there is an error of the verb; a flag it does not know would be one of usage, 2.
    let output = run(&words[1..]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_ne!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("/run/cxr-offline"), "{error}");
}
