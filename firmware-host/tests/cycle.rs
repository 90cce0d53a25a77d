//! A real agent and real verbs over TCP: two slots through a full life.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use firmware_host::link::Link;
use firmware_host::{Device, Patience};
use keyring::fingerprint;
use protocol::Digest;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Agent, bundle, connect, key, machine_says, ours, run, states, sysroot, until};

const PATIENCE: Patience =
    Patience { silence: Duration::from_secs(20), call: Duration::from_secs(60) };

fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn signed(folder: &Path, version: &str) -> String {
    file(folder, version, &bundle(version, 100_000, Some(&key())))
}

/// Pushes, activates and confirms, the daemon having nothing to say against it.
fn install(agent: &Agent, bundle: &str) {
    agent.ok(&["push", bundle]);
    agent.ok(&["activate"]);
    agent.confirm();
}

fn device(agent: &Agent) -> Device {
    Device::open(Box::new(connect(agent.tcp())), PATIENCE).unwrap()
}

#[test]
fn two_slots_go_through_a_full_life() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (signed(folder.path(), "1.0.0"), signed(folder.path(), "1.1.0"));
    let agent = Agent::start(folder.path(), "");
    assert_eq!(agent.states(), states("empty", "empty", "none"));

    assert_eq!(agent.ok(&["push", &first])["slot"], "a");
    assert_eq!(agent.states(), states("verified", "empty", "none"));
    agent.ok(&["activate"]);
    assert_eq!(agent.states(), states("trial", "empty", "a"));
    agent.confirm();
    assert_eq!(agent.states(), states("confirmed", "empty", "a"));

    assert_eq!(agent.ok(&["push", &second])["slot"], "b");
    assert_eq!(agent.states(), states("confirmed", "verified", "a"));
    agent.ok(&["activate"]);
    assert_eq!(agent.states(), states("confirmed", "trial", "b"));
    agent.ok(&["verify"]);
    agent.ok(&["rollback", "--reason", "too many false alarms"]);
    assert_eq!(agent.states(), states("confirmed", "bad", "a"));

    let failure = &agent.ok(&["slots"])["last_failure"];
    assert_eq!(failure["detail"], "too many false alarms");
    assert_eq!(failure["bundle"]["release"], "1.1.0");
    // What the daemon reads.
    let slots = folder.path().join("slots");
    let copies = protocol::RECORD_FILES.map(|name| fs::read(slots.join(name)).unwrap());
    let record = protocol::newest([Some(&copies[0]), Some(&copies[1])]).unwrap().unwrap();
    let (slot, _) = record.running().unwrap();
    assert_eq!(fs::read(slots.join(slot.file_name())).unwrap(), fs::read(&first).unwrap());
}

#[test]
fn a_push_goes_on_where_a_killed_agent_left_off() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bundle("1.0.0", 20 << 20, Some(&key()));
    let path = file(folder.path(), "big", &bytes);
    let agent = Agent::start(folder.path(), "");
    let mut device = device(&agent);
    // The progress callback is the middle of the push.
    let mut agent = Some(agent);
    let pushed = device.push(&bytes, Digest(Sha256::digest(&bytes).into()), |progress| {
        if progress.received >= 17 << 20
            && let Some(agent) = agent.take()
        {
            agent.kill();
        }
    });
    assert!(pushed.unwrap_err().is_passing());

    let agent = Agent::start(folder.path(), "");
    let report = agent.ok(&["push", &path]);
    let resumed = report["resumed"].as_u64().unwrap();
    assert!(resumed >= 16 << 20 && resumed < bytes.len() as u64, "{report}");
    assert_eq!(agent.states(), states("verified", "empty", "none"));
    assert_eq!(agent.ok(&["push", &path])["resumed"], bytes.len());
}

#[test]
fn a_push_outlives_an_agent_that_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = signed(folder.path(), "1.0.0");
    let agent = Agent::start(folder.path(), "");
    let (address, way) = (agent.tcp().to_owned(), agent.way().map(String::from));
    agent.kill();
    let config = fs::read_to_string(folder.path().join("agent.toml")).unwrap();
    let config = config.replace("127.0.0.1:0", &address);
    let pushing = std::thread::spawn(move || {
        let way = way.iter().map(String::as_str);
        run(&["push", &path, "--retry", "50s"].into_iter().chain(way).collect::<Vec<_>>())
    });
    fs::write(folder.path().join("agent.toml"), config).unwrap();
    let agent = Agent::start(folder.path(), "");
    assert!(pushing.join().unwrap().status.success());
    assert_eq!(agent.states(), states("verified", "empty", "none"));
}

#[test]
fn one_flipped_byte_is_refused_and_nothing_is_activated() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    install(&agent, &signed(folder.path(), "1.0.0"));
    let mut bytes = bundle("1.1.0", 100_000, Some(&key()));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let path = file(folder.path(), "flipped", &bytes);

    let here = agent.refused(&["push", &path])["error"].as_str().unwrap().to_owned();
    assert!(here.contains("flipped") && here.contains("SHA-256"), "{here}");
    let there = agent.refused(&["push", &path, "--no-check"]);
    assert_eq!(there["code"], "verification");
    assert!(there["error"].as_str().unwrap().contains("model.onnx is damaged"), "{there}");
    assert_eq!(agent.states(), states("confirmed", "bad", "a"));
    agent.refused(&["activate"]);
    agent.refused(&["activate", "--slot", "b"]);
    assert!(!folder.path().join("slots/slot-b.partial").exists());
    assert_eq!(agent.ok(&["slots"])["last_failure"]["cause"], "damaged");

    install(&agent, &signed(folder.path(), "1.1.0"));
    assert_eq!(agent.states(), states("confirmed", "confirmed", "b"));
}

#[test]
fn only_bundles_of_a_trusted_key_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let stranger = bundle::SigningKey::from_bytes(&[9; 32]);
    let unsigned = file(folder.path(), "unsigned", &bundle("1.0.0", 1000, None));
    let strange = file(folder.path(), "strange", &bundle("1.0.0", 1000, Some(&stranger)));
    for path in [&unsigned, &strange] {
        let refusal = agent.refused(&["push", path])["error"].as_str().unwrap().to_owned();
        assert!(refusal.contains("trusted key"), "{refusal}");
    }
    agent.kill();
    let config = fs::read_to_string(folder.path().join("agent.toml")).unwrap();
    let config = config.replace("[bundles]", "[bundles]\nallow_unsigned = true");
    fs::write(folder.path().join("agent.toml"), config).unwrap();
    let agent = Agent::start(folder.path(), "");
    agent.ok(&["push", &unsigned]);
    assert!(agent.log().contains("NOT SIGNED"));
}

#[test]
fn a_bundle_that_fails_its_self_test_never_runs() {
    let folder = tempfile::tempdir().unwrap();
    // Golden vectors are reproduced by 1.0.0 only, it seems.
    let selftest = "[activate]\nselftest = [\"sh\", \"-c\", \"cmp \\\"$0\\\" ../good || { echo vector 3 differs; exit 1; }\", \"{bundle}\"]";
    let selftest = selftest.replace("../good", folder.path().join("1.0.0").to_str().unwrap());
    let agent = Agent::start(folder.path(), &selftest);
    install(&agent, &signed(folder.path(), "1.0.0"));
    agent.ok(&["push", &signed(folder.path(), "1.1.0")]);
    let refusal = agent.refused(&["activate"]);
    assert!(refusal["error"].as_str().unwrap().contains("vector 3 differs"), "{refusal}");
    assert_eq!(agent.states(), states("confirmed", "bad", "a"));
    assert_eq!(agent.ok(&["slots"])["last_failure"]["cause"], "self-test failed");
}

#[test]
fn a_trial_nobody_confirms_ends_by_itself_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "[trial]\ntimeout = \"400ms\"\n");
    agent.ok(&["push", &signed(folder.path(), "1.0.0")]);
    // Confirmed over the connection that activated it: on a busy machine another might come too late.
    let mut device = device(&agent);
    let sha256 = device.slots().unwrap().slots[0].sha256.unwrap();
    let id = || protocol::RequestId(firmware_host::random::random().unwrap());
    until("one confirm comes in time", || {
        device.push(&bundle("1.0.0", 100_000, Some(&key())), sha256, |_| {}).ok()?;
        device.activate(id(), sha256).ok()?;
        agent.says(|_| {});
        device.confirm(id(), sha256).ok()
    });
    agent.ok(&["push", &signed(folder.path(), "1.1.0")]);
    agent.ok(&["activate"]);
    until("the trial ends", || (agent.states() == states("confirmed", "bad", "a")).then_some(()));
    let failure = agent.ok(&["slots"])["last_failure"].clone();
    assert_eq!(failure["cause"], "not confirmed in time");
    assert!(failure["detail"].as_str().unwrap().contains("400ms"), "{failure}");
}

/// Only starts of the box count: an agent that is updated or restarted takes nothing from a trial.
#[test]
fn a_trial_survives_so_many_starts_of_the_box_and_a_confirmed_slot_any_number() {
    let folder = tempfile::tempdir().unwrap();
    let power_cut = |number| machine_says(folder.path(), number, 30);
    power_cut(1);
    let trial = format!("{}[trial]\nattempts = 2\n", sysroot(folder.path()));
    let mut agent = Agent::start(folder.path(), &trial);
    install(&agent, &signed(folder.path(), "1.0.0"));
    for number in 2..6 {
        agent.kill();
        power_cut(number);
        agent = Agent::start(folder.path(), "");
    }
    assert_eq!(agent.states(), states("confirmed", "empty", "a"));
    agent.ok(&["push", &signed(folder.path(), "1.1.0")]);
    agent.ok(&["activate"]);
    for (number, expected, left) in [
        (5, "trial", 2),
        (5, "trial", 2),
        (6, "trial", 1),
        (6, "trial", 1),
        (7, "trial", 0),
        (8, "bad", 0),
    ] {
        agent.kill();
        power_cut(number);
        agent = Agent::start(folder.path(), "");
        assert_eq!(agent.states().1, expected);
        let slot = agent.ok(&["slots"])["slots"][1].clone();
        assert_eq!(slot["attempts_left"].as_u64().unwrap_or(0), left, "start {number}");
    }
    assert_eq!(agent.states(), states("confirmed", "bad", "a"));
    let cause = agent.ok(&["slots"])["last_failure"]["cause"].clone();
    assert_eq!(cause, "started too often without a confirm");
}

#[test]
fn a_trial_whose_health_check_fails_ends() {
    let folder = tempfile::tempdir().unwrap();
    let trial =
        "[trial]\nhealth = [\"sh\", \"-c\", \"echo no daemon; exit 3\"]\nhealth_every = \"20ms\"\n";
    let agent = Agent::start(folder.path(), trial);
    agent.ok(&["push", &signed(folder.path(), "1.0.0")]);
    agent.ok(&["activate"]);
    until("the trial ends", || (agent.states() == states("bad", "empty", "none")).then_some(()));
    let failure = agent.ok(&["slots"])["last_failure"].clone();
    assert_eq!(failure["cause"], "unhealthy");
    assert!(failure["detail"].as_str().unwrap().contains("no daemon"), "{failure}");
}

#[test]
fn a_slot_damaged_on_the_disk_gives_way_to_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    install(&agent, &signed(folder.path(), "1.0.0"));
    install(&agent, &signed(folder.path(), "1.1.0"));
    agent.kill();
    let running = folder.path().join("slots/slot-b.bundle");
    let mut bytes = fs::read(&running).unwrap();
    bytes[5000] ^= 4;
    fs::write(&running, bytes).unwrap();
    let agent = Agent::start(folder.path(), "");
    assert_eq!(agent.states(), states("confirmed", "bad", "a"));
}

#[test]
fn a_downgrade_by_more_than_one_step_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        install(&agent, &signed(folder.path(), version));
    }
    let refusal = agent.refused(&["push", &signed(folder.path(), "1.0.0")]);
    assert!(refusal["error"].as_str().unwrap().contains("older than 1.1.0"), "{refusal}");
    assert_eq!(agent.states().2, "a");
}

#[test]
fn a_call_repeated_under_its_id_is_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    for version in ["1.0.0", "1.1.0"] {
        install(&agent, &signed(folder.path(), version));
    }
    let id = protocol::RequestId([3; 16]);
    let first = device(&agent).rollback(id, "once").unwrap();
    let again = device(&agent).rollback(id, "once").unwrap();
    assert_eq!(first, again);
    assert_eq!(agent.states(), states("confirmed", "verified", "a"));
}

#[test]
fn noise_on_the_line_is_counted_and_the_next_peer_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let mut noisy = connect(agent.tcp());
    let noise: Vec<u8> =
        (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    noisy.send(&noise, PATIENCE.silence).unwrap();
    noisy.send(b"\0", PATIENCE.silence).unwrap();
    // The same connection is good for a session afterwards.
    let mut device = Device::open(Box::new(noisy), PATIENCE).unwrap();
    device.ping(&[0; 40_000]).unwrap();
    assert!(agent.ok(&["info"])["frames_dropped"].as_u64().unwrap() > 100);
}

#[test]
fn a_peer_that_speaks_another_protocol_is_shown_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let mut link = connect(agent.tcp());
    link.send(&protocol::encode_frame(b""), PATIENCE.silence).unwrap();
    assert_eq!(link.receive(&mut [0; 100], PATIENCE.silence).unwrap(), 0);
}

#[test]
fn installing_the_same_bundle_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let bundle = signed(folder.path(), "1.0.0");
    install(&agent, &bundle);
    let record = agent.ok(&["slots"]);
    agent.ok(&["push", &bundle]);
    agent.ok(&["activate", &bundle]);
    agent.ok(&["confirm"]);
    assert_eq!(agent.ok(&["slots"]), record);
}

#[test]
fn a_box_is_discovered_unless_it_does_not_want_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let named = "[listen]\ntcp = \"127.0.0.1:0\"\n";
    let agent = Agent::start(folder.path(), named);
    let at = agent.address.strip_prefix("tcp://").unwrap();
    let boxes = || {
        let output = run(&["discover", "--to", at, "--time", "300ms", "--json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["boxes"].clone()
    };
    until("the box answers", || (boxes()[0]["address"] == agent.address.as_str()).then_some(()));
    // A broadcast reaches a box that is bound to one address of several, and it names that one.
    let bound = tempfile::tempdir().unwrap();
    let bound = Agent::start(bound.path(), "[listen]\ntcp = \"127.0.0.2:0\"\n");
    let port = bound.address.rsplit_once(':').unwrap().1;
    let everybody = format!("127.255.255.255:{port}");
    until("the broadcast is answered", || {
        let output = run(&["discover", "--to", &everybody, "--time", "300ms", "--json"]);
        let found = String::from_utf8(output.stdout).unwrap();
        found.contains(&bound.address).then_some(())
    });
    let shy = tempfile::tempdir().unwrap();
    let shy = Agent::start(shy.path(), &format!("{named}discoverable = false\n"));
    let at = shy.address.strip_prefix("tcp://").unwrap();
    let output = run(&["discover", "--to", at, "--time", "300ms", "--json"]);
    assert_eq!(output.stdout, b"{\"boxes\":[]}\n");
}

#[test]
fn what_the_box_knows_of_itself_can_be_read_and_dumped() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    install(&agent, &signed(folder.path(), "1.0.0"));
    assert_eq!(agent.ok(&["info"])["protocol"], "1.2");
    assert!(agent.ok(&["telemetry"])["memory_total"].as_u64().unwrap() > 0);
    assert_eq!(agent.ok(&["ping", "--count", "3"])["count"], 3);
    let speed = agent.ok(&["bench", "--time", "50ms"]);
    assert!(speed["to_box_bytes_per_second"].as_f64().unwrap() > 0.0);
    let lines = String::from_utf8(agent.verb(&["logs"]).stdout).unwrap();
    assert!(lines.lines().any(|line| line.contains("self-test")), "{lines}");
    let later = String::from_utf8(agent.verb(&["logs", "--from", "2"]).stdout).unwrap();
    let expected: Vec<&str> = lines.lines().skip(2).collect();
    assert_eq!(later.lines().take(expected.len()).collect::<Vec<_>>(), expected);

    let out = folder.path().join("dump");
    agent.ok(&["dump", "--out", out.to_str().unwrap()]);
    let slots: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("slots.json")).unwrap()).unwrap();
    assert_eq!(slots["slots"][0]["state"], "confirmed");
    assert!(fs::read_to_string(out.join("log.jsonl")).unwrap().contains("boot record"));
    agent.refused(&["dump", "--out", out.to_str().unwrap()]);
}

#[test]
fn errors_are_one_line_and_the_exit_status_tells_usage_from_failure() {
    let missing = run(&["push", "/no/such.bundle", "--device", "tcp://127.0.0.1:1"]);
    assert_eq!(missing.status.code(), Some(1));
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(
        text.starts_with("error: cannot read /no/such.bundle") && text.lines().count() == 1,
        "{text}"
    );
    let folder = tempfile::tempdir().unwrap();
    let of_nobody = &fingerprint(&ours().verifying_key());
    let key = folder.path().join("link.key").to_str().unwrap().to_owned();
    let nobody = ["slots", "--device", "tcp://127.0.0.1:1", "--json", "--key", &key, "--box-key"];
    let nobody = [&nobody[..], &[of_nobody]].concat();
    let keyless = String::from_utf8(run(&nobody).stderr).unwrap();
    assert!(keyless.contains("keygen") && keyless.contains(&key), "{keyless}");
    keyring::write_private_key(Path::new(&key), &ours()).unwrap();
    let nobody = run(&nobody);
    assert_eq!(nobody.status.code(), Some(3));
    assert!(String::from_utf8(nobody.stdout).unwrap().contains("tcp://127.0.0.1:1"));
    for usage in [&["slots"][..], &["slots", "--device", "box"], &["polish"]] {
        assert_eq!(run(usage).status.code(), Some(2), "{usage:?}");
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_its_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let listen = "slots = \"s\"\n[listen]\ntcp = \"127.0.0.1:0\"\n";
    let activate = "[activate]\nselftest = [\"true\"]\n";
    for (text, expected) in [
        (format!("{listen}[bundles]\n{activate}"), "trusted_keys"),
        (
            format!("{listen}colour = 1\n[bundles]\nallow_unsigned = true\n{activate}"),
            "line 4: unknown field `colour`",
        ),
        (format!("{listen}[bundles]\ntrusted_keys = [\"none.pub\"]\n{activate}"), "none.pub"),
        (
            format!("{listen}[bundles]\nallow_unsigned = true\n[activate]\nselftest = []\n"),
            "selftest is empty",
        ),
        (
            format!("{listen}idle = \"soon\"\n[bundles]\nallow_unsigned = true\n{activate}"),
            "duration \"soon\"",
        ),
    ] {
        let path = file(folder.path(), "agent.toml", text.as_bytes());
        let output = run(&["agent", "--config", &path]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected) && error.contains("agent.toml"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn two_agents_never_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Agent::start(folder.path(), "");
    let second = run(&["agent", "--config", folder.path().join("agent.toml").to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8(second.stderr).unwrap().contains("another agent"));
}
