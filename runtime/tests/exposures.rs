//! Exposures told through the journal, images sent by C-STORE: the daemon says what is missing.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use ::exposures::{Journal, shown};
use common::{Daemon, Settings, fixtures, model, scu::Scu};
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_object::mem::InMemElement;
use protocol::exposure::{Exposure, Lamp, Outcome, Technique};
use std::fs;

const ROOM: &str = "[exposures]\nfolder = \"room\"\nstations = [\"ROOM3\"]\nimage_seconds = 2\nexposure_seconds = 2\n";

fn exposure(sequence: u32, kilovolts: u16) -> Exposure {
    Exposure {
        controller: 0,
        epoch: 0,
        sequence,
        outcome: Outcome::Complete,
        age: None,
        clock: None,
        technique: Technique { kilovolts: Some(kilovolts), ..Technique::default() },
        subject: None,
        repeats: None,
    }
}

fn send(daemon: &Daemon, uid: &str, station: &str, kilovolts: &str) {
    let mut chest = fixtures::chest(uid, 64, 1);
    for (tag, vr, text) in [
        (Tag(0x0008, 0x1010), VR::SH, station),
        (Tag(0x0018, 0x0060), VR::DS, kilovolts),
        (Tag(0x0008, 0x002a), VR::DT, "20261130120000.5"),
    ] {
        chest.put(InMemElement::new(tag, vr, PrimitiveValue::from(text)));
    }
    let bytes = fixtures::encode(&chest, fixtures::IMPLICIT);
    assert_eq!(Scu::associate(daemon.dicom).store_bytes(uid, &bytes), 0);
}

#[test]
fn an_image_that_never_arrives_is_said_everywhere_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = model::trusted(&model::write(folder.path(), 1));
    let settings = Settings { bundle: &trusted, dicom: ROOM, ..Settings::default() };
    let daemon = Daemon::start(settings);
    let room = daemon.folder.path().join("room");
    let mut journal = Journal::open(&room).unwrap();
    // The second one's image arrives; the voltage tells them apart.
    journal.tell(exposure(1, 1_250)).unwrap();
    journal.tell(exposure(2, 700)).unwrap();
    send(&daemon, "1.2.1", "ROOM3", "70");
    send(&daemon, "1.2.2", "ELSEWHERE", "70");
    let warned = |daemon: &Daemon| {
        let warnings = daemon.json("/health").1["warnings"].to_string();
        warnings.contains("the images of 1 exposures never arrived").then_some(())
    };
    daemon.wait("the missing image to be told", warned);
    let (status, health) = daemon.json("/health");
    assert_eq!(status, 200, "the box does its work");
    let listed = &health["exposures"]["missing_exposures"];
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!((&listed[0]["sequence"], &listed[0]["kilovolts"]), (&1.into(), &125.0.into()));
    assert_eq!(daemon.metric("cxr_images_missing"), 1);
    assert_eq!(daemon.metric("cxr_exposures_matched"), 1);
    // Killed and started again, it still knows.
    let daemon = daemon.kill_and_restart(settings);
    assert_eq!(daemon.metric("cxr_images_missing"), 1);
    send(&daemon, "1.2.3", "ROOM3", "125.0");
    send(&daemon, "1.2.4", "ROOM3", "125.0");
    daemon.wait("the late image to clear it", |d| {
        (d.metric("cxr_images_missing") == 0 && d.metric("cxr_images_unexplained") == 1)
            .then_some(())
    });
    let lamp = daemon.wait("an answer on the lamp", |_| {
        let lamp = shown(&room).unwrap().lamp;
        (lamp != Lamp::Analysing && lamp != Lamp::Trouble).then_some(lamp)
    });
    assert!(matches!(lamp, Lamp::Ready | Lamp::Urgent | Lamp::NotAnalysed), "{lamp}");
    let log = daemon.wait("the audit log", |d| {
        let log = fs::read_to_string(d.folder.path().join("spool/audit.log")).ok()?;
        log.contains("no-exposure").then_some(log)
    });
    for outcome in ["image-missing", "image-found", "no-exposure"] {
        assert_eq!(log.matches(outcome).count(), 1, "{outcome}: {log}");
    }
}
