//! What `make packages` puts into Debian packages, held to the code: units, configuration, pages, lists of files.
//! Installing them is `make test-packages`.

#![expect(clippy::unwrap_used, reason = "tests")]

use e2e::tool::{self, Tool, root};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use toml::Value;

const UNITS: [&str; 3] = [
    "runtime/packaging/cxr-runtime.service",
    "firmware-host/packaging/cxr-agent.service",
    "firmware-host/packaging/cxr-offline@.service",
];

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs `systemd-analyze`; what it said, and whether it was content.
fn analyze(args: &[&str], unit: &Path) -> Option<(bool, String)> {
    let output = Command::new("systemd-analyze").args(args).arg(unit).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// The units in a folder of their own, starting what was built here: what they start must be there.
fn with_our_programs(folder: &Path) -> Vec<PathBuf> {
    let programs = tool::binaries();
    let unit = |name: &&str| {
        let ours = |program| format!("{}/{program} ", programs.display());
        let text = read(name).replace("/usr/bin/runtime ", &ours("runtime"));
        let text = text.replace("/usr/bin/firmware-host ", &ours("firmware-host"));
        let path = folder.join(Path::new(name).file_name().unwrap());
        fs::write(&path, text).unwrap();
        path
    };
    UNITS.iter().map(unit).collect()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = tempfile::tempdir().unwrap();
    for unit in with_our_programs(folder.path()) {
        // What stands for an instance, in the name of a template.
        let unit = match unit.to_str().unwrap().split_once('@') {
            Some((before, after)) => {
                let instance = PathBuf::from(format!("{before}@sda1{after}"));
                fs::rename(&unit, &instance).unwrap();
                instance
            }
            None => unit,
        };
        let Some((content, said)) = analyze(&["verify", "--man=no"], &unit) else {
            return skip::because("no systemd-analyze");
        };
        // Only what is said about this unit: the machine's own units are its own business.
        let name = unit.file_name().unwrap().to_str().unwrap();
        let about: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
        assert!(about.is_empty() && (content || !said.contains(name)), "{about:#?}\n{said}");
    }
}

#[test]
fn no_unit_is_more_exposed_than_promised() {
    for unit in UNITS {
        let args = ["security", "--offline=true", "--no-pager", "--threshold=20"];
        let Some((content, said)) = analyze(&args, &root().join(unit)) else {
            return skip::because("no systemd-analyze");
        };
        let overall = said.lines().find(|line| line.contains("Overall exposure level"));
        let overall = overall.unwrap_or_else(|| panic!("{unit}: {said}"));
        let level: f64 = overall
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("{overall}"));
        assert!(content && level <= 2.0, "{unit}: {overall}");
    }
}

/// The folders of a `tmpfiles.d` file, with their modes.
fn folders(file: &str) -> Vec<(String, u32)> {
    let lines = read(file);
    let lines = lines.lines().filter(|line| !line.starts_with(['#', 'Z']) && !line.is_empty());
    let folder = |line: &str| {
        let [kind, path, mode, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{file}: {line}")
        };
        assert_eq!(kind, "d", "{line}");
        (path.to_owned(), u32::from_str_radix(mode, 8).unwrap())
    };
    lines.map(folder).collect()
}

#[test]
fn what_the_services_write_is_made_before_they_start() {
    let made: BTreeSet<String> = [
        "runtime/packaging/tmpfiles.d/cxr-edge-runtime.conf",
        "firmware-host/packaging/tmpfiles.d/cxr-edge-agent.conf",
    ]
    .iter()
    .flat_map(|file| folders(file))
    .map(|(path, _)| path)
    .collect();
    for unit in UNITS {
        let text = read(unit);
        let written = text.lines().filter_map(|line| line.strip_prefix("ReadWritePaths="));
        for path in written.flat_map(str::split_whitespace) {
            assert!(made.contains(path), "{unit}: {path} is not among {made:?}");
        }
    }
    for config in ["runtime/packaging/runtime.toml", "firmware-host/packaging/agent.toml"] {
        let config = read(config);
        for path in config.split('"').filter(|word| word.starts_with("/var/")) {
            let is_made = |folder: &String| Path::new(path).starts_with(folder);
            assert!(made.iter().any(is_made), "nobody makes a folder for {path}");
        }
    }
}

#[test]
fn the_installed_configuration_starts_and_says_that_it_waits_for_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    for (path, _) in folders("runtime/packaging/tmpfiles.d/cxr-edge-runtime.conf") {
        fs::create_dir_all(state.join(path.trim_start_matches('/'))).unwrap();
    }
    let text = read("runtime/packaging/runtime.toml");
    let config = folder.path().join("runtime.toml");
    fs::write(&config, text.replace("\"/var/", &format!("\"{}/var/", state.display()))).unwrap();
    let check = tool::runtime().args(["serve", "--check", "--config"]).arg(&config).json().unwrap();
    assert_eq!(check[0]["mistakes"], serde_json::json!([]));
    assert!(check[0]["notes"].to_string().contains("no bundle was activated"), "{check:?}");
}

/// `[package.metadata.deb]` of a crate, and of its variants.
fn packages(krate: &str) -> Vec<Value> {
    let manifest: Value = toml::from_str(&read(format!("{krate}/Cargo.toml"))).unwrap();
    let mut deb = manifest["package"]["metadata"]["deb"].clone();
    let variants = deb.as_table_mut().unwrap().remove("variants");
    let variants = variants.into_iter().flat_map(|v| v.as_table().unwrap().clone());
    [deb].into_iter().chain(variants.map(|(_, variant)| variant)).collect()
}

/// Sources of a package's files, relative to its crate.
fn sources(package: &Value) -> Vec<String> {
    let assets = package["assets"].as_array().unwrap();
    assets.iter().map(|asset| asset[0].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_file_of_a_package_is_there_and_every_file_for_packages_is_in_one() {
    let script = read(".ci/packages.sh");
    for krate in ["runtime", "firmware-host"] {
        let folder = root().join(krate);
        let packed: BTreeSet<String> = packages(krate).iter().flat_map(sources).collect();
        for source in &packed {
            match source.strip_prefix("../target/packages/made/") {
                // The script that makes it says so.
                Some(made) => {
                    let kind = made.split('/').next().unwrap();
                    assert!(script.contains(&format!("$made/{kind}")), "nobody makes {source}");
                }
                None if source.starts_with("target/release/") => {}
                None => assert!(folder.join(source).is_file(), "{krate}/{source} is not there"),
            }
        }
        let packaging = folder.join("packaging");
        let tracked = Command::new("git")
            .arg("-C")
            .arg(&folder)
            .args(["ls-files", "-z", "packaging"])
            .output()
            .expect("git is installed");
        for file in String::from_utf8(tracked.stdout).unwrap().split_terminator('\0') {
            let (_, name) = file.rsplit_once('/').unwrap();
            let is_used = packed.contains(file)
                || ["preinst", "postinst", "postrm", "Containerfile"].contains(&name);
            assert!(is_used, "{} has {file}, which is in no package", packaging.display());
        }
    }
}

/// Where a package puts its files.
fn installed(package: &Value) -> BTreeSet<String> {
    let place = |asset: &Value| {
        let (from, to) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        let name = if to.ends_with('/') { from.rsplit('/').next().unwrap() } else { "" };
        format!("/{to}{name}")
    };
    package["assets"].as_array().unwrap().iter().map(place).collect()
}

#[test]
fn the_container_starts_what_the_package_brings_as_the_user_that_it_makes() {
    let text = read("runtime/packaging/Containerfile");
    let said = |word: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(word));
        line.unwrap_or_else(|| panic!("no {word}in the Containerfile")).to_owned()
    };
    let package = packages("runtime").remove(0);
    let name = package["name"].as_str().unwrap();
    assert!(said("COPY ").starts_with(&format!("{name}_")));
    let words: Vec<String> = [said("ENTRYPOINT "), said("CMD ")]
        .iter()
        .flat_map(|list| serde_json::from_str::<Vec<String>>(list).unwrap())
        .collect();
    let [program, serve, config, path] = &words[..] else { panic!("{words:?}") };
    assert_eq!((&serve[..], &config[..]), ("serve", "--config"));
    let files = installed(&package);
    assert!(files.contains(program) && files.contains(path), "{words:?}: {files:?}");
    let users = read("runtime/packaging/sysusers.d/cxr-edge-runtime.conf");
    assert!(users.contains(&format!("\nu {} ", said("USER "))));
}

#[test]
fn packages_need_their_own_version_of_each_other() {
    let workspace: Value = toml::from_str(&read("Cargo.toml")).unwrap();
    let version = workspace["workspace"]["package"]["version"].as_str().unwrap();
    let (mut names, mut needed) = (BTreeSet::new(), BTreeSet::new());
    for package in ["runtime", "firmware-host"].into_iter().flat_map(packages) {
        names.insert(package["name"].as_str().unwrap().to_owned());
        let depends = package["depends"].as_str().unwrap().to_owned();
        for one in depends.split(", ").filter(|one| one.starts_with("cxr-edge")) {
            let (name, at_least) = one.split_once(" (>= ").unwrap();
            assert_eq!(at_least.trim_end_matches(')'), version, "{one}");
            needed.insert(name.to_owned());
        }
    }
    assert_eq!(names.len(), 3);
    assert!(needed.is_subset(&names), "{needed:?} of {names:?}");
}

/// Every verb that `--help` lists, with those under it: the oracle for pages and scripts.
fn verbs(tool: fn() -> Tool, words: &[String]) -> Vec<Vec<String>> {
    let help = tool().args(words).arg("--help").output().unwrap();
    assert!(help.status.success(), "{words:?}");
    let help = String::from_utf8(help.stdout).unwrap();
    let Some((_, commands)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = commands.lines().take_while(|line| !line.is_empty());
    let named = lines.filter_map(|line| line.strip_prefix("  ")).filter(|l| !l.starts_with(' '));
    let names = named.map(|line| line.split_whitespace().next().unwrap().to_owned());
    let below = |name: String| {
        let words = [words, &[name]].concat();
        let mut found = verbs(tool, &words);
        found.push(words);
        found
    };
    names.filter(|name| name != "help").flat_map(below).collect()
}

#[test]
fn every_verb_of_every_program_has_a_man_page_and_is_completed() {
    let tools = [
        ("runtime", tool::runtime as fn() -> Tool),
        ("firmware-host", tool::firmware_host),
        ("exporter", tool::exporter),
        ("trainer", tool::trainer),
    ];
    for (name, tool) in tools {
        let verbs = verbs(tool, &[]);
        assert!(verbs.len() > 5, "{name}: {verbs:?}");
        let folder = tempfile::tempdir().unwrap();
        tool().arg("manual").arg(folder.path()).output().unwrap();
        let entries = fs::read_dir(folder.path()).unwrap();
        let pages: BTreeSet<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let expected: BTreeSet<String> = verbs
            .iter()
            .map(|words| format!("{name}-{}.1", words.join("-")))
            .chain([format!("{name}.1")])
            .collect();
        assert_eq!(pages, expected);
        for shell in ["bash", "zsh", "fish"] {
            let script = tool().args(["completion", shell]).output().unwrap();
            assert!(script.status.success(), "{name} {shell}");
            let script = String::from_utf8(script.stdout).unwrap();
            for words in &verbs {
                let word = words.last().unwrap();
                assert!(script.contains(word.as_str()), "{shell} does not complete {words:?}");
            }
        }
    }
}
