//! `runtime setup` as a technician uses it: by flags, at a terminal, and with archives that are right, wrong and gone.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    PATIENCE,
    archive::{Archive, Commits},
    model,
    peer::{lasting, python, start},
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr},
};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

/// A folder with a bundle, and the configuration that is to come.
struct Site {
    folder: tempfile::TempDir,
    config: PathBuf,
    bundle: PathBuf,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("etc/runtime.toml");
        let bundle = model::write(folder.path(), 1);
        Self { folder, config, bundle }
    }

    /// `runtime setup` with what every site needs, and more.
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
        command.args(["setup", "--config"]).arg(&self.config).args(more).env_remove("RUST_LOG");
        command
    }

    fn setup(&self, more: &[&str]) -> Output {
        let mut command = self.command(&["--yes", "--json", "--http", "127.0.0.1:0"]);
        command.arg("--bundle").arg(&self.bundle).args(["--key", &model::public_key()]);
        command.args(more).stdin(Stdio::null()).output().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.config).unwrap()
    }
}

/// The steps by name: outcome and what was said.
fn steps(output: &Output) -> Vec<(String, String, String)> {
    let said: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = said["steps"].as_array().unwrap();
    assert_eq!(said["ok"], output.status.success(), "{said:#}");
    steps
        .iter()
        .map(|step| (text(&step["step"]), text(&step["outcome"]), text(&step["said"])))
        .collect()
}

fn outcome(steps: &[(String, String, String)], name: &str) -> String {
    let step = steps.iter().find(|(step, ..)| step == name);
    step.unwrap_or_else(|| panic!("no step {name}: {steps:?}")).1.clone()
}

/// From `error: ` on: what a parser found has several lines.
fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let at = text.find("error: ").unwrap_or_else(|| panic!("{text}"));
    text[at..].to_owned()
}

#[test]
fn by_flags_alone_a_box_is_configured_asked_and_tested_up_to_the_commitment() {
    let (site, archive) = (Site::new(), Archive::start());
    let port = archive.address.port();
    let pacs = format!("pacs=PACS@127.0.0.1:{port},commit");
    let peer = format!("room 3=XRAY1@127.0.0.1:{port}");
    let flags = ["--ae-title", "BOX1", "--dicom", "127.0.0.1:0", "--peer", &peer, "--pacs", &pacs];
    let output = site.setup(&flags);
    let steps = steps(&output);
    assert!(steps.iter().all(|(_, outcome, _)| outcome == "done"), "{steps:#?}\n{output:?}");
    let names: Vec<_> = steps.iter().map(|(name, ..)| &**name).collect();
    assert_eq!(
        names,
        [
            "configuration",
            "echo XRAY1",
            "echo pacs",
            "daemon",
            "bundle",
            "store",
            "analyse",
            "deliver pacs",
            "left behind",
        ]
    );
    let kept = archive.inside().kept.clone();
    assert_eq!(kept.len(), 2, "SR and SC; the test network makes no mask");
    for object in &kept {
        let contains = |text: &str| object.bytes.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(contains("TEST^Setup") && contains("TEST-"), "a patient called TEST");
    }
    // What was written is what was said, with the comments of the default, and the archive may report.
    let text = site.text();
    for line in [
        "ae_title = \"BOX1\"",
        "# room 3",
        "name = \"pacs\"",
        "ae_title = \"PACS\"",
        "# keep_answered = 1000",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    let check = Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["serve", "--check", "--config"])
        .arg(&site.config)
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
    // The same again needs to be told.
    assert!(error(&site.setup(&flags)).contains("is there already: --replace"));
    assert_eq!(site.text(), text);
    let again = site.setup(&[&flags[..], &["--replace", "--no-test"]].concat());
    assert!(again.status.success(), "{again:?}");
    assert_eq!(fs::read_to_string(site.config.with_added_extension("before")).unwrap(), text);
}

#[test]
fn what_fails_is_named_with_what_to_do_and_the_configuration_stays() {
    let (site, gone) = (Site::new(), lasting());
    let pacs = format!("pacs=PACS@{gone}");
    let output = site.setup(&["--dicom", "127.0.0.1:0", "--pacs", &pacs, "--wait", "3s"]);
    let found = steps(&output);
    for (step, expected) in [
        ("configuration", "done"),
        ("echo pacs", "failed"),
        ("daemon", "done"),
        ("analyse", "done"),
        ("deliver pacs", "failed"),
    ] {
        assert_eq!(outcome(&found, step), expected, "{step}: {found:#?}");
    }
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = said["steps"].as_array().unwrap();
    assert!(
        all.iter()
            .filter(|step| step["outcome"] == "failed")
            .all(|step| step["advice"].is_string())
    );
    let error = error(&output);
    assert!(error.contains("is written, and this failed: echo pacs, deliver pacs"), "{error}");
    // The archive comes back, and the same configuration is tested again.
    let archive = Archive::start_at(&gone.to_string());
    let again = site.command(&["--test-only", "--json"]).output().unwrap();
    let found = steps(&again);
    assert!(found.iter().all(|(_, outcome, _)| outcome == "done"), "{found:#?}");
    assert!(archive.inside().kept.len() >= 2, "those of the first test may come later");
}

#[test]
fn an_archive_that_takes_everything_and_never_commits_is_told_apart() {
    let (site, archive) = (Site::new(), Archive::start());
    archive.inside().manners.commits = Commits::Never;
    let pacs = format!("pacs=PACS@{},commit,sr", archive.address);
    let output = site.setup(&["--dicom", "127.0.0.1:0", "--pacs", &pacs, "--wait", "2s"]);
    let found = steps(&output);
    assert_eq!(outcome(&found, "echo pacs"), "done");
    assert_eq!(outcome(&found, "deliver pacs"), "failed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("sr is sent") && said.contains("did not report"), "{said}");
}

#[test]
fn a_configuration_with_a_mistake_is_never_written() {
    let site = Site::new();
    for (flags, expected) in [
        (&["--http", "0.0.0.0:0"][..], "needs `users`"),
        (
            &["--pacs", "a=PACS@127.0.0.1:104", "--pacs", "a=PACS@127.0.0.1:105"],
            "two destinations are called",
        ),
        (&["--pacs", "a=https://pacs.example"], "expected `tls` with `ca`"),
        (
            &["--tls-certificate", "/nonexistent.crt", "--tls-key", "/nonexistent.key"],
            "/nonexistent.crt",
        ),
    ] {
        let mut command = site.command(&["--yes", "--bundle"]);
        command.arg(&site.bundle).args(["--key", &model::public_key()]).args(flags);
        let error = error(&command.stdin(Stdio::null()).output().unwrap());
        assert!(error.contains(expected), "{flags:?}: {error}");
        let left: Vec<_> = fs::read_dir(site.folder.path().join("etc")).unwrap().collect();
        assert!(left.is_empty(), "{flags:?}: {left:?}");
    }
    // Unsigned, and by nobody whom we trust.
    let key = bundle::SigningKey::from_bytes(&[8; 32]).verifying_key();
    let key: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut stranger = site.command(&["--yes", "--key", &key, "--bundle"]);
    let said = error(&stranger.arg(&site.bundle).stdin(Stdio::null()).output().unwrap());
    assert!(said.contains("nothing is written") && said.contains("model-1.bundle"), "{said}");
    let usage = site.command(&["--yes", "--peer", "XRAY1@xray.example"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let nobody = site.command(&[]).stdin(Stdio::null()).output().unwrap();
    assert!(error(&nobody).contains("nobody is at a terminal"));
}

#[test]
fn without_a_bundle_the_configuration_is_written_and_the_missing_step_is_named() {
    let site = Site::new();
    let mut command =
        site.command(&["--yes", "--json", "--dicom", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command.args(["--key", &model::public_key()]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let found = steps(&output);
    assert_eq!(outcome(&found, "bundle"), "failed");
    assert_eq!(outcome(&found, "test study"), "skipped");
    assert!(site.config.exists());
}

#[test]
fn a_user_is_added_with_the_password_from_standard_input() {
    let site = Site::new();
    let mut command = site.command(&["--yes", "--no-test", "--http", "127.0.0.1:0", "--bundle"]);
    command.arg(&site.bundle).args(["--key", &model::public_key(), "--user", "ada=operate"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse battery\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let users = fs::read_to_string(site.config.with_file_name("users.toml")).unwrap();
    assert!(users.contains("ada") && users.contains("$argon2id$") && !users.contains("horse"));
    assert!(site.text().contains("users.toml"));
}

#[test]
fn dcmtks_storescp_gets_the_test_study() {
    let (address, folder) = (lasting(), tempfile::tempdir().unwrap());
    let mut command = Command::new("storescp");
    command.args(["-aet", "PACS", "-od"]).arg(folder.path()).arg(address.port().to_string());
    let Some(_peer) = start(command, address, "Debian package dcmtk") else { return };
    let site = Site::new();
    let output = site.setup(&["--dicom", "127.0.0.1:0", "--pacs", &format!("pacs=PACS@{address}")]);
    let found = steps(&output);
    assert_eq!(outcome(&found, "deliver pacs"), "done", "{found:#?}");
    let mut patients = Vec::new();
    for file in fs::read_dir(folder.path()).unwrap() {
        let object = dicom_object::open_file(file.unwrap().path()).unwrap();
        let name =
            object.element(dicom_dictionary_std::tags::PATIENT_NAME).unwrap().to_str().unwrap();
        patients.push(name.trim_end().to_owned());
    }
    assert_eq!(patients, ["TEST^Setup", "TEST^Setup"]);
}

/// The report comes on an association that the archive opens: it must have been let in.
#[test]
fn pynetdicom_commits_on_an_association_of_its_own() {
    let (address, dicom, folder) = (lasting(), lasting(), tempfile::tempdir().unwrap());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/archive.py");
    let mut command = Command::new(python());
    command.arg(script).args([
        address.port().to_string().as_str(),
        "new",
        &dicom.port().to_string(),
    ]);
    command.arg(folder.path().join("kept"));
    let Some(_peer) = start(command, address, "pynetdicom, by `make setup`") else { return };
    let site = Site::new();
    let pacs = format!("pacs=PACS@{address},commit");
    let output = site.setup(&["--dicom", &dicom.to_string(), "--peer", "XRAY1", "--pacs", &pacs]);
    let found = steps(&output);
    assert_eq!(outcome(&found, "deliver pacs"), "done", "{found:#?}\n{output:?}");
    assert!(site.text().contains("# pacs reports what it has committed to"));
}

/// A terminal with somebody at it.
struct Desk {
    ours: File,
    shown: String,
}

impl Desk {
    /// Starts `command` with all three streams at the terminal, which ends with it.
    fn sit_down(mut command: Command) -> (Self, std::process::Child) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = OpenOptions::new()
            .read(true)
            .write(true)
            .open(OsStr::from_bytes(name.as_bytes()))
            .unwrap();
        // What is typed is not shown twice.
        let mut modes = tcgetattr(&theirs).unwrap();
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&theirs, OptionalActions::Now, &modes).unwrap();
        let stream = || Stdio::from(theirs.try_clone().unwrap());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        (Self { ours: ours.into(), shown: String::new() }, child)
    }

    /// Waits for a question, and types an answer.
    fn answer(&mut self, question: &str, answer: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown.contains(question) {
            assert!(Instant::now() < deadline, "no {question:?} in:\n{}", self.shown);
            let mut bytes = [0; 4096];
            let count = self.ours.read(&mut bytes).unwrap_or(0);
            assert!(count > 0, "the program ended before {question:?}:\n{}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        let at = self.shown.find(question).unwrap() + question.len();
        self.shown.drain(..at);
        writeln!(self.ours, "{answer}").unwrap();
    }

    /// What is shown until the program ends.
    fn rest(mut self) -> String {
        let mut bytes = [0; 4096];
        // A terminal whose program has gone is an error to read from.
        while let Ok(count @ 1..) = self.ours.read(&mut bytes) {
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        self.shown
    }
}

#[test]
fn at_a_terminal_everything_is_asked_and_a_mistake_is_asked_again() {
    let (site, archive) = (Site::new(), Archive::start());
    let (mut desk, mut child) = Desk::sit_down(site.command(&["--http", "127.0.0.1:0"]));
    desk.answer("AE title of this box [CXR-EDGE]: ", "A TITLE MUCH TOO LONG");
    desk.answer("expected 1 to 16 printable", "");
    // It was asked again, and `answer` typed nothing: the default.
    desk.answer("sender (empty: no more): ", "");
    desk.answer("senders reach this box [127.0.0.1:11112]: ", "127.0.0.1:0");
    desk.answer("archive (empty: no more): ", &format!("pacs=PACS@{}", archive.address));
    desk.answer("archive (empty: no more): ", "");
    desk.answer("slots [", site.bundle.to_str().unwrap());
    desk.answer("key (empty: no more): ", "no such file");
    desk.answer("found no file", &model::public_key());
    desk.answer("key (empty: no more): ", "");
    desk.answer("[y/n]: ", "y");
    let shown = desk.rest();
    assert!(child.wait().unwrap().success(), "{shown}");
    assert!(shown.contains("ok     deliver pacs: sr, sc taken"), "{shown}");
    assert_eq!(archive.inside().kept.len(), 2);
}

#[test]
fn whoever_says_no_at_the_end_has_changed_nothing() {
    let site = Site::new();
    let mut command =
        site.command(&["--http", "127.0.0.1:0", "--ae-title", "BOX1", "--dicom", "127.0.0.1:0"]);
    command.args([
        "--peer",
        "XRAY1",
        "--pacs",
        "pacs=PACS@127.0.0.1:1",
        "--key",
        &model::public_key(),
        "--bundle",
    ]);
    command.arg(&site.bundle);
    let (mut desk, mut child) = Desk::sit_down(command);
    desk.answer("[y/n]: ", "n");
    let shown = desk.rest();
    assert!(!child.wait().unwrap().success() && shown.contains("nothing is written"), "{shown}");
    assert!(!site.config.exists());
}
