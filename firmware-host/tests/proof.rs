//! A bundle is confirmed on the daemon's word and on nothing else: the daemon is played here, in every way that it can
//! be away, be wrong, or be of another time.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use protocol::{BootId, Digest, RUNNING_FILE, Running, SlotId};
use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{Agent, bundle, key, machine_says, states, sysroot, until};

/// Makes another word of the daemon's.
type Change = fn(&mut Running);

/// An agent in second 1000 of its machine's third start, that believes in the machine of the test.
fn agent(folder: &Path, trial: &str) -> Agent {
    machine_says(folder, 3, 1000);
    Agent::start(folder, &format!("{}[trial]\n{trial}", sysroot(folder)))
}

/// Pushes and activates a bundle.
fn activate(agent: &Agent, folder: &Path, version: &str) {
    let path = folder.join(version);
    fs::write(&path, bundle(version, 10_000, Some(&key()))).unwrap();
    agent.ok(&["push", path.to_str().unwrap()]);
    agent.ok(&["activate"]);
}

fn refusal(agent: &Agent) -> String {
    let refused = agent.refused(&["confirm"]);
    assert_eq!(refused["code"], "unproven", "{refused}");
    refused["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_trial_is_confirmed_by_nothing_but_a_fresh_and_matching_word_of_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "images = 2\nmax_celsius = 80.0\nmin_free = 1000\nsilence = \"30s\"\n";
    let agent = agent(folder.path(), settings);
    activate(&agent, folder.path(), "1.0.0");
    let good = |word: &mut Running| word.answered = 2;
    let wrong: [(&str, Change); 15] = [
        ("the daemon runs slot b, on trial is slot a", |word| word.slot = SlotId::B),
        ("the daemon runs bundle 0505", |word| word.digest = Digest([5; 32])),
        ("another start of the box", |word| word.boot_id = BootId([2; 16])),
        ("another start of the box", |word| word.boot_id = BootId::UNKNOWN),
        ("another trial", |word| word.generation -= 1),
        ("another trial", |word| word.generation += 1),
        ("no golden vector", |word| word.golden_vectors = 0),
        ("was told to stop", |word| word.stopped = true),
        ("1 images were answered, expected 2", |word| word.answered = 1),
        ("last heard of 31 s ago", |word| {
            word.written_seconds -= 31;
            word.loaded_seconds -= 31;
        }),
        ("of second 1001", |word| word.written_seconds += 1),
        ("of second 18446744073709551615", |word| word.loaded_seconds = u64::MAX),
        ("80.5", |word| word.celsius = Some(80.5)),
        ("None degrees", |word| word.celsius = None),
        ("999", |word| word.free = Some(999)),
    ];
    assert!(refusal(&agent).contains("has not said what it runs"));
    for (said, change) in wrong {
        agent.says(|word| {
            good(word);
            change(word);
        });
        let error = refusal(&agent);
        assert!(error.contains(said), "{error:?} without {said:?}");
        let lacks = agent.ok(&["trial"])["on_trial"]["lacks"].clone();
        assert!(lacks.as_array().unwrap().iter().any(|lack| lack.as_str().unwrap().contains(said)));
        assert_eq!(agent.states(), states("trial", "empty", "a"));
    }
    let file = folder.path().join("slots").join(RUNNING_FILE);
    agent.says(good);
    let whole = fs::read(&file).unwrap();
    for garbled in [&b""[..], b"{}", &whole[1..], &[&whole[..], &[b' '; 1 << 20]].concat(), b"\xff"]
    {
        fs::write(&file, garbled).unwrap();
        assert!(refusal(&agent).contains("running.json"));
    }
    assert_eq!(agent.states(), states("trial", "empty", "a"));
    // The daemon lives, and then a power cut: what it said before counts no more.
    agent.says(good);
    agent.kill();
    machine_says(folder.path(), 4, 1000);
    let agent = Agent::start(folder.path(), "");
    assert!(refusal(&agent).contains("another start of the box"));
    agent.says(good);
    assert!(agent.ok(&["trial"])["on_trial"]["lacks"].as_array().unwrap().is_empty());
    agent.ok(&["confirm"]);
    assert_eq!(agent.states(), states("confirmed", "empty", "a"));
    assert_eq!(agent.ok(&["trial"])["forced"], Value::Array(vec![]));
}

#[test]
fn a_soak_takes_its_time_by_a_clock_that_nobody_can_set() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    let config = fs::read_to_string(folder.path().join("agent.toml")).unwrap();
    fs::write(folder.path().join("agent.toml"), config.replace("\"0s\"", "\"2m\"")).unwrap();
    agent.kill();
    let agent = Agent::start(folder.path(), "");
    activate(&agent, folder.path(), "1.0.0");
    for seconds in [1000, 1119] {
        machine_says(folder.path(), 3, seconds);
        agent.says(|word| word.loaded_seconds = 1000);
        let error = refusal(&agent);
        assert!(
            error.contains(&format!("run for {} s, expected 120 s", seconds - 1000)),
            "{error}"
        );
    }
    machine_says(folder.path(), 3, 1120);
    agent.says(|word| word.loaded_seconds = 1000);
    agent.ok(&["confirm"]);
}

#[test]
fn a_confirm_by_force_needs_a_reason_and_is_told_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    activate(&agent, folder.path(), "1.0.0");
    assert_eq!(agent.verb(&["confirm", "--force"]).status.code(), Some(2));
    assert_eq!(agent.verb(&["confirm", "--reason", "why"]).status.code(), Some(2));
    agent.refused(&["confirm", "--force", "--reason", " "]);
    assert_eq!(agent.states(), states("trial", "empty", "a"));
    agent.ok(&["confirm", "--force", "--reason", "a workbench without a daemon"]);
    assert_eq!(agent.states(), states("confirmed", "empty", "a"));
    assert!(agent.log().contains("BY FORCE: a workbench without a daemon"));
    agent.kill();
    machine_says(folder.path(), 4, 10);
    let agent = Agent::start(folder.path(), "");
    let forced = agent.ok(&["trial"])["forced"].clone();
    assert_eq!(
        (&forced[0]["slot"], &forced[0]["reason"]),
        (&"a".into(), &"a workbench without a daemon".into())
    );
    assert!(forced[0]["lacked"].as_str().unwrap().contains("has not said"), "{forced}");
    assert_eq!(agent.ok(&["telemetry"])["forced"], forced);
    let text = support::run(&[&["slots"][..], &agent.way()].concat());
    assert!(String::from_utf8(text.stdout).unwrap().contains("BY FORCE"));
}

#[test]
fn a_box_that_may_confirms_by_itself_what_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "confirm = \"automatic\"\nimages = 1\n");
    activate(&agent, folder.path(), "1.0.0");
    agent.says(|_| {});
    assert_eq!(agent.ok(&["trial"])["on_trial"]["automatic"], true);
    assert_eq!(agent.states(), states("trial", "empty", "a"));
    agent.says(|word| word.answered = 1);
    until("the confirm", || (agent.states() == states("confirmed", "empty", "a")).then_some(()));
    assert_eq!(agent.ok(&["trial"])["forced"], Value::Array(vec![]));
}

#[test]
fn a_bundle_that_the_daemon_speaks_ill_of_goes_and_the_old_one_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    activate(&agent, folder.path(), "1.0.0");
    agent.says(|_| {});
    agent.ok(&["confirm"]);
    activate(&agent, folder.path(), "1.1.0");
    let slots = folder.path().join("slots");
    let line = protocol::LogLine {
        number: 0,
        nanos: 1,
        level: protocol::Level::Error,
        target: "runtime".into(),
        message: "the key of a stranger".into(),
    };
    fs::write(slots.join("daemon.log"), serde_json::to_string(&line).unwrap() + "\n").unwrap();
    agent.says(|word| {
        word.golden_vectors = 0;
        word.failures = 1;
        word.failure = Some("not signed by a trusted key".into());
    });
    until("the end of the trial", || {
        (agent.states() == states("confirmed", "bad", "a")).then_some(())
    });
    let failure = agent.ok(&["slots"])["last_failure"].clone();
    assert_eq!(failure["cause"], "unhealthy");
    assert!(
        failure["detail"].as_str().unwrap().contains("not signed by a trusted key"),
        "{failure}"
    );
    // The evidence: reason, the daemon's word, the end of both logs.
    let out = folder.path().join("dump");
    until("the evidence", || fs::metadata(slots.join("evidence.log")).ok());
    agent.ok(&["dump", "--out", out.to_str().unwrap()]);
    let text = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert!(text("daemon.jsonl").contains("the key of a stranger"), "{}", text("daemon.jsonl"));
    for said in
        ["unhealthy: 1 failures", "golden_vectors", "agent firmware_host", "the key of a stranger"]
    {
        assert!(text("evidence.jsonl").contains(said), "{said} in {}", text("evidence.jsonl"));
    }
    let logs = support::run(&[&["logs", "--daemon"][..], &agent.way()].concat());
    assert!(String::from_utf8(logs.stdout).unwrap().contains("the key of a stranger"));
}

/// Scripts tell what to do next by the exit status.
#[test]
fn every_kind_of_failure_has_an_exit_status_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    let path = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let stranger = bundle("1.0.0", 100, Some(&bundle::SigningKey::from_bytes(&[9; 32])));
    let status = |arguments: &[&str]| agent.verb(arguments).status.code();
    assert_eq!(status(&["info"]), Some(0));
    assert_eq!(status(&["push", "/no/such"]), Some(1));
    assert_eq!(status(&["polish"]), Some(2));
    let nobody =
        support::run(&[&["info", "--device", "tcp://127.0.0.1:1"], &agent.way()[2..]].concat());
    assert_eq!(nobody.status.code(), Some(3));
    // A peer that takes the connection and never speaks.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", silent.local_addr().unwrap());
    let waits = ["info", "--device", &address, "--timeout", "100ms"];
    let waits = support::run(&[&waits[..], &agent.way()[2..]].concat());
    assert_eq!(waits.status.code(), Some(4));
    assert_eq!(status(&["rollback"]), Some(6));
    assert_eq!(status(&["push", &path("strange", &stranger)]), Some(8));
    activate(&agent, folder.path(), "1.0.0");
    assert_eq!(status(&["confirm"]), Some(7));
    let help = support::run(&["--help"]).stdout;
    assert!(String::from_utf8(help).unwrap().contains("7  unproven"));
}

#[test]
fn a_daemon_that_dies_too_often_or_falls_silent_ends_the_trial() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "attempts = 1\nsilence = \"30s\"\n");
    activate(&agent, folder.path(), "1.0.0");
    let left = |agent: &Agent| agent.ok(&["slots"])["slots"][0]["attempts_left"].as_u64();
    agent.says(|word| word.process = 10);
    until("the first process to be heard", || agent.log().contains("process 10").then_some(()));
    // Told to stop, and started again: that is nobody's fault.
    agent.says(|word| (word.process, word.stopped) = (10, true));
    agent.says(|word| word.process = 11);
    until("the next process to be heard", || agent.log().contains("process 11").then_some(()));
    assert_eq!(left(&agent), Some(1));
    // One died while no agent ran: the next one's word says so.
    agent.kill();
    let died = |word: &mut Running| (word.process, word.deaths) = (12, 1);
    machine_says(folder.path(), 3, 1000);
    let agent = Agent::start(folder.path(), "");
    agent.says(died);
    until("the attempt", || (left(&agent) == Some(0)).then_some(()));
    agent.kill();
    let agent = Agent::start(folder.path(), "");
    agent.says(died);
    until("the process to be heard", || {
        (agent.log().matches("process 12").count() == 2).then_some(())
    });
    assert_eq!(left(&agent), Some(0), "a death counts once, whoever restarts");
    assert_eq!(agent.states(), states("trial", "empty", "a"));
    agent.says(|word| (word.process, word.deaths) = (13, 2));
    until("the end of the trial", || {
        (agent.states() == states("bad", "empty", "none")).then_some(())
    });
    assert_eq!(
        agent.ok(&["slots"])["last_failure"]["cause"],
        "started too often without a confirm"
    );

    activate(&agent, folder.path(), "1.1.0");
    agent.says(|word| word.process = 14);
    until("the process to be heard", || agent.log().contains("process 14").then_some(()));
    // Two minutes for loading, half a minute of silence, and what it said at second 1000.
    machine_says(folder.path(), 3, 1181);
    // Both went to slot a: nothing runs, so that both are free.
    until("the end of the trial", || {
        (agent.states() == states("bad", "empty", "none")).then_some(())
    });
    let failure = agent.ok(&["slots"])["last_failure"].clone();
    assert!(
        failure["detail"].as_str().unwrap().contains("no word of the daemon for 2m 30s"),
        "{failure}"
    );
}
