//! The controller in C: compiled as a maker of controllers would, and run against a real agent over a line.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use exposures::{Event, LampFile, Reader, Shown};
use protocol::Lamp;
use protocol::exposure::Outcome;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::Agent;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/controller.c")
}

/// A compiler for C is what Rust links with: it is there.
fn compiled(folder: &Path) -> PathBuf {
    let program = folder.join("controller");
    let strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1"];
    let made = Command::new("cc").args(strict).arg("-o").arg(&program).arg(source()).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    program
}

fn run(program: &Path, line: &Path, words: [&str; 3]) -> Output {
    Command::new(program).arg(line).args(words).output().unwrap()
}

#[test]
fn a_controller_in_c_tells_of_exposures_and_reads_the_lamp() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path());
    let config = "[listen]\npty = \"link\"\nplain = true\n[exposures]\nfolder = \"exposures\"\n";
    let agent = Agent::start(folder.path(), config);
    let room = folder.path().join("exposures");
    let line = folder.path().join("link");
    let mut daemon = LampFile::open(&room).unwrap();
    // Sequence 0: a message with many zeros in a row, for COBS.
    for (sequence, lamp, missing) in
        [("0", Lamp::Idle, 0), ("7", Lamp::Urgent, 300), ("4294967295", Lamp::Trouble, 0)]
    {
        daemon.show(Shown { lamp, missing, unexplained: 0 }).unwrap();
        let told = run(&program, &line, [sequence, "125.0", "2.5"]);
        assert!(told.status.success(), "{told:?} {}", agent.log());
        assert_eq!(String::from_utf8(told.stdout).unwrap(), format!("{lamp} {missing}\n"));
    }
    // What the box refuses, it says with its exit status.
    let wild = run(&program, &line, ["8", "900.0", "2.5"]);
    assert_eq!((wild.status.code(), &wild.stdout[..]), (Some(1), &b""[..]), "{wild:?}");
    let noted: Vec<_> = Reader::new(&room, 1).read().unwrap().entries;
    let exposures = noted.iter().map(|entry| match entry.event {
        Event::Exposure(exposure) => exposure,
        other => panic!("{other:?}"),
    });
    let exposures: Vec<_> = exposures.collect();
    assert_eq!(exposures.iter().map(|e| e.sequence).collect::<Vec<_>>(), [0, 7, u32::MAX]);
    let technique = exposures[1].technique;
    assert_eq!((technique.kilovolts, technique.charge), (Some(1_250), Some(2_500)));
    assert_eq!((exposures[1].outcome, exposures[1].age), (Outcome::Complete, Some(0)));
}

#[test]
fn a_box_that_does_not_answer_is_said_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path());
    let missing = run(&program, &folder.path().join("no-line"), ["1", "80", "1"]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}

#[test]
fn the_example_is_as_short_as_the_documentation_says() {
    assert!(fs::read_to_string(source()).unwrap().lines().count() <= 150);
}
