//! Results on their way out: the whole daemon, an archive that we made, and the commands that look at it.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    Daemon, PATIENCE, Settings,
    archive::{Act, Archive, Commits, Welcome},
    model,
    scu::Scu,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

/// The `[dicom]` lines that make an archive a destination.
fn to(archive: &Archive, more: &str) -> String {
    format!(
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{}\"\n{more}\n",
        archive.address
    )
}

fn runtime(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runtime")).args(arguments).output().unwrap()
}

fn queue(daemon: &Daemon, arguments: &[&str]) -> serde_json::Value {
    let config = daemon.folder.path().join("runtime.toml");
    let output =
        runtime(&[&["queue", "--json", "--config", config.to_str().unwrap()], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until there are `count` objects that are not the same.
fn arrived(archive: &Archive, daemon: &Daemon, count: usize) {
    daemon.wait("results in the archive", |_| {
        let distinct: BTreeSet<String> = archive.uids().into_iter().collect();
        (distinct.len() >= count).then_some(())
    });
}

#[test]
fn findings_reach_the_archive_in_the_study_of_the_image() {
    let archive = Archive::start();
    let bundle = model::trusted(&model::write(tempfile::tempdir().unwrap().keep().as_path(), 1));
    let destinations = to(&archive, "");
    let daemon =
        Daemon::start(Settings { bundle: &bundle, dicom: &destinations, ..Settings::default() });
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.7", 7), 0);
    arrived(&archive, &daemon, 2);
    let mut classes = BTreeSet::new();
    for kept in archive.inside().kept.iter() {
        let object = dicom_object::InMemDicomObject::read_dataset_with_ts(
            &kept.bytes[..],
            &dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN.erased(),
        )
        .unwrap();
        let text =
            |tag| object.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned();
        assert_eq!(text(dicom_core::Tag(0x0008, 0x0016)), kept.class);
        assert_eq!(text(dicom_core::Tag(0x0008, 0x0018)), kept.uid);
        assert_eq!(text(dicom_core::Tag(0x0020, 0x000d)), "1.2.7.1", "the study of the image");
        classes.insert(kept.class.clone());
    }
    // No mask, so no segmentation.
    let expected = ["1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.34"];
    assert_eq!(classes, expected.map(String::from).into());
    daemon.wait("two deliveries", |daemon| {
        let rows = queue(daemon, &["list", "--state", "sent"]);
        (rows.as_array().unwrap().len() == 2).then_some(())
    });
    assert_eq!(queue(&daemon, &["list"]).as_array().unwrap().len(), 0, "nothing is open");
}

#[test]
fn an_archive_that_calls_back_commits() {
    let archive = Archive::start();
    let bundle = model::trusted(&model::write(tempfile::tempdir().unwrap().keep().as_path(), 1));
    let destinations = to(&archive, "commit = true\nobjects = [\"sr\"]");
    let daemon =
        Daemon::start(Settings { bundle: &bundle, dicom: &destinations, ..Settings::default() });
    archive.inside().manners.commits = Commits::CallingBack(daemon.dicom);
    archive.inside().manners.acts.push_back(Act::Forget);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.7", 7), 0);
    daemon.wait("commitment", |daemon| {
        let rows = queue(daemon, &["list", "--state", "committed"]);
        (rows.as_array().unwrap().len() == 1).then_some(())
    });
    assert_eq!(archive.uids().len(), 1);
    daemon.wait("our answers", |_| (archive.inside().answers.len() > 1).then_some(()));
    assert_eq!(
        archive.inside().answers,
        [0, 0],
        "\"no\" after the first, \"yes\" after the second"
    );
    // Somebody else, and the archive about what nobody asked.
    let report = |transaction: &str| {
        common::archive::write_report(transaction, &[("1.2".into(), "1.2.3".into())], &[], true)
    };
    let (event, bytes) = report("2.25.1");
    assert_eq!(common::archive::call_back(daemon.dicom, "EVIL", event, &bytes), None);
    assert_eq!(common::archive::call_back(daemon.dicom, "PACS", event, &bytes), Some(0x0115));
    assert_eq!(common::archive::call_back(daemon.dicom, "PACS", 9, &bytes), Some(0x0113));
    assert_eq!(common::archive::call_back(daemon.dicom, "PACS", event, b"noise"), Some(0x0115));
}

#[test]
fn the_queue_is_looked_at_and_decided_about_from_the_command_line() {
    let archive = Archive::start();
    archive.inside().manners.acts.push_back(Act::Status(0xc123));
    let bundle = model::trusted(&model::write(tempfile::tempdir().unwrap().keep().as_path(), 1));
    let destinations = to(&archive, "objects = [\"sr\"]");
    let settings = Settings { bundle: &bundle, dicom: &destinations, ..Settings::default() };
    let daemon = Daemon::start(settings);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.7", 7), 0);
    let dead = daemon.wait("a dead letter", |daemon| {
        let rows = queue(daemon, &["list", "--state", "dead"]);
        rows.as_array().unwrap().first().cloned()
    });
    assert_eq!(dead["reason"], "status C123");
    assert_eq!((dead["kind"].as_str(), dead["source"].as_str()), (Some("sr"), Some("1.2.7")));
    let id = dead["id"].to_string();
    assert_eq!(queue(&daemon, &["hold", &id])[0]["held"], true);
    assert_eq!(queue(&daemon, &["release", &id])[0]["held"], false);
    // While nobody runs: it is the database that is asked.
    let folder = daemon.kill();
    let config = folder.path().join("runtime.toml");
    let config = config.to_str().unwrap();
    let wrong = runtime(&["queue", "--config", config, "retry", "999"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no delivery has the number 999"));
    assert!(runtime(&["queue", "--config", config, "retry", "--dead"]).status.success());
    let table = runtime(&["queue", "--config", config, "list"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("waiting") && table.contains("status C123"), "{table}");
    let daemon = Daemon::start_in(folder, settings);
    arrived(&archive, &daemon, 1);
    // And a running one notices within a second.
    let rows = queue(&daemon, &["list", "--all"]);
    assert_eq!(rows[0]["id"].to_string(), id);
    queue(&daemon, &["retry", &id]);
    daemon.wait("a second sending", |_| (archive.uids().len() == 2).then_some(()));
}

/// The lines of the audit log about decisions: who, what, delivery.
fn decisions(spool: &Path) -> Vec<(String, String, i64)> {
    let text = fs::read_to_string(spool.join("audit.log")).unwrap();
    let lines =
        text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines
        .filter(|line| line["what"] == "decision")
        .map(|line| {
            (text(&line["who"]), text(&line["decision"]), line["delivery"].as_i64().unwrap())
        })
        .collect()
}

#[test]
fn what_the_command_line_decides_stands_in_the_audit_log_once_also_if_nobody_ran() {
    let archive = Archive::start();
    archive.inside().manners.acts.push_back(Act::Status(0xc123));
    let bundle = model::trusted(&model::write(tempfile::tempdir().unwrap().keep().as_path(), 1));
    let destinations = to(&archive, "objects = [\"sr\"]");
    let settings = Settings { bundle: &bundle, dicom: &destinations, ..Settings::default() };
    let mut daemon = Daemon::start(settings);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.7", 7), 0);
    let id = daemon.wait("a dead letter", |daemon| {
        queue(daemon, &["list", "--state", "dead"])[0]["id"].as_i64()
    });
    queue(&daemon, &["hold", &id.to_string()]);
    let spool = daemon.folder.path().join("spool");
    daemon.wait("the decision in the log", |_| (decisions(&spool).len() == 1).then_some(()));
    // Nobody runs: the daemon learns of it at its next start.
    assert!(daemon.terminate().success());
    let folder = daemon.kill();
    let config = folder.path().join("runtime.toml").to_str().unwrap().to_owned();
    let decide =
        |arguments: &[&str]| runtime(&[&["queue", "--config", &config], arguments].concat());
    assert!(decide(&["drop", "--dead", "--reason", "a test"]).status.success());
    for refused in [&["retry", "999"][..], &["drop", &id.to_string(), "--reason", "again"]] {
        assert!(!decide(refused).status.success(), "{refused:?}");
    }
    assert_eq!(decisions(&spool).len(), 1);
    let mut daemon = Daemon::start_in(folder, settings);
    daemon.wait("the second one", |_| (decisions(&spool).len() > 1).then_some(()));
    assert!(daemon.terminate().success());
    let who = format!("runtime queue, uid {}", rustix::process::getuid().as_raw());
    let found = decisions(&spool);
    assert!(found.iter().all(|(by, ..)| by.starts_with(&who)), "{found:?}");
    let found: Vec<_> = found.iter().map(|(_, what, of)| (what.as_str(), *of)).collect();
    assert_eq!(found, [("hold", id), ("drop", id)], "and nothing that was refused");
    let mut again = Daemon::start_in(daemon.kill(), settings);
    assert!(again.terminate().success());
    assert_eq!(decisions(&spool).len(), 2, "each of them once");
    let spool = spool.to_str().unwrap();
    assert!(runtime(&["audit", "verify", "--spool", spool]).status.success());
}

#[test]
fn nothing_is_purged_that_is_not_delivered_and_a_purged_image_sent_again_is_no_second_result() {
    let archive = Archive::start();
    archive.inside().manners.welcome = Welcome::RejectForNow;
    let bundle = model::trusted(&model::write(tempfile::tempdir().unwrap().keep().as_path(), 1));
    let destinations = to(&archive, "objects = [\"sr\"]\ncommit = true\ncommit_seconds = 1");
    let daemon = Daemon::start(Settings {
        bundle: &bundle,
        dicom: &destinations,
        spool: "keep_answered = 1",
        ..Settings::default()
    });
    let mut scu = Scu::associate(daemon.dicom);
    for seed in 1..=3 {
        assert_eq!(scu.store(&format!("1.2.{seed}"), seed), 0);
    }
    daemon.wait("three deliveries that fail", |daemon| {
        let rows = queue(daemon, &["list"]);
        let tried = |row: &serde_json::Value| row["reason"].is_string();
        (rows.as_array()?.len() == 3 && rows.as_array()?.iter().any(tried)).then_some(())
    });
    std::thread::sleep(Duration::from_millis(1500)); // the spool is tidied once a second
    assert_eq!(daemon.spool("images").len(), 3);
    let (_, health) = daemon.json("/health");
    assert_eq!(health["delivery"]["undelivered"], 3, "{health}");

    archive.inside().manners.welcome = Welcome::Accept;
    daemon.wait("a purge", |daemon| (daemon.spool("images").len() == 1).then_some(()));
    assert_eq!(archive.uids().len(), 3);
    assert_eq!(scu.store("1.2.1", 1), 0);
    daemon.findings("1.2.1");
    assert_eq!(scu.store("1.2.4", 4), 0);
    daemon.wait("the fourth result", |_| (archive.uids().len() == 4).then_some(()));
    let distinct: BTreeSet<String> = archive.uids().into_iter().collect();
    assert_eq!(distinct.len(), 4);
    assert_eq!(queue(&daemon, &["list", "--all"]).as_array().unwrap().len(), 4);
}

#[test]
fn a_ping_says_what_a_peer_takes_and_fails_where_nobody_answers() {
    let archive = Archive::start();
    archive.inside().manners.refused.push("1.2.840.10008.5.1.4.1.1.66.4".into());
    let peer = format!("PACS@{}", archive.address);
    let ping = runtime(&["dicom", "ping", &peer, "--json"]);
    assert!(ping.status.success(), "{ping:?}");
    let answer: serde_json::Value = serde_json::from_slice(&ping.stdout).unwrap();
    assert_eq!(answer["takes"], serde_json::json!(["sr", "sc", "commit"]));

    let daemon = Daemon::start(Settings::default());
    let ping = runtime(&["dicom", "ping", &format!("CXR-EDGE@{}", daemon.dicom)]);
    let said = String::from_utf8(ping.stdout).unwrap();
    assert!(ping.status.success() && said.contains("and takes: sc"), "{said}");
    let wrong = runtime(&["dicom", "ping", &format!("OTHER@{}", daemon.dicom)]);
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(!wrong.status.success() && said.contains("called AE title not recognized"), "{said}");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = runtime(&["dicom", "ping", &format!("PACS@{gone}")]);
    let said = String::from_utf8(nobody.stderr).unwrap();
    assert!(!nobody.status.success() && said.contains("cannot reach"), "{said}");
    for bad in ["PACS", "PACS@host", "@127.0.0.1:1", "A TITLE MUCH TOO LONG@127.0.0.1:1"] {
        let output = runtime(&["dicom", "ping", bad]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("expected AE@HOST:PORT"), "{bad}: {said}");
    }
}

/// `CXR_KILLS` kills (default 12) at random moments, while images are received, analysed and delivered. Our archive
/// sees what `kills.rs` cannot ask Orthanc: that whatever came twice was the same.
#[test]
fn whoever_kills_the_daemon_at_random_loses_and_doubles_no_result() {
    let kills = std::env::var("CXR_KILLS").map_or(12, |text| text.parse().unwrap());
    let archive = Archive::start();
    let bundle = model::trusted(&model::write(tempfile::tempdir().unwrap().keep().as_path(), 1));
    let destinations = to(&archive, "commit = true\ncommit_seconds = 2\nobjects = [\"sr\"]");
    let settings = Settings { bundle: &bundle, dicom: &destinations, ..Settings::default() };
    let mut daemon = Daemon::start(settings);
    let (mut acknowledged, mut random) = (BTreeSet::new(), 0x2545_f491_4f6c_dd1d_u64);
    let mut number = 0;
    for _ in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let until = Instant::now() + Duration::from_millis(random % 700);
        // Sends until the daemon is killed under it, in whatever it is doing.
        let dicom = daemon.dicom;
        let sender = std::thread::spawn(move || {
            let mut sent = Vec::new();
            while Instant::now() < until {
                let Ok(true) = std::panic::catch_unwind(|| {
                    Scu::associate(dicom).store(&format!("1.2.{number}"), number) == 0
                }) else {
                    break;
                };
                sent.push(format!("1.2.{number}"));
                // As many as a busy machine can answer in the time of this test.
                std::thread::sleep(Duration::from_millis(40));
                number += 1;
            }
            (sent, number + 1)
        });
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        let folder = daemon.kill();
        let (sent, next) = sender.join().unwrap();
        acknowledged.extend(sent);
        number = next;
        daemon = Daemon::start_in(folder, settings);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let open = queue(&daemon, &["list"]);
        let committed = queue(&daemon, &["list", "--state", "committed", "--limit", "100000"]);
        let sources: BTreeSet<String> = committed
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["source"].as_str().unwrap().to_owned())
            .collect();
        if open.as_array().unwrap().is_empty() && acknowledged.is_subset(&sources) {
            // One UID for each image, and whatever was sent twice was the same, to the byte.
            assert_eq!(sources.len(), committed.as_array().unwrap().len());
            break;
        }
        assert!(Instant::now() < deadline, "{} acknowledged, open: {open}", acknowledged.len());
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut objects: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for kept in &archive.inside().kept {
        let first = objects.entry(kept.uid.clone()).or_insert_with(|| kept.bytes.clone());
        assert!(*first == kept.bytes, "{} came twice and differs", kept.uid);
    }
    assert!(!acknowledged.is_empty() && objects.len() >= acknowledged.len());
}
