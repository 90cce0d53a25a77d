//! A controller and a box that are none, over a real line, with everything going wrong that may.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use exposures::{Event, Reader};
use protocol::exposure::Outcome;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use support::{Agent, run, until};

const ROOM: &str = "[exposures]\nfolder = \"exposures\"\n";

/// A line without TLS for the controller, and TCP for everybody else.
const BOTH: &str = "[listen]\ntcp = \"127.0.0.1:0\"\npty = \"link\"\nplain = true\n";

/// A simulated box, killed when dropped.
struct SimulatedBox(Child);

impl SimulatedBox {
    fn start(scene: &Path) -> (Self, Value) {
        let ready = scene.with_extension("ready");
        let child = Command::new(env!("CARGO_BIN_EXE_firmware-host"))
            .args(["simulate", "--config"])
            .arg(scene)
            .arg("--ready-file")
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let addresses = until("the simulated box listens", || fs::read(&ready).ok());
        (Self(child), serde_json::from_slice(&addresses).unwrap())
    }
}

impl Drop for SimulatedBox {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)).unwrap()
}

fn play(folder: &Path, scene: &str, way: &[&str]) -> Output {
    let path: PathBuf = folder.join("scene.toml");
    fs::write(&path, scene).unwrap();
    run(&[&["simulate", "--json", "--config", path.to_str().unwrap()], way].concat())
}

/// One that went well.
fn played(folder: &Path, scene: &str, way: &[&str]) -> Value {
    let output = play(folder, scene, way);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn noted(room: &Path) -> Vec<(u32, Outcome)> {
    let entries = Reader::new(room, 1).read().unwrap().entries;
    let exposures = entries.iter().filter_map(|entry| match entry.event {
        Event::Exposure(exposure) => Some((exposure.sequence, exposure.outcome)),
        _ => None,
    });
    exposures.collect()
}

#[test]
fn the_example_controller_and_the_example_box_work_together() {
    let folder = tempfile::tempdir().unwrap();
    let scene = folder.path().join("box.toml");
    fs::write(&scene, example("box.toml")).unwrap();
    let keys = folder.path().join("sim/keys");
    support::admit_us(&keys);
    let (_box, addresses) = SimulatedBox::start(&scene);
    let device = format!("pty://{}", addresses["pty"].as_str().unwrap());
    let controller = example("controller.toml")
        .replace("pty://sim/link", &device)
        .replace("every = \"200ms\"", "every = \"1ms\"");
    let summary = played(folder.path(), &controller, &["--plain"]);
    assert_eq!(
        (&summary["played"]["told"], &summary["played"]["refused"]),
        (&10.into(), &0.into())
    );
    let tcp = format!("tcp://{}", addresses["tcp"].as_str().unwrap());
    let (key, ours) = (addresses["key"].as_str().unwrap(), keys.join("ours.key"));
    let way = ["--json", "--device", &tcp, "--box-key", key, "--key", ours.to_str().unwrap()];
    let room = run(&[&["room"][..], &way].concat());
    let room: Value = serde_json::from_slice(&room.stdout).unwrap();
    assert_eq!(room["latest"]["sequence"], 10, "{room}");
    let telemetry = run(&[&["telemetry"][..], &way].concat());
    let telemetry: Value = serde_json::from_slice(&telemetry.stdout).unwrap();
    assert_eq!(telemetry["temperatures"][0]["celsius"], 45.0);
    // Whose made root tells of no cores.
    assert_eq!(telemetry["profile"]["name"], "generic", "{telemetry}");
    assert_eq!(telemetry["profile"]["heat"]["derating"], "none", "{telemetry}");
    until("the first result is shown", || {
        let room = run(&[&["room"][..], &way].concat());
        let room: Value = serde_json::from_slice(&room.stdout).unwrap();
        (room["lamp"] == "ready").then_some(())
    });
}

#[test]
fn every_exposure_over_a_bad_line_is_noted_once_whatever_goes_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &format!("{BOTH}{ROOM}"));
    let scene = format!(
        "seed = 5\n[controller]\ndevice = \"{}\"\nexposures = 60\nevery = \"0s\"\nsilence = \"100ms\"\n\
         [controller.faults]\ndrop = 0.1\nduplicate = 0.2\nflip = 0.1\ndelay = 0.05\ndelay_for = \"5ms\"\n\
         aborted = 0.2\n",
        format_args!("pty://{}", folder.path().join("link").display())
    );
    let summary = played(folder.path(), &scene, &["--plain"]);
    let link = &summary["link"];
    for wrong in ["dropped", "duplicated", "flipped", "delayed"] {
        assert!(link[wrong].as_u64().unwrap() > 0, "{wrong}: {summary}");
    }
    let noted = noted(&folder.path().join("exposures"));
    assert_eq!(noted.len(), 60);
    let sequences: BTreeSet<u32> = noted.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (1..=60).collect());
    let aborted = noted.iter().filter(|(_, outcome)| *outcome == Outcome::Aborted).count();
    assert_eq!(summary["played"]["aborted"], aborted);
    assert!(agent.ok(&["info"])["frames_dropped"].as_u64().unwrap() > 0);
}

#[test]
fn a_peer_that_vanishes_without_a_word_keeps_nobody_from_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[listen]\ntcp = \"127.0.0.1:0\"\nconnections = 2\nidle = \"1s\"\n{ROOM}");
    let agent = Agent::start(folder.path(), &config);
    let scene = format!(
        "[controller]\ndevice = \"{}\"\nexposures = 12\nevery = \"0s\"\nsilence = \"50ms\"\n\
         [controller.faults]\nhalf_open_after = 4\n",
        agent.address
    );
    let summary = played(folder.path(), &scene, &agent.way()[2..]);
    assert!(summary["played"]["connections"].as_u64().unwrap() >= 4, "{summary}");
    assert_eq!(noted(&folder.path().join("exposures")).len(), 12);
}

#[test]
fn a_peer_of_next_year_and_wild_values_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), ROOM);
    let scene = |fault: &str| {
        format!(
            "[controller]\ndevice = \"{}\"\nexposures = 2\nevery = \"0s\"\n[controller.faults]\n{fault}\n",
            agent.address
        )
    };
    let wild = played(folder.path(), &scene("out_of_range = 1.0"), &agent.way()[2..]);
    assert_eq!(wild["played"]["refused"], 2);
    assert!(wild["played"]["why"][0].as_str().unwrap().starts_with("tube voltage is 1501"));
    let newer = played(folder.path(), &scene("wrong_version = true"), &agent.way()[2..]);
    assert_eq!(newer["played"]["refused"], 2);
    let why = newer["played"]["why"][0].as_str().unwrap();
    assert!(why.contains("speaks protocol 1.") && why.contains("9.0"), "{why}");
    assert!(noted(&folder.path().join("exposures")).is_empty());
}

#[test]
fn images_are_sent_or_kept_back_as_asked_and_a_box_that_is_away_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), ROOM);
    let sent = folder.path().join("sent");
    fs::create_dir(&sent).unwrap();
    let scene = format!(
        "seed = 2\n[controller]\ndevice = \"{}\"\nexposures = 20\nevery = \"0s\"\n\
         image = [\"touch\", \"{}/{{sequence}}\"]\n[controller.faults]\nimage_missing = 0.3\n",
        agent.address,
        sent.display()
    );
    let summary = played(folder.path(), &scene, &agent.way()[2..]);
    let count = fs::read_dir(&sent).unwrap().count();
    assert_eq!(summary["played"]["images_sent"], count);
    assert!(count < 20 && summary["played"]["images_kept_back"] == 20 - count, "{summary}");
    let way = agent.way().map(String::from);
    let way: Vec<&str> = way[2..].iter().map(String::as_str).collect();
    agent.kill();
    let away = play(
        folder.path(),
        "[controller]\ndevice = \"tcp://127.0.0.1:9\"\nexposures = 1\npatience = \"200ms\"\n",
        &way,
    );
    assert_eq!(away.status.code(), Some(1));
    let nonsense = play(
        folder.path(),
        "[controller]\ndevice = \"tcp://h:1\"\nexposures = 1\n[controller.faults]\ndrop = 2\n",
        &way,
    );
    assert!(String::from_utf8_lossy(&nonsense.stderr).contains("2, expected a share from 0 to 1"));
}

#[test]
fn a_recording_said_again_to_the_same_box_is_answered_the_same_and_to_another_box_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), ROOM);
    let tape = folder.path().join("slots.tape");
    let tape = tape.to_str().unwrap();
    agent.ok(&["slots", "--record", tape]);
    let again = agent.ok(&["replay", tape]);
    assert_eq!(again["calls"], again["compared"]);
    assert!(again["calls"].as_u64().unwrap() >= 2, "{again}");
    let before = fs::read(tape).unwrap();
    let refused = agent.refused(&["slots", "--record", tape]);
    assert!(refused["error"].as_str().unwrap().contains("cannot record in"), "{refused}");
    assert_eq!(fs::read(tape).unwrap(), before);

    let other = tempfile::tempdir().unwrap();
    let bundle = other.path().join("b");
    fs::write(&bundle, support::bundle("1.0.0", 10_000, Some(&support::key()))).unwrap();
    let second = Agent::start(other.path(), ROOM);
    second.ok(&["push", bundle.to_str().unwrap()]);
    let differs = second.refused(&["replay", tape]);
    let error = differs["error"].as_str().unwrap();
    assert!(error.contains("answers differ; call 2 (slots)"), "{error}");

    let mut damaged = before;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(tape, damaged).unwrap();
    let error = agent.refused(&["replay", tape])["error"].to_string();
    assert!(error.contains("damaged at byte"), "{error}");
}

#[test]
fn a_dry_run_tells_what_would_come_of_it_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), ROOM);
    let bundle = folder.path().join("b");
    fs::write(&bundle, support::bundle("1.0.0", 10_000, Some(&support::key()))).unwrap();
    let bundle = bundle.to_str().unwrap();
    let dry = agent.ok(&["push", bundle, "--dry-run"]);
    assert_eq!((&dry["slot"], &dry["resumed"]), (&"a".into(), &0.into()));
    assert_eq!(agent.states(), support::states("empty", "empty", "none"));
    agent.refused(&["activate", "--dry-run"]);
    agent.ok(&["push", bundle]);
    let dry = agent.ok(&["activate", "--dry-run"]);
    assert_eq!((&dry["dry_run"], &dry["after"]["active"]), (&true.into(), &"a".into()));
    assert_eq!(agent.states(), support::states("verified", "empty", "none"));
    agent.refused(&["rollback", "--dry-run"]);
}

#[test]
fn words_are_completed_in_three_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell]);
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("dry-run") && script.contains("simulate"), "{shell}");
    }
}

/// The box hears every call, and half of its answers get lost or spoiled.
#[test]
fn a_box_whose_answers_get_lost_notes_every_exposure_once() {
    let folder = tempfile::tempdir().unwrap();
    let scene = folder.path().join("box.toml");
    let faults = "drop = 0.2\nduplicate = 0.2\nflip = 0.1\n";
    let worse = example("box.toml")
        .replace("drop = 0.0\nduplicate = 0.0\nflip = 0.0\n", faults)
        .replace("seed = 1", "seed = 3");
    assert!(worse.contains(faults));
    fs::write(&scene, worse).unwrap();
    support::admit_us(&folder.path().join("sim/keys"));
    let (_box, addresses) = SimulatedBox::start(&scene);
    let device = format!("pty://{}", addresses["pty"].as_str().unwrap());
    let controller = example("controller.toml")
        .replace("pty://sim/link", &device)
        .replace("exposures = 10", "exposures = 30")
        .replace("silence = \"1s\"", "silence = \"200ms\"")
        .replace("every = \"200ms\"", "every = \"1ms\"");
    let summary = played(folder.path(), &controller, &["--plain"]);
    assert_eq!(summary["played"]["told"], 30, "{summary}");
    assert!(
        summary["played"]["connections"].as_u64().unwrap() > 3,
        "nothing went wrong: {summary}"
    );
    let noted = noted(&folder.path().join("sim/exposures"));
    assert_eq!(
        noted.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
        (1..=30).collect::<Vec<_>>()
    );
}
