//! Exposures with a real journal, a real lamp file and a real spool.

use crate::{audit::Audit, config::ExposuresConfig, exposures::Exposures, spool::Spool};
use exposures::{Event, Journal, Moment, shown};
use protocol::exposure::{Detector, Exposure, Lamp, Outcome, Readiness, Technique};
use std::{fs, path::Path, sync::Arc, time::Duration};

fn open(folder: &Path) -> Exposures {
    let spool = crate::config::SpoolConfig::at(folder.join("spool"));
    let spool = Arc::new(Spool::open(&spool).unwrap());
    let config = ExposuresConfig {
        folder: folder.join("room"),
        stations: Vec::new(),
        image_seconds: Duration::from_secs(600),
        exposure_seconds: Duration::from_secs(120),
        lamp_seconds: Duration::from_secs(900),
    };
    let audit = Arc::new(Audit::open(&folder.join("spool")).unwrap());
    Exposures::open(config, spool, audit, folder.join("spool/exposures.json")).unwrap()
}

fn exposure(sequence: u32, age: u32) -> Exposure {
    Exposure {
        controller: 0,
        epoch: 0,
        sequence,
        outcome: Outcome::Complete,
        age: Some(age),
        clock: None,
        technique: Technique::default(),
        subject: None,
        repeats: None,
    }
}

#[test]
fn a_missing_image_is_told_by_health_and_lamp_and_after_a_restart_and_once_in_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let room = folder.path().join("room");
    let first = open(folder.path());
    let mut journal = Journal::open(&room).unwrap();
    journal.tell(exposure(1, 700_000)).unwrap();
    first.look(Moment::now(), true);
    let facts = first.facts();
    assert_eq!((facts.missing, facts.warnings().len()), (1, 1));
    assert!(facts.oldest_missing_seconds >= Some(700));
    assert_eq!(shown(&room).unwrap().missing, 1);
    drop(first);
    assert_eq!(shown(&room).unwrap().lamp, Lamp::Trouble);
    let second = open(folder.path());
    second.look(Moment::now(), true);
    assert_eq!((second.facts().missing, second.facts().counts.exposures), (1, 1));
    second.audit.flush();
    let log = fs::read_to_string(folder.path().join("spool/audit.log")).unwrap();
    assert_eq!(log.matches("image-missing").count(), 1, "{log}");
}

#[test]
fn the_first_start_begins_with_what_comes_from_now_on() {
    let folder = tempfile::tempdir().unwrap();
    let room = folder.path().join("room");
    fs::create_dir(&room).unwrap();
    let mut journal = Journal::open(&room).unwrap();
    journal.tell(exposure(1, 700_000)).unwrap();
    let exposures = open(folder.path());
    exposures.look(Moment::now(), true);
    assert_eq!(exposures.facts().counts.exposures, 0);
    journal.tell(exposure(2, 0)).unwrap();
    exposures.look(Moment::now(), true);
    assert_eq!(
        (exposures.facts().counts.exposures, shown(&room).unwrap().lamp),
        (1, Lamp::Analysing)
    );
}

#[test]
fn a_damaged_state_is_said_and_a_damaged_journal_is_trouble_until_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    fs::write(folder.path().join("spool/exposures.json"), "{").unwrap();
    let exposures = open(folder.path());
    let room = folder.path().join("room");
    assert!(exposures.facts().warnings()[0].contains("are forgotten"));
    fs::write(room.join("exposures.journal"), "notes of a person").unwrap();
    exposures.look(Moment::now(), true);
    assert_eq!(shown(&room).unwrap().lamp, Lamp::Trouble);
    assert!(exposures.facts().warnings()[0].contains("found no journal of exposures"));
    fs::remove_file(room.join("exposures.journal")).unwrap();
    exposures.look(Moment::now(), true);
    assert_eq!(shown(&room).unwrap().lamp, Lamp::Idle);
}

#[test]
fn a_detector_that_is_not_ready_is_a_warning_until_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let exposures = open(folder.path());
    let mut journal = Journal::open(&folder.path().join("room")).unwrap();
    for (readiness, warnings) in [(Readiness::TooWarm, 1), (Readiness::Ready, 0)] {
        let detector = Detector { controller: 0, readiness, temperature: None };
        journal.append(Event::Detector(detector)).unwrap();
        exposures.look(Moment::now(), true);
        assert_eq!(exposures.facts().warnings().len(), warnings, "{readiness}");
    }
}
