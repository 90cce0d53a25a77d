//! A daemon that is not well says so, in every place where somebody looks; and it says nothing about patients.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    Daemon, PATIENCE, Settings,
    archive::{Act, Archive},
    fixtures, model,
    scu::Scu,
    slots,
};
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_object::mem::InMemElement;
use std::{
    fs,
    io::Write,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
};

/// Puts a pipe in an image's place: whoever reads it waits until somebody writes.
fn block(spool: &Path, uid: &str) -> (PathBuf, Vec<u8>) {
    let path = fs::read_dir(spool.join("images")).unwrap().map(|file| file.unwrap().path());
    let path =
        path.into_iter().find(|p| p.to_str().unwrap().contains(&format!("_{uid}_"))).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    (path, bytes)
}

/// Killed in the middle of an image, over and over: it comes behind the others, and is analysed in the end.
#[test]
fn power_cuts_in_the_middle_of_an_image_never_give_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = model::trusted(&model::write(folder.path(), 1));
    let with_bundle = Settings { bundle: &trusted, ..Settings::default() };
    let daemon = Daemon::start(Settings::default());
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.1", 1), 0);
    let mut folder = daemon.kill();
    let (path, bytes) = block(&folder.path().join("spool"), "1.2.1");
    for kill in 1..=2 {
        let daemon = Daemon::start_in(folder, with_bundle);
        let attempts = daemon.folder.path().join("spool/attempts").join(path.file_stem().unwrap());
        daemon.wait("the worker to be at the image", |_| {
            (fs::read_to_string(&attempts).ok()? == format!("{kill}\n")).then_some(())
        });
        folder = daemon.kill();
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let daemon = Daemon::start_in(folder, with_bundle);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.2", 2), 0);
    assert_eq!(daemon.findings("1.2.2")["status"], "analysed");
    assert_eq!(daemon.json("/images/1.2.1").0, 202, "the other one came first");
    assert_eq!(daemon.findings("1.2.1")["status"], "analysed");
    assert_eq!(daemon.metric("cxr_images_parked_total"), 0);
    assert!(daemon.spool("attempts").is_empty());
}

#[test]
fn a_worker_that_does_not_move_is_noticed_by_everybody_who_looks() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = model::trusted(&model::write(folder.path(), 1));
    let daemon = Daemon::start(Settings::default());
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.1", 1), 0);
    let spool = daemon.kill();
    let (path, _) = block(&spool.path().join("spool"), "1.2.1");

    let notify = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 99];
        let length = systemd.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let settings = Settings {
        bundle: &trusted,
        worker: "stuck_seconds = 1",
        environment: &[("NOTIFY_SOCKET", notify.to_str().unwrap()), ("WATCHDOG_USEC", "200000")],
        ..Settings::default()
    };
    let mut daemon = Daemon::start_in(spool, settings);
    assert_eq!(told(), "READY=1");
    assert_eq!(told(), "WATCHDOG=1");
    let health = daemon.wait("the worker to be missed", |daemon| {
        let (status, health) = daemon.json("/health");
        (status == 503).then_some(health)
    });
    assert_eq!(health["status"], "failing");
    assert!(
        health["reason"].as_str().unwrap().contains("the worker has not moved for"),
        "{health}"
    );
    assert_eq!((daemon.metric("cxr_healthy"), daemon.metric("cxr_ready")), (0, 1));
    assert!(daemon.metric("cxr_worker_late_seconds") >= 1);
    daemon.wait("the watchdog not to be fed", |daemon| {
        daemon.log().contains("watchdog is not fed").then_some(())
    });

    // Somebody writes nothing and closes: the read ends, and the image is no image.
    drop(fs::File::options().write(true).open(&path).unwrap());
    assert_eq!(daemon.findings("1.2.1")["status"], "not-analysed");
    assert_eq!(daemon.json("/health").1["status"], "ok");
    assert!(daemon.terminate().success());
    let mut last = told();
    while last == "WATCHDOG=1" {
        last = told();
    }
    assert_eq!(last, "STOPPING=1");
}

/// It once waited for the worker for ever.
#[test]
fn a_stop_does_not_wait_for_a_worker_that_does_not_move() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = model::trusted(&model::write(folder.path(), 1));
    let daemon = Daemon::start(Settings::default());
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.1", 1), 0);
    let spool = daemon.kill();
    let (path, bytes) = block(&spool.path().join("spool"), "1.2.1");
    let stuck = Settings { bundle: &trusted, worker: "stuck_seconds = 1", ..Settings::default() };
    let mut daemon = Daemon::start_in(spool, stuck);
    daemon
        .wait("the worker to be missed", |daemon| (daemon.json("/health").0 == 503).then_some(()));
    assert!(daemon.terminate().success());
    let spool = daemon.kill();
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    assert_eq!(Daemon::start_in(spool, stuck).findings("1.2.1")["status"], "analysed");
}

/// A small file system, gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(&path)
            .stderr(std::process::Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self(path))
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut filler = fs::File::create(&path).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A full disk once gave images up that it kept from being answered, and `/health` said "ok".
#[test]
fn a_disk_that_is_really_full_loses_no_finding() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = model::trusted(&model::write(folder.path(), 1));
    let Some(disk) = Disk::mount(folder.path().join("disk")) else {
        return skip::because("mounting a small disk needs root");
    };
    let work = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&disk.0, work.path().join("spool")).unwrap();
    let spool = "min_free_bytes = 0";
    let daemon = Daemon::start_in(work, Settings { spool, ..Settings::default() });
    let mut scu = Scu::associate(daemon.dicom);
    for seed in 1..4 {
        assert_eq!(scu.store(&format!("1.2.{seed}"), seed), 0);
    }
    let work = daemon.kill();
    let filler = disk.fill();
    let settings = Settings { bundle: &trusted, spool, ..Settings::default() };
    let daemon = Daemon::start_in(work, settings);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.9", 9), 0xa700);
    daemon.wait("three refusals", |daemon| {
        (daemon.log().matches("cannot note the attempt").count() > 2).then_some(())
    });
    let (status, health) = daemon.json("/health");
    assert_eq!((status, &health["status"]), (503, &"failing".into()), "{health}");
    fs::remove_file(filler).unwrap();
    for seed in 1..4 {
        assert_eq!(daemon.findings(&format!("1.2.{seed}"))["status"], "analysed");
    }
    daemon.wait("all to be well", |daemon| (daemon.get("/health").0 == 200).then_some(()));
    assert_eq!(daemon.metric("cxr_images_parked_total"), 0);
}

#[test]
fn too_little_free_space_is_told_to_senders_and_watchers() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = model::trusted(&model::write(folder.path(), 1));
    let settings = Settings {
        bundle: &trusted,
        spool: "min_free_bytes = 4611686018427387904",
        ..Settings::default()
    };
    let daemon = Daemon::start(settings);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.1", 1), 0xa700);
    let (status, health) = daemon.json("/health");
    assert_eq!((status, &health["status"]), (503, &"failing".into()));
    assert!(health["reason"].as_str().unwrap().contains("senders hear A700"), "{health}");
    assert_eq!(health["disk"]["floor"], 4_611_686_018_427_387_904_u64);
    assert!(daemon.spool("incoming").is_empty());
}

fn verify(spool: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(["audit", "verify", "--spool"])
        .arg(spool)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_audit_log_tells_who_did_what_and_shows_when_it_was_edited() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = model::trusted(&model::write(folder.path(), 1));
    let settings = Settings { bundle: &trusted, spool: "keep_answered = 0", ..Settings::default() };
    let mut daemon = Daemon::start(settings);
    let mut scu = Scu::associate(daemon.dicom);
    assert_eq!(scu.store("1.2.1", 1), 0);
    scu.release();
    daemon.wait("the purge", |daemon| daemon.spool("images").is_empty().then_some(()));
    daemon.wait("it to be told", |daemon| {
        daemon.log().contains("1 images were purged").then_some(())
    });
    assert!(daemon.terminate().success());

    let spool = daemon.folder.path().join("spool");
    let text = fs::read_to_string(spool.join("audit.log")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let what: Vec<&str> = lines.iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["start", "bundle", "association", "store", "answer", "purge", "stop"]);
    assert_eq!(lines[1]["id"], "test-1");
    assert_eq!((&lines[2]["who"], &lines[2]["outcome"]), (&"XRAY1".into(), &"accepted".into()));
    assert_eq!((&lines[3]["image"], &lines[3]["status"]), (&0.into(), &"0000".into()));
    assert_eq!((&lines[4]["image"], &lines[4]["status"]), (&0.into(), &"analysed".into()));
    assert_eq!(lines[5]["images"], serde_json::json!([0]));
    let (sound, said) = verify(&spool);
    assert!(sound && said.starts_with("7 lines, unbroken"), "{said}");

    fs::write(spool.join("audit.log"), text.replacen("XRAY1", "XRAY2", 1)).unwrap();
    let (sound, said) = verify(&spool);
    assert!(!sound && said.contains("audit.log, line 4: says that the line before"), "{said}");
}

/// Marks stand for what identifies a patient. They go in by every way there is, the failing ones too.
#[test]
fn no_log_no_metric_and_no_audit_line_knows_a_patient() {
    let trusted = format!("slots = \"slots\"\ntrusted_keys = [\"{}\"]", model::public_key());
    let archive = Archive::start();
    archive.inside().manners.acts.extend([Act::Status(0xc000), Act::Status(0xa700)]);
    let destination = format!(
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{}\"\nobjects = [\"sr\"]",
        archive.address
    );
    let settings = Settings { bundle: &trusted, dicom: &destination, ..Settings::default() };
    let daemon = Daemon::start(settings);
    let slots = daemon.folder.path().join("slots");
    slots::activate(&slots, &model::seal(1, true));
    daemon.wait("the bundle", |daemon| (daemon.get("/health").0 == 200).then_some(()));
    let uid = |n: u32| format!("1.2.77777.{n}");
    let marked = |n: u32, side: u16, changes: &[(u16, u16, VR, &str)]| {
        let mut object = fixtures::chest(&uid(n), side, n);
        let identity = [
            (0x0010, 0x0010, VR::PN, "MARKED^NAME"),
            (0x0010, 0x0020, VR::LO, "MARKED-ID"),
            (0x0008, 0x0050, VR::SH, "MARKED-ACC"),
            (0x0008, 0x1030, VR::LO, "MARKED DESCRIPTION"),
        ];
        for (group, element, vr, text) in identity.iter().chain(changes) {
            let value = PrimitiveValue::from(*text);
            object.put(InMemElement::new(Tag(*group, *element), *vr, value));
        }
        fixtures::encode(&object, fixtures::IMPLICIT)
    };
    let mut scu = Scu::associate(daemon.dicom);
    let good = marked(1, 160, &[]);
    assert_eq!(scu.store_bytes(&uid(1), &good), 0);
    assert_eq!(scu.store_bytes(&uid(1), &good), 0, "a duplicate");
    assert_eq!(scu.store_bytes(&uid(1), &marked(1, 161, &[])), 0, "a revision");
    assert_eq!(scu.store_bytes(&uid(2), &marked(2, 64, &[])), 0, "too small");
    assert_eq!(scu.store_bytes(&uid(3), &good), 0xa900, "another object than announced");
    let other_class = marked(4, 160, &[(0x0008, 0x0016, VR::UI, "1.2.77777.99")]);
    assert_eq!(scu.store_bytes(&uid(4), &other_class), 0xa900);
    assert_eq!(scu.store_bytes("1.2.77777.x", &good), 0x0117, "no UID");
    // Names where none should be, which the gate refuses and decoders stumble over.
    let odd = [
        (0x0018, 0x0015, VR::CS, "MARKED PART"),
        (0x0018, 0x5101, VR::CS, "MARKED VIEW"),
        (0x0008, 0x0060, VR::CS, "MARKED MOD"),
        (0x0028, 0x0004, VR::CS, "MARKED PHOTO"),
    ];
    for (n, change) in (5..).zip(odd) {
        assert_eq!(scu.store_bytes(&uid(n), &marked(n, 160, &[change])), 0);
    }
    let cut = &marked(9, 160, &[])[..3000];
    assert_eq!(scu.store_bytes(&uid(9), cut), 0);
    assert_eq!(scu.store_bytes(&uid(10), b"MARKED NAME IN A FILE THAT IS NO DICOM"), 0xc000);
    for n in [1, 2, 5, 6, 7, 8, 9] {
        daemon.findings(&uid(n));
    }
    scu.release();
    let mut half = Scu::associate(daemon.dicom);
    half.fragment = 512;
    half.try_send(&common::scu::pdus(3, b"MARKED COMMAND", Some(b"MARKED DATA"), 512)[0]);
    half.hang_up();

    // An answer that the disk refuses, and an image that cannot be read.
    let results = daemon.folder.path().join("spool/results");
    fs::rename(&results, daemon.folder.path().join("aside")).unwrap();
    fs::write(&results, b"a file where a folder should be").unwrap();
    let mut scu = Scu::associate(daemon.dicom);
    assert_eq!(scu.store_bytes(&uid(11), &marked(11, 160, &[])), 0);
    daemon.wait("the trouble", |daemon| (daemon.json("/health").0 == 503).then_some(()));
    let (health, metrics) = (daemon.get("/health").1, daemon.get("/metrics").1);
    fs::remove_file(&results).unwrap();
    fs::rename(daemon.folder.path().join("aside"), &results).unwrap();
    daemon.findings(&uid(11));
    daemon.wait("deliveries", |_| (archive.uids().len() >= 5).then_some(()));
    let mut daemon = daemon;
    assert!(daemon.terminate().success());

    let audit = fs::read(daemon.folder.path().join("spool/audit.log")).unwrap();
    let journal = fs::read(slots.join("daemon.log")).unwrap();
    assert!(
        String::from_utf8_lossy(&journal).contains("analysed in"),
        "the log is kept for the agent"
    );
    let word = fs::read(slots.join("running.json")).unwrap();
    let kept = [daemon.log().into_bytes(), health, metrics, audit, journal, word];
    let names = ["log", "/health", "/metrics", "audit.log", "daemon.log", "running.json"];
    for (what, kept) in names.into_iter().zip(kept) {
        let text = String::from_utf8_lossy(&kept).into_owned();
        for mark in ["MARKED", "1.2.77777", "77777"] {
            let line = text.lines().find(|line| line.contains(mark));
            assert_eq!(line, None, "{mark} in {what}");
        }
        assert!(text.len() > 300, "{what}: {text}");
        if matches!(what, "log" | "audit.log") {
            assert!(text.contains("pacs"), "deliveries are told: {text}");
        }
    }
}
