//! A tap between a real agent and real verbs; and the agent's log as programs read it.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use firmware_host::link::{Direction, Tape};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{Agent, run, until};

/// `firmware-host record`, which ends by itself.
struct Tap {
    child: Child,
    out: String,
    ready: String,
}

impl Tap {
    fn start(folder: &Path, listen: &str, to: &str, more: &[&str]) -> Self {
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (out, ready) = (path("tape"), path("tap.ready"));
        let words =
            ["record", "--listen", listen, "--to", to, "--out", &out, "--ready-file", &ready];
        let child = Command::new(env!("CARGO_BIN_EXE_firmware-host"))
            .args(words)
            .args(more)
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, out, ready }
    }

    /// Where it listens.
    fn ready(&self) -> Value {
        let text = until("the tap listens", || fs::read(&self.ready).ok());
        serde_json::from_slice(&text).unwrap()
    }

    /// Its document, and what it wrote down.
    fn end(self) -> (Value, Vec<Tape>) {
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let tape = Tape::read(&fs::read(self.out).unwrap()).unwrap();
        (serde_json::from_slice(&output.stdout).unwrap(), tape)
    }
}

fn bytes(tape: &[Tape], direction: Direction) -> usize {
    tape.iter().filter(|piece| piece.direction == direction).map(|piece| piece.bytes.len()).sum()
}

#[test]
fn what_a_controller_says_over_a_bare_line_is_written_down_and_can_be_said_again() {
    let folder = tempfile::tempdir().unwrap();
    let listen = "[listen]\ntcp = \"127.0.0.1:0\"\npty = \"link\"\nplain = true\n";
    let agent = Agent::start(folder.path(), listen);
    let (tapped, there) = (folder.path().join("tapped"), folder.path().join("link"));
    let at = |path: &Path| format!("pty://{}", path.display());
    let tap = Tap::start(folder.path(), &at(&tapped), &at(&there), &["--for", "5s"]);
    tap.ready();
    let ping = ["ping", "--count", "3", "--device", &at(&tapped), "--plain", "--json"];
    let pinged = run(&ping);
    assert!(pinged.status.success(), "{pinged:?}\n{}", agent.log());
    let (told, tape) = tap.end();
    assert_eq!(told["to_box"], bytes(&tape, Direction::ToBox));
    assert_eq!(told["from_box"], bytes(&tape, Direction::FromBox));
    let out = folder.path().join("tape");
    let replay = ["replay", out.to_str().unwrap(), "--device", &at(&there), "--plain", "--json"];
    let again = run(&replay);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&again["calls"], &again["compared"]), (&4.into(), &4.into()), "{again}");
}

#[test]
fn of_tls_a_tap_writes_down_what_an_eavesdropper_sees_and_replay_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let tap = Tap::start(folder.path(), "tcp://127.0.0.1:0", &agent.address, &[]);
    let between = format!("tcp://{}", tap.ready()["tcp"].as_str().unwrap());
    let slots = run(&[&["slots", "--json", "--device", &between], &agent.way()[2..]].concat());
    assert!(slots.status.success(), "{slots:?}");
    let (_, tape) = tap.end();
    assert!(bytes(&tape, Direction::ToBox) > 300 && bytes(&tape, Direction::FromBox) > 300);
    let all: Vec<u8> = tape.iter().flat_map(|piece| piece.bytes.clone()).collect();
    let device = agent.ok(&["info"])["device"].as_str().unwrap().to_owned();
    assert!(!all.windows(device.len()).any(|piece| piece == device.as_bytes()), "in the clear");
    let tape = folder.path().join("tape");
    let refused = agent.refused(&["replay", tape.to_str().unwrap()]);
    assert!(refused["error"].as_str().unwrap().contains("outside of TLS"), "{refused}");
    let again = ["record", "--listen", "tcp://127.0.0.1:0", "--to", &agent.address, "--out"];
    let again = run(&[&again[..], &[tape.to_str().unwrap(), "--for", "1s"]].concat());
    assert_eq!(again.status.code(), Some(1), "no recording is written over: {again:?}");
}

#[test]
fn an_agent_logs_a_json_line_a_line_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    agent.kill();
    let (config, ready) = (folder.path().join("agent.toml"), folder.path().join("again.ready"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_firmware-host"))
        .args(["--json", "agent", "--config"])
        .arg(&config)
        .arg("--ready-file")
        .arg(&ready)
        .stderr(fs::File::create(folder.path().join("json.log")).unwrap())
        .spawn()
        .unwrap();
    until("the agent is ready", || fs::read(&ready).ok());
    child.kill().unwrap();
    child.wait().unwrap();
    let log = fs::read_to_string(folder.path().join("json.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listens = lines.iter().find(|line| line["message"].as_str().unwrap().contains("listens"));
    let listens = listens.unwrap();
    assert_eq!(
        (&listens["level"], &listens["target"]),
        (&"info".into(), &"firmware_host::agent".into())
    );
    assert!(listens["at"].as_str().unwrap().ends_with('Z'), "{listens}");
}
