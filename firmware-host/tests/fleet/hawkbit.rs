//! A real agent as a target of hawkBit: windows, cancels, consents, lost answers, restarts. The server is ours and
//! follows hawkBit's `DdiRootController`; `goosebit.rs` has somebody else's.

use crate::orders::{Hawkbit, State};
use crate::support::{Agent, bundle, image, key, states, until};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// An agent that asks `server`, with `more` in its `[fleet]`.
fn agent(folder: &Path, server: &Hawkbit, more: &str) -> Agent {
    let fleet =
        format!("[fleet]\nurl = {:?}\ncontroller = \"room-3\"\npoll = \"1s\"\n{more}", server.url);
    Agent::start(folder, &fleet)
}

fn server(version: &str) -> Hawkbit {
    Hawkbit::start("chest.swu", &image(version, 3 << 20))
}

fn memory(folder: &Path) -> Value {
    let text = fs::read(folder.join("slots/fleet.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

#[test]
fn an_order_is_carried_out_and_success_waits_for_the_confirm() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.0.0");
    let agent = agent(folder.path(), &server, "");
    until("the box says what it is", || {
        server.orders().seen.iter().any(|(what, _)| what.ends_with("/configData")).then_some(())
    });
    server.orders().action = Some(8);
    until("the trial", || (agent.states() == states("trial", "empty", "a")).then_some(()));
    assert_eq!(server.orders().state, State::Active);
    agent.confirm();
    until("the success", || (server.orders().state == State::Finished).then_some(()));
    let reports = server.reports("deploymentBase");
    assert_eq!(reports.last().unwrap(), "closed/success");
    assert_eq!(reports.iter().filter(|report| report.starts_with("closed")).count(), 1);
    let attributes = |orders: &crate::orders::Orders| {
        let told = orders.seen.iter().rev().find(|(what, _)| what.ends_with("/configData"));
        told.unwrap().1["data"].clone()
    };
    until("the box tells what runs", || {
        (attributes(&server.orders())["sw_version"] == "1.0.0").then_some(())
    });
    assert_eq!(attributes(&server.orders())["slot"], "a");
}

#[test]
fn a_download_goes_on_where_it_broke_off_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Hawkbit::start("chest.swu", &image("1.0.0", 36 << 20));
    server.orders().cut = Some(34 << 20);
    server.orders().action = Some(8);
    let first = agent(folder.path(), &server, "");
    until("most of it is durable", || {
        (first.ok(&["slots"])["slots"][0]["received"].as_u64() >= Some(16 << 20)).then_some(())
    });
    first.kill();
    let agent = agent(folder.path(), &server, "");
    until("the trial", || (agent.states().0 == "trial").then_some(()));
    let ranges = server.orders().ranges.clone();
    let from = ranges[0].strip_prefix("bytes=").unwrap().trim_end_matches('-');
    let from: usize = from.parse().unwrap();
    // What was durable, behind the description.
    assert!((16 << 20..34 << 20).contains(&from), "{ranges:?}");
}

#[test]
fn outside_of_the_maintenance_window_the_bundle_waits_in_its_slot() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.0.0");
    server.orders().window = Some("unavailable");
    server.orders().action = Some(8);
    let agent = agent(folder.path(), &server, "");
    until("the server hears that it waits", || {
        server.reports("deploymentBase").contains(&"downloaded/none".to_owned()).then_some(())
    });
    let polls = server.orders().seen.len();
    until("two more polls", || (server.orders().seen.len() > polls + 4).then_some(()));
    assert_eq!(agent.states(), states("verified", "empty", "none"));
    server.orders().window = Some("available");
    until("the trial", || (agent.states().0 == "trial").then_some(()));
}

#[test]
fn a_cancel_is_obeyed_before_the_activation_and_rejected_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.0.0");
    server.orders().update = "skip";
    server.orders().action = Some(8);
    let agent = agent(folder.path(), &server, "");
    until("the bundle is there", || (agent.states().0 == "verified").then_some(()));
    server.orders().state = State::Canceling;
    until("the cancel is obeyed", || (server.orders().state == State::Canceled).then_some(()));
    assert_eq!(server.reports("cancelAction"), ["closed/success"]);
    assert_eq!(agent.states(), states("verified", "empty", "none"));

    *server.orders() = crate::orders::Orders {
        action: Some(9),
        update: "forced",
        file: image("1.0.0", 3 << 20),
        file_name: "chest.swu".into(),
        ..Default::default()
    };
    until("the trial", || (agent.states().0 == "trial").then_some(()));
    until("the box knows", || memory(folder.path())["action"]["phase"].eq("Trial").then_some(()));
    server.orders().state = State::Canceling;
    until("the cancel is rejected", || {
        (server.reports("cancelAction") == ["rejected/none"]).then_some(())
    });
    assert_eq!(agent.states().0, "trial");
    agent.confirm();
    until("the success", || (server.orders().state == State::Finished).then_some(()));
}

#[test]
fn a_report_whose_answer_got_lost_is_not_sent_twice() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.0.0");
    server.orders().swallow = true;
    server.orders().action = Some(8);
    let agent = agent(folder.path(), &server, "");
    until("the trial", || (agent.states().0 == "trial").then_some(()));
    agent.confirm();
    until("the success", || (server.orders().state == State::Finished).then_some(()));
    until("the box forgets", || memory(folder.path())["action"].is_null().then_some(()));
    let closed = server.reports("deploymentBase").into_iter().filter(|r| r.starts_with("closed"));
    assert_eq!(closed.count(), 1);
}

#[test]
fn a_server_that_is_away_during_the_confirm_hears_of_it_later() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.0.0");
    server.orders().action = Some(8);
    let agent = agent(folder.path(), &server, "");
    until("the trial", || memory(folder.path())["action"]["phase"].eq("Trial").then_some(()));
    server.orders().away = true;
    agent.confirm();
    until("the box tried to tell", || {
        memory(folder.path())["action"]["phase"]["Ended"]["report"].eq("Sent").then_some(())
    });
    server.orders().away = false;
    until("the success", || (server.orders().state == State::Finished).then_some(()));
}

#[test]
fn a_restart_before_the_report_changes_nothing_about_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.0.0");
    server.orders().action = Some(8);
    let first = agent(folder.path(), &server, "");
    until("the trial", || memory(folder.path())["action"]["phase"].eq("Trial").then_some(()));
    first.kill();
    // Without the server, so that the confirm happens unseen by it.
    let alone = Agent::start(folder.path(), "[trial]\nattempts = 9\n");
    alone.confirm();
    alone.kill();
    let _agent = agent(folder.path(), &server, "");
    until("the success", || (server.orders().state == State::Finished).then_some(()));
    let polls = server.orders().seen.len();
    until("another poll", || (server.orders().seen.len() > polls).then_some(()));
    assert_eq!(
        server.reports("deploymentBase").last().unwrap(),
        "closed/success",
        "and no new try"
    );
}

#[test]
fn a_bundle_that_fails_its_self_test_is_a_failure_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.0.0");
    let fleet =
        format!("[fleet]\nurl = {:?}\ncontroller = \"room-3\"\npoll = \"1s\"\n", server.url);
    let activate = "[activate]\nselftest = [\"sh\", \"-c\", \"echo golden vector 3, output seg differs at 17; exit 1\"]\n";
    let agent = Agent::start(folder.path(), &format!("{activate}{fleet}"));
    let said = protocol::LogLine {
        number: 0,
        nanos: 1,
        level: protocol::Level::Warn,
        target: "runtime".into(),
        message: "the lamp is dim".into(),
    };
    let daemon = folder.path().join("slots").join(protocol::Journal::Daemon.file_name());
    fs::write(daemon, serde_json::to_string(&said).unwrap() + "\n").unwrap();
    server.orders().action = Some(8);
    until("the failure", || (server.orders().state == State::Error).then_some(()));
    let orders = server.orders();
    let (_, report) =
        orders.seen.iter().rfind(|(_, body)| body["status"]["execution"] == "closed").unwrap();
    let details: Vec<_> = report["status"]["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d.as_str().unwrap())
        .collect();
    assert!(details.iter().any(|line| line.contains("output seg differs at 17")), "{details:?}");
    assert!(details.iter().any(|line| line.starts_with("log: ")), "{details:?}");
    assert!(details.contains(&"daemon: Warn the lamp is dim"), "{details:?}");
    assert!(details.contains(&"now: no slot runs"), "{details:?}");
    drop(orders);
    assert_eq!(agent.states(), states("bad", "empty", "none"));
    let polls = server.orders().seen.len();
    until("another poll", || (server.orders().seen.len() > polls).then_some(()));
    assert_eq!(
        server.reports("deploymentBase").last().unwrap(),
        "closed/failure",
        "and no new try"
    );
}

#[test]
fn a_file_that_is_not_what_the_server_says_is_never_activated() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.0.0");
    server.orders().wrong_sha256 = true;
    server.orders().action = Some(8);
    let agent = agent(folder.path(), &server, "");
    until("the failure", || (server.orders().state == State::Error).then_some(()));
    assert_eq!(agent.states().0, "writing");
    let text = format!("{:?}", server.orders().seen);
    assert!(text.contains("the server says 00"), "{text}");
}

#[test]
fn a_stranger_s_bundle_is_refused_and_the_server_hears_why() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = bundle::SigningKey::from_bytes(&[9; 32]);
    let strange = crate::support::packed("1.0.0", &bundle("1.0.0", 1000, Some(&stranger)));
    let server = Hawkbit::start("chest.swu", &strange);
    server.orders().action = Some(8);
    let agent = agent(folder.path(), &server, "");
    until("the failure", || (server.orders().state == State::Error).then_some(()));
    assert_eq!(agent.states().0, "bad");
    let text = format!("{:?}", server.orders().seen);
    assert!(text.contains("not a trusted key"), "{text}");
}

#[test]
fn a_bundle_without_wrapping_is_taken_by_its_sha256() {
    let folder = tempfile::tempdir().unwrap();
    let server = Hawkbit::start("chest.bundle", &bundle("1.0.0", 100_000, Some(&key())));
    server.orders().action = Some(8);
    let agent = agent(folder.path(), &server, "");
    until("the trial", || (agent.states().0 == "trial").then_some(()));
}

#[test]
fn an_order_that_is_not_understood_fails_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = Hawkbit::start("chest.iso", b"something else");
    server.orders().action = Some(8);
    let _agent = agent(folder.path(), &server, "");
    until("the failure", || (server.orders().state == State::Error).then_some(()));
    let text = format!("{:?}", server.orders().seen);
    assert!(text.contains("expected one named .swu or .bundle"), "{text}");
}

#[test]
fn a_consent_is_given_only_where_the_configuration_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.0.0");
    server.orders().state = State::WaitsForConsent;
    server.orders().action = Some(8);
    let first = agent(folder.path(), &server, "");
    until("the box looks at it", || {
        let seen = &server.orders().seen;
        (seen.iter().filter(|(what, _)| what.contains("confirmationBase/8")).count() > 1)
            .then_some(())
    });
    assert_eq!(server.orders().state, State::WaitsForConsent);
    first.kill();
    let agent = agent(folder.path(), &server, "consent = true\n");
    until("the trial", || (agent.states().0 == "trial").then_some(()));
}

#[test]
fn a_rollback_at_the_box_is_told_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("1.1.0");
    let agent = agent(folder.path(), &server, "");
    let first = folder.path().join("1.0.0");
    fs::write(&first, bundle("1.0.0", 1000, Some(&key()))).unwrap();
    agent.ok(&["push", first.to_str().unwrap()]);
    agent.ok(&["activate"]);
    agent.confirm();
    server.orders().action = Some(8);
    until("the trial", || (agent.states().1 == "trial").then_some(()));
    agent.ok(&["rollback", "--reason", "too many false alarms"]);
    until("the failure", || (server.orders().state == State::Error).then_some(()));
    let text = format!("{:?}", server.orders().seen);
    assert!(text.contains("too many false alarms"), "{text}");
    // After the success the action is over: the attributes say it.
    server.orders().state = State::Active;
    server.orders().action = Some(9);
    until("the trial", || (agent.states().1 == "trial").then_some(()));
    agent.confirm();
    until("the success", || (server.orders().state == State::Finished).then_some(()));
    let told = |words: &str| {
        let orders = server.orders();
        let last = orders.seen.iter().rfind(|(what, _)| what.ends_with("/configData"));
        last.is_some_and(|(_, told)| told["data"]["runs"].as_str().unwrap().contains(words))
    };
    until("the server knows what runs", || told("slot b runs chest 1.1.0").then_some(()));
    agent.ok(&["rollback", "--reason", "worse than before"]);
    until("the server knows what runs now", || told("slot a runs chest 1.0.0").then_some(()));
}

#[test]
fn however_often_the_agent_is_killed_the_server_hears_one_outcome() {
    let server = Hawkbit::start("chest.swu", &image("1.0.0", 3 << 20));
    let folder = tempfile::tempdir().unwrap();
    let mut seed = 7_u32;
    let mut random = |most: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % most
    };
    server.orders().cut = Some(1_500_000);
    server.orders().action = Some(8);
    let more = "[trial]\nattempts = 99\n";
    for _ in 0..25 {
        let agent = agent(folder.path(), &server, more);
        std::thread::sleep(Duration::from_millis(random(250).into()));
        if agent.states().0 == "trial" && random(3) == 0 {
            agent.confirm();
        }
        agent.kill();
    }
    let agent = agent(folder.path(), &server, more);
    until("the end", || {
        if agent.states().0 == "trial" {
            agent.confirm();
        }
        (server.orders().state == State::Finished).then_some(())
    });
    let closed = server.reports("deploymentBase").into_iter().filter(|r| r.starts_with("closed"));
    assert_eq!(closed.collect::<Vec<_>>(), ["closed/success"]);
    assert_eq!(agent.states(), states("confirmed", "empty", "a"));
}

#[test]
fn tokens_are_sent_and_never_logged() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "s3cr3t-t0ken\n").unwrap();
    let server = server("1.0.0");
    server.orders().action = Some(8);
    let agent = agent(folder.path(), &server, "gateway_token = \"token\"\n");
    until("the trial", || (agent.states().0 == "trial").then_some(()));
    let credentials = server.orders().credentials.clone();
    assert!(!credentials.is_empty());
    assert!(credentials.iter().all(|header| header == "GatewayToken s3cr3t-t0ken"));
    assert!(!agent.log().contains("s3cr3t"), "{}", agent.log());
}

#[test]
fn an_agent_that_could_never_reach_its_server_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = "slots = \"s\"\n[listen]\ntcp = \"127.0.0.1:0\"\n[bundles]\nallow_unsigned = true\n[activate]\nselftest = [\"true\"]\n[fleet]\n";
    for (fleet, expected) in [
        ("url = \"http://hawkbit.example\"\n", "http is for loopback alone"),
        ("url = \"https://hawkbit.example\"\nca = \"none.pem\"\n", "none.pem"),
        ("url = \"http://localhost\"\npolling = 1\n", "unknown field `polling`"),
    ] {
        let path = folder.path().join("agent.toml");
        fs::write(&path, format!("{config}{fleet}")).unwrap();
        let output = crate::support::run(&["agent", "--config", path.to_str().unwrap()]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}
