//! The page as people use it: in Chromium, by keyboard, judged by axe-core. Screenshots lie in `target/tmp/page`.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use ::exposures::Journal;
use bundle::Bundle;
use common::{
    Daemon, Settings,
    archive::{Act, Archive},
    browser, model, reference,
    scu::Scu,
};
use drift::{Gathered, Seen};
use protocol::exposure::{Exposure, Outcome, Technique};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

const ROOM: &str = "[exposures]\nfolder = \"room\"\nstations = [\"ELSEWHERE\"]\nimage_seconds = 1";
const PASSWORD: &str = "correct horse battery";

/// A bundle with a reference of pictures that are nothing like a chest.
fn drifts(bundle: &Bundle) -> Bundle {
    let frame = reference::frame(bundle);
    let gathered = |number: usize| {
        let grey = |at: usize| (at * (number % 89 + 5) % 101) as f32 / 25.0 - 2.0;
        let share = (number * 37 % 101) as f32 / 101.0;
        let scores = model::LABELS.iter().map(|label| (format!("score/{label}"), share)).collect();
        let embedding = (0..8).map(|at| share * at as f32).collect();
        let seen = Seen { input: (0..64 * 64).map(grey).collect(), embedding, scores };
        Gathered::of(seen, &frame).unwrap()
    };
    let images: Vec<Gathered> = (0..120).map(gathered).collect();
    reference::put(bundle, &images)
}

#[test]
fn people_log_in_see_what_comes_and_need_no_mouse() {
    let (python, axe) = match browser::tools() {
        Ok(tools) => tools,
        Err(missing) => return skip::because(missing),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut add = Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["user", "add", "ada", "--role", "operate", "--file"])
        .arg(folder.path().join("users.toml"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(add.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(add.wait().unwrap().success());
    let bundle = folder.path().join("answers.bundle");
    fs::write(&bundle, drifts(&model::seal(1, true)).to_bytes().unwrap()).unwrap();
    // Refuses what comes of the first three images, a report and a picture each, and takes the rest.
    let archive = Archive::start();
    archive.inside().manners.acts.extend([Act::Status(0xc000); 6]);
    let destinations = format!(
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{}\"",
        archive.address
    );
    let looks_on = model::write(folder.path(), 2);
    let shadow = format!("[shadow]\npath = {:?}", looks_on.to_str().unwrap());
    let daemon = Daemon::start_in(
        folder,
        Settings {
            bundle: &model::trusted(&bundle),
            dicom: &format!("{destinations}\n{shadow}\n{ROOM}"),
            http: "users = \"users.toml\"\nopen_on_loopback = false",
            ..Settings::default()
        },
    );
    daemon.wait("a bundle that looks on", |daemon| {
        daemon.log().contains("test-2 1.2.0").then_some(())
    });
    let mut journal = Journal::open(&daemon.folder.path().join("room")).unwrap();
    let technique = Technique { kilovolts: Some(1_250), ..Technique::default() };
    let exposure = Exposure {
        controller: 2,
        epoch: 0,
        sequence: 4711,
        outcome: Outcome::Complete,
        age: None,
        clock: None,
        technique,
        subject: None,
        repeats: None,
    };
    journal.tell(exposure).unwrap();
    for seed in 0..3 {
        assert_eq!(Scu::associate(daemon.dicom).store(&format!("1.2.{seed}"), seed), 0);
    }
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&shots).unwrap();
    let mut walk = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page.py"))
        .arg(format!("http://{}/", daemon.http))
        .args([&axe, &shots])
        .args(["ada", PASSWORD])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(walk.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if line == "send" {
            assert_eq!(Scu::associate(daemon.dicom).store("1.2.9", 9), 0);
        }
    }
    let output = walk.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", daemon.log());
    // One that was refused, sent again from the page; two of the image that came last.
    assert_eq!(archive.uids().len(), 3, "{}", daemon.log());
    let audit = fs::read_to_string(daemon.folder.path().join("spool/audit.log")).unwrap();
    for decision in ["retry", "drop"] {
        assert!(audit.contains(&format!("\"decision\":\"{decision}\"")), "{audit}");
    }
    assert!(audit.contains("\"ada\"") && !audit.contains("replaced"), "{audit}");
}
