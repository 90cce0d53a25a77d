//! Holds the workspace to DESIGN §2: which crate may depend on which library, and nothing above `deny`ed.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Every crate a package needs to build and run (dev-dependencies apart), itself included.
struct Needs(BTreeMap<String, BTreeSet<String>>);

impl Needs {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--locked", "--offline"])
            .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
            .output()
            .expect("cargo is running us");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let names: BTreeMap<String, String> = metadata["packages"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let direct: BTreeMap<String, Vec<String>> = metadata["resolve"]["nodes"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|node| {
                let ships = |dep: &&Value| {
                    dep["dep_kinds"]
                        .as_array()
                        .expect("a list")
                        .iter()
                        .any(|kind| kind["kind"] != "dev")
                };
                let deps = node["deps"].as_array().expect("a list").iter().filter(ships);
                (text(&node["id"]), deps.map(|dep| text(&dep["pkg"])).collect())
            })
            .collect();
        let members = metadata["workspace_members"].as_array().expect("a list").iter().map(text);
        Self(members.map(|id| (names[&id].clone(), reach(&id, &direct, &names))).collect())
    }

    fn of(&self, package: &str) -> &BTreeSet<String> {
        self.0.get(package).unwrap_or_else(|| panic!("no package {package} in {:?}", self.0.keys()))
    }

    fn forbid(&self, packages: &[&str], library: &str) {
        for package in packages {
            assert!(!self.of(package).contains(library), "{package} must not need {library}");
        }
    }
}

fn reach(
    id: &str,
    direct: &BTreeMap<String, Vec<String>>,
    names: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![id.to_owned()]);
    while let Some(id) = open.pop() {
        if seen.insert(id.clone()) {
            open.extend(direct[&id].iter().cloned());
        }
    }
    seen.iter().map(|id| names[id].clone()).collect()
}

#[test]
fn libtorch_is_needed_by_the_trainer_alone() {
    let needs = Needs::read();
    let with: Vec<&String> =
        needs.0.iter().filter(|(_, needs)| needs.contains("torch-sys")).map(|(p, _)| p).collect();
    // `e2e` asks for exporter's feature `distill`, and features of one workspace are one set.
    assert_eq!(with, ["e2e", "exporter", "torch-ext", "trainer"]);
}

#[test]
fn the_exporter_alone_needs_no_libtorch() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "exporter", "--edges", "normal,build"])
        .args(["--prefix", "none", "--target", "x86_64-unknown-linux-gnu"])
        .output()
        .expect("cargo is running us");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // One line a crate: name, version, and the folder of ours.
    let needs = |library: &str| tree.lines().any(|line| line.split(' ').next() == Some(library));
    assert!(needs("candle-core"), "{tree}");
    for library in ["torch-sys", "tch", "trainer"] {
        assert!(!needs(library), "exporter without `distill` needs {library}");
    }
}

#[test]
fn what_runs_under_the_engine_knows_no_sockets() {
    let below = [
        "engine",
        "kernels",
        "language",
        "bundle",
        "radiograph",
        "results",
        "graph",
        "calibration",
        "acceptance",
    ];
    for library in ["tokio", "mio", "socket2", "axum", "dicom-ul"] {
        Needs::read().forbid(&below, library);
    }
}

#[test]
fn the_link_does_not_need_an_inference_engine() {
    Needs::read().forbid(&["firmware-host", "protocol", "language"], "tract-core");
}

#[test]
fn records_and_metrics_answer_no_image() {
    let needs = Needs::read();
    let shipped = [
        "engine",
        "kernels",
        "bundle",
        "radiograph",
        "results",
        "firmware-host",
        "graph",
        "protocol",
    ];
    // `runtime` judges a site's acceptance test by them.
    assert!(needs.of("acceptance").contains("task-metrics"), "figures have one definition");
    for library in ["records", "task-metrics"] {
        needs.forbid(&shipped, library);
        needs.forbid(&[library], "torch-sys");
        assert!(needs.of("trainer").contains(library), "trainer uses {library}");
    }
}

#[test]
fn the_kernels_need_nothing() {
    assert_eq!(Needs::read().of("kernels").len(), 1);
}

#[test]
fn the_user_fixed_packages_are_in_use() {
    let needs = Needs::read();
    for (package, library) in [
        ("engine", "tract-onnx"),
        ("trainer", "tch"),
        ("exporter", "candle-core"),
        ("radiograph", "image"),
        ("protocol", "postcard"),
        ("firmware-host", "clap"),
        ("runtime", "tokio"),
        ("runtime", "log"),
    ] {
        assert!(needs.of(package).contains(library), "{package} uses {library}");
    }
    assert!(needs.0.values().all(|libraries| !libraries.contains("defmt")), "log, never defmt");
}
