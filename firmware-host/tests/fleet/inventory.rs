//! `firmware-host fleet`: rollouts over an inventory of real agents.

use crate::support::{Agent, Daemons, bundle, key, run, states, until};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Boxes with agents, their inventory, and a bundle of release 1.1.0.
struct Site {
    _daemons: Daemons,
    folder: TempDir,
    agents: Vec<Agent>,
}

impl Site {
    /// Box number `n` fails the self-test of release 1.1.0 if `fails` says so.
    fn new(count: usize, fails: &[usize]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agents: Vec<Agent> = (0..count)
            .map(|n| {
                let home = folder.path().join(format!("box-{n}"));
                fs::create_dir(&home).unwrap();
                let fault = home.join("fault");
                if fails.contains(&n) {
                    fs::write(&fault, "").unwrap();
                }
                let test = format!(
                    "if test -e {} && grep -q 1.1.0 \"$0\"; then echo golden vector 3 differs; exit 1; fi",
                    fault.display()
                );
                let activate = format!("[activate]\nselftest = [\"sh\", \"-c\", {test:?}, \"{{bundle}}\"]\n");
                Agent::start(&home, &activate)
            })
            .collect();
        let boxes = agents.iter().enumerate().map(|(n, agent)| {
            let (address, key) = (&agent.address, agent.way()[5]);
            format!("[[boxes]]\nname = \"box-{n}\"\naddress = \"{address}\"\nkey = {key:?}\n")
        });
        fs::write(folder.path().join("boxes.toml"), boxes.collect::<String>()).unwrap();
        let file = bundle("1.1.0", 50_000, Some(&key()));
        fs::write(folder.path().join("chest.bundle"), file).unwrap();
        let homes = (0..count).map(|n| folder.path().join(format!("box-{n}")));
        Self { _daemons: Daemons::start(homes.collect()), folder, agents }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let (bundle, inventory) = (self.path("chest.bundle"), self.path("boxes.toml"));
        let fixed = ["fleet", &bundle, "--inventory", &inventory, "--soak", "0s", "--json"];
        let limits = ["--limit", "50s", "--retry", "0s", "--timeout", "20s"];
        let key = ["--key", self.agents[0].way()[3]];
        fixed.iter().chain(&limits).chain(&key).chain(more).map(|text| (*text).to_owned()).collect()
    }

    fn roll_out(&self, more: &[&str]) -> (Output, Value) {
        let arguments = self.arguments(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = run(&arguments);
        let first = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("").to_owned();
        let document =
            serde_json::from_str(&first).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output, document)
    }
}

fn outcomes(document: &Value) -> Vec<String> {
    let boxes = document["boxes"].as_array().unwrap().iter();
    boxes.map(|found| format!("{} {}", found["wave"], found["outcome"].as_str().unwrap())).collect()
}

#[test]
fn every_box_of_the_inventory_is_confirmed_wave_by_wave() {
    let site = Site::new(4, &[]);
    let (output, document) = site.roll_out(&["--waves", "1,rest"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(outcomes(&document), ["1 confirmed", "2 confirmed", "2 confirmed", "2 confirmed"]);
    for agent in &site.agents {
        assert_eq!(agent.states(), states("confirmed", "empty", "a"));
    }
    // Nothing is left to do, and nothing is done twice.
    let (output, again) = site.roll_out(&["--waves", "1,rest"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(again["boxes"], document["boxes"]);
    fs::remove_file(site.path("boxes.toml.state.json")).unwrap();
    let (_, fresh) = site.roll_out(&[]);
    assert!(outcomes(&fresh).iter().all(|outcome| outcome.ends_with("already")), "{fresh}");
}

#[test]
fn failures_halt_the_rollout_and_it_goes_on_once_they_are_mended() {
    let site = Site::new(6, &[1, 2]);
    let waves = ["--waves", "1,3,rest", "--halt", "2", "--parallel", "1"];
    let (output, document) = site.roll_out(&waves);
    assert_eq!(output.status.code(), Some(10), "{output:?}");
    let page = fs::read_to_string(document["report"].as_str().unwrap()).unwrap();
    assert!(page.contains("Halted: wave 2: 2 boxes failed"), "{page}");
    assert!(page.matches("golden vector 3 differs").count() >= 4, "detail and evidence: {page}");
    let expected =
        ["1 confirmed", "2 failed", "2 failed", "2 not-begun", "3 not-begun", "3 not-begun"];
    assert_eq!(outcomes(&document), expected);
    assert_eq!(document["halted"]["wave"], 2);
    let evidence = document["boxes"][1]["evidence"].to_string();
    assert!(
        evidence.contains("golden vector 3 differs") && evidence.contains("log: "),
        "{evidence}"
    );
    assert_eq!(site.agents[5].states(), states("empty", "empty", "none"));
    // Begun again, it stops at the same place until somebody says that the failed boxes are to be tried again.
    let (output, same) = site.roll_out(&waves);
    assert!(!output.status.success());
    assert_eq!(outcomes(&same), expected);
    for n in [1, 2] {
        fs::remove_file(site.folder.path().join(format!("box-{n}/fault"))).unwrap();
    }
    let (output, done) = site.roll_out(&[&waves[..], &["--again"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert!(outcomes(&done).iter().all(|outcome| outcome.ends_with("confirmed")), "{done}");
}

#[test]
fn a_rehearsal_changes_nothing() {
    let site = Site::new(2, &[]);
    let (output, document) = site.roll_out(&["--dry-run"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(document["boxes"][1]["would"], "push and activate");
    assert!(!Path::new(&site.path("boxes.toml.state.json")).exists());
    for agent in &site.agents {
        assert_eq!(agent.states(), states("empty", "empty", "none"));
    }
}

#[test]
fn a_box_out_of_reach_is_told_apart_from_one_that_failed() {
    let mut site = Site::new(2, &[]);
    site.agents.remove(0).kill();
    let (output, document) = site.roll_out(&["--waves", "rest", "--halt", "2"]);
    assert!(!output.status.success());
    assert_eq!(outcomes(&document), ["1 unreachable", "1 confirmed"]);
    assert_eq!(output.status.code(), Some(11), "{output:?}");
    let failure = String::from_utf8_lossy(&output.stdout).lines().nth(1).unwrap().to_owned();
    assert!(failure.contains("\"code\":\"incomplete\""), "{failure}");
}

#[test]
fn a_rollout_that_is_cut_goes_on_where_it_was() {
    let site = Site::new(3, &[]);
    let arguments = site.arguments(&["--waves", "1,rest", "--parallel", "1"]);
    let mut cut = Command::new(env!("CARGO_BIN_EXE_firmware-host"))
        .args(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let state = site.path("boxes.toml.state.json");
    until("the first box is noted", || fs::exists(&state).unwrap().then_some(()));
    cut.kill().unwrap();
    cut.wait().unwrap();
    let noted: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let (output, document) = site.roll_out(&["--waves", "1,rest", "--parallel", "1"]);
    assert!(output.status.success(), "{output:?}");
    let first = &noted["fared"]["box-0"]["seconds"];
    assert_eq!(document["boxes"][0]["seconds"], *first, "served once");
    for agent in &site.agents {
        assert_eq!(agent.states(), states("confirmed", "empty", "a"));
    }
}
