//! Real agents under gooseBit, a real server of hawkBit's DDI.

use crate::proxy::Proxy;
use crate::server::GooseBit;
use crate::support::{Agent, image, states, until};
use serde_json::json;
use std::path::Path;

/// An agent under `url` by the name of `name`, with a self-test.
fn agent(folder: &Path, url: &str, name: &str, selftest: &str) -> Agent {
    let activate =
        format!("[activate]\nselftest = [\"sh\", \"-c\", {selftest:?}, \"{{bundle}}\"]\n");
    let fleet = format!("[fleet]\nurl = {url:?}\ncontroller = {name:?}\npoll = \"1s\"\n");
    Agent::start(folder, &format!("{activate}{fleet}"))
}

/// A self-test that fails on release 1.1.0 as golden vectors that are not reproduced would.
const FAILS: &str =
    "if grep -q 1.1.0 \"$0\"; then echo golden vector 3, output seg differs at 17; exit 1; fi";

fn registered(server: &GooseBit, name: &str) {
    until("the box is registered", || {
        (server.device(name)["last_state"] == "Registered").then_some(())
    });
}

#[test]
fn a_rollout_that_breaks_off_is_resumed_confirmed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = GooseBit::start(folder.path(), "00:00:01") else { return };
    let proxy = Proxy::start(&server.url);
    let first = agent(folder.path(), &proxy.url, "room-3", "true");
    registered(&server, "room-3");
    let device = server.device("room-3");
    assert_eq!(
        (&device["hardware"]["model"], &device["hardware"]["revision"]),
        (&json!("default"), &json!("1.0"))
    );

    proxy.cut_after(34 << 20);
    let software = server.upload("chest.swu", &image("1.0.0", 36 << 20));
    let rollout = server.roll_out("default", software);
    until("the download breaks off", || {
        let received = first.ok(&["slots"])["slots"][0]["received"].as_u64();
        (proxy.was_cut() && received >= Some(16 << 20)).then_some(())
    });
    first.kill();
    let agent = agent(folder.path(), &proxy.url, "room-3", "true");
    until("the trial", || (agent.states() == states("trial", "empty", "a")).then_some(()));
    let said = proxy.said();
    let from: usize =
        said.split("range: bytes=").nth(1).unwrap().split('-').next().unwrap().parse().unwrap();
    assert!((16 << 20..34 << 20).contains(&from), "goes on at byte {from}");
    assert_eq!(server.device("room-3")["last_state"], "Running");
    assert_eq!(server.rollout(rollout)["success_count"], 0, "not before the confirm");
    agent.confirm();
    until("the server counts the success", || {
        (server.rollout(rollout)["success_count"] == 1).then_some(())
    });
    let device = server.device("room-3");
    assert_eq!(
        (&device["last_state"], &device["sw_version"]),
        (&json!("Finished"), &json!("1.0.0"))
    );
    until("the evidence", || {
        let log = server.device_log("room-3");
        log.contains("confirmed: slot a runs chest 1.0.0").then_some(())
    });
}

#[test]
fn a_failing_bundle_is_a_failure_whose_evidence_the_server_shows() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = GooseBit::start(folder.path(), "00:00:01") else { return };
    let agent = agent(folder.path(), &server.url, "room-3", FAILS);
    registered(&server, "room-3");
    let rollout = server.roll_out("default", server.upload("chest.swu", &image("1.1.0", 9000)));
    until("the server counts the failure", || {
        (server.rollout(rollout)["failure_count"] == 1).then_some(())
    });
    assert_eq!(agent.states(), states("bad", "empty", "none"));
    // The server counts first and notes what was said afterwards.
    until("the evidence", || {
        let log = server.device_log("room-3");
        let words = ["golden vector 3, output seg differs at 17", "self-test failed", "log: "];
        words.iter().all(|words| log.contains(words)).then_some(())
    });
}

#[test]
fn a_box_with_its_token_is_let_in_and_one_with_another_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let strict =
        [("GOOSEBIT_DEVICE_AUTH__ENABLE", "true"), ("GOOSEBIT_DEVICE_AUTH__MODE", "strict")];
    let Some(server) = GooseBit::start_with(folder.path(), "00:00:01", &strict) else { return };
    server.put("devices", &json!({ "devices": ["room-3", "room-4"], "auth_token": "t0ken" }));
    let agent = |name: &str, token: &str| {
        let home = folder.path().join(name);
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("token"), token).unwrap();
        let url = &server.url;
        let fleet =
            format!("[fleet]\nurl = {url:?}\ncontroller = {name:?}\ntarget_token = \"token\"\n");
        Agent::start(&home, &fleet)
    };
    let stranger = agent("room-4", "another");
    let _ours = agent("room-3", "t0ken");
    registered(&server, "room-3");
    until("the stranger is turned away", || stranger.log().contains("401").then_some(()));
    assert_eq!(server.device("room-4")["last_state"], "Unknown");
}
