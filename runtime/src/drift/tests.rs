//! What becomes of images that are offered, and of the state when the daemon ends.

use super::*;
use ::drift::{Effort, Frame, Gathered, Reference, Seen};
use std::{fs, path::Path, sync::OnceLock, time::Instant};

const FRAME: Frame = Frame { height: 16, width: 16, black: 0.0, white: 1.0 };

/// A picture of its number, and how bright all of it is.
fn seen(number: usize, light: f32) -> Seen {
    let grey = |at: usize| ((at * (number * 13 % 97 + 3) % 101) as f32 / 101.0 * light).min(1.0);
    let score = ("score/Effusion".to_owned(), (number * 37 % 101) as f32 / 101.0);
    Seen { input: (0..256).map(grey).collect(), embedding: Vec::new(), scores: vec![score] }
}

fn usual(number: usize) -> Seen {
    seen(number, 0.5 + (number * 7 % 10) as f32 / 30.0)
}

fn known() -> Arc<Known> {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let images = (0..120).map(|number| Gathered::of(usual(number), &FRAME).unwrap());
        let images: Vec<Gathered> = images.collect();
        Reference::build(FRAME, &images, Effort::QUICK).unwrap().to_bytes().unwrap()
    });
    Arc::new(Known::of(bytes).unwrap())
}

fn start(folder: &Path) -> Drift {
    let audit = Arc::new(Audit::open(folder).unwrap());
    let known = known();
    Drift::start(folder.to_owned(), audit, Box::new(move || Some(Ok(known.clone())))).unwrap()
}

fn wait(drift: &Drift, what: &str, is: impl Fn(&Status) -> bool) -> Status {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let status = drift.status();
        if is(&status) {
            return status;
        }
        assert!(Instant::now() < end, "waited too long for {what}: {status:?}");
        thread::yield_now();
    }
}

/// Offers images one after the other, and waits for each.
fn show(drift: &Drift, images: impl Iterator<Item = Seen>, source: &str) -> Status {
    let mut status = wait(drift, "a reference", |status| status.reference.is_some());
    for seen in images {
        let before = status.observed;
        drift.offer(Offer { source: source.into(), seen });
        status = wait(drift, "the image", |status| status.observed > before);
    }
    status
}

#[test]
fn a_change_is_told_with_its_source_and_stands_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path());
    let calm = show(&first, (200..230).map(usual), "ROOM 1");
    assert!(calm.alarms.is_empty(), "{calm:?}");
    let told = show(&first, (0..60).map(|number| seen(number, 1.5)), "ROOM 2, Acme");
    let sources: Vec<&str> = told.alarms.iter().map(|alarm| alarm.source.as_str()).collect();
    assert!(sources.contains(&"ROOM 2, Acme") && !sources.contains(&"ROOM 1"), "{sources:?}");
    assert!(told.warnings().any(|text| text.starts_with("drift, ROOM 2, Acme: pixels/")));
    let summary = first.summary().unwrap();
    drop(first);
    let again = start(folder.path());
    let status = wait(&again, "what was seen before", |status| status.reference.is_some());
    assert_eq!((status.alarms, again.summary().unwrap()), (told.alarms, summary));
}

#[test]
fn the_log_tells_nothing_but_numbers_and_outlasts_a_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    drop(show(&start(folder.path()), (0..3).map(usual), "ROOM 1"));
    let path = folder.path().join("drift.log");
    let whole = fs::read_to_string(&path).unwrap();
    assert_eq!(whole.lines().count(), 3);
    let line: serde_json::Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    let names: Vec<&String> = line.as_object().unwrap().keys().collect();
    assert_eq!(names, ["at", "looks", "reference", "source"]);
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let again = start(folder.path());
    show(&again, (3..4).map(usual), "ROOM 1");
    assert_eq!(again.summary().unwrap().streams[0].images, 3);
}

#[test]
fn what_cannot_be_compared_is_left_out_and_told_and_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let drift = start(folder.path());
    wait(&drift, "a reference", |status| status.reference.is_some());
    let seen = Seen { scores: Vec::new(), ..usual(1) };
    drift.offer(Offer { source: String::new(), seen });
    let status = wait(&drift, "a reason", |status| status.left_out == 1);
    assert!(status.reason.unwrap().contains("score/Effusion"));
    let status = show(&drift, std::iter::once(usual(2)), "");
    assert_eq!((status.observed, status.reason), (1, None));
    assert_eq!(drift.summary().unwrap().streams[1].source, "unknown source");
}

#[test]
fn a_bundle_without_a_reference_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Arc::new(Audit::open(folder.path()).unwrap());
    let none = || Some(Err("no section".to_owned()));
    let drift = Drift::start(folder.path().to_owned(), audit, Box::new(none)).unwrap();
    drift.offer(Offer { source: String::new(), seen: usual(1) });
    let status = wait(&drift, "why", |status| status.reason.is_some());
    assert_eq!((status.left_out, status.alarms.len()), (0, 0));
    assert!(drift.summary().is_none() && !folder.path().join("drift.log").exists());
}
