//! What the daemon says of the bundle on trial: enough to confirm it, and everything against it.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Daemon, Settings, model, scu::Scu, slots};
use machine::Machine;
use protocol::{BootRecord, Cause, Moment, RUNNING_FILE, Running, Terms};
use std::{fs, path::PathBuf};

const TERMS: Terms = Terms { fresh: 30, soak: 0, images: 0, max_celsius: None, min_free: Some(1) };

fn daemon() -> (Daemon, PathBuf) {
    let keys = format!("slots = \"slots\"\ntrusted_keys = [\"{}\"]", model::public_key());
    let daemon = Daemon::start(Settings { bundle: &keys, ..Settings::default() });
    let slots = daemon.folder.path().join("slots");
    (daemon, slots)
}

fn word(daemon: &Daemon) -> Option<Running> {
    let text = fs::read(daemon.folder.path().join("slots").join(RUNNING_FILE)).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

/// Waits for a word of the trial of `record` that is as wanted.
fn says(
    daemon: &Daemon,
    record: &BootRecord,
    what: &str,
    wanted: impl Fn(&Running) -> bool,
) -> Running {
    let generation = record.to_run().unwrap().generation;
    let of_trial = |word: &Running| word.generation == generation && wanted(word);
    daemon.wait(what, |daemon| word(daemon).filter(of_trial))
}

fn now() -> Moment {
    Machine::new("/".as_ref()).moment()
}

#[test]
fn a_bundle_that_answers_as_it_should_is_proven_and_its_images_are_counted() {
    let (daemon, slots) = daemon();
    assert_eq!(word(&daemon), None, "nothing is to run yet");
    let record = slots::try_out(&slots, &model::seal(1, true));
    let first = says(&daemon, &record, "the golden vectors", |word| word.golden_vectors == 1);
    let proven = first.prove(record.candidate_on_trial().unwrap(), &TERMS, &now()).unwrap();
    assert!(record.confirm(proven).is_ok());
    assert_eq!((first.answered, first.failures), (0, 0));

    let mut scu = Scu::associate(daemon.dicom);
    for seed in 1..4 {
        assert_eq!(scu.store(&format!("1.2.{seed}"), seed), 0);
    }
    let counted = says(&daemon, &record, "three images", |word| word.answered == 3);
    assert_eq!((counted.failures, counted.process), (0, first.process));

    // Another process counts anew, and is told apart.
    let keys = format!("slots = \"slots\"\ntrusted_keys = [\"{}\"]", model::public_key());
    let daemon = daemon.kill_and_restart(Settings { bundle: &keys, ..Settings::default() });
    let again = says(&daemon, &record, "the next process", |word| word.process != first.process);
    assert!(again.answered == 0 && again.started_seconds >= first.started_seconds, "{again:?}");
    assert_eq!((again.deaths, again.stopped), (1, false), "the first one was killed");
}

/// Systemd restarts a daemon for many reasons; only a death is held against the bundle.
#[test]
fn a_process_that_was_told_to_stop_says_so_and_the_next_counts_no_death() {
    let (mut daemon, slots) = daemon();
    let record = slots::try_out(&slots, &model::seal(1, true));
    let first = says(&daemon, &record, "the golden vectors", |word| word.golden_vectors == 1);
    let keys = format!("slots = \"slots\"\ntrusted_keys = [\"{}\"]", model::public_key());
    let settings = Settings { bundle: &keys, ..Settings::default() };
    for stop in 0..2 {
        assert!(daemon.terminate().success());
        let last = word(&daemon).unwrap();
        assert!(last.stopped && last.deaths == 0, "stop {stop}: {last:?}");
        daemon = daemon.kill_and_restart(settings);
        let next = says(&daemon, &record, "the next process", |word| word.process != last.process);
        assert_eq!((next.deaths, next.stopped), (0, false), "stop {stop}");
    }
    for deaths in 1..3 {
        let last = word(&daemon).unwrap().process;
        daemon = daemon.kill_and_restart(settings);
        let next = says(&daemon, &record, "the next process", |word| word.process != last);
        assert_eq!(next.deaths, deaths);
    }
    // Another trial begins without them.
    let record = record.fail(first.slot, Cause::Health, "a test", &now());
    slots::write(&slots, record);
    let second = slots::try_out(&slots, &model::seal(2, true));
    let fresh = says(&daemon, &second, "the second trial", |word| word.golden_vectors == 1);
    assert_eq!(fresh.deaths, 0);
}

#[test]
fn whatever_the_daemon_has_against_a_bundle_stands_in_its_word() {
    let (daemon, slots) = daemon();
    let mut unsigned = model::seal(1, true);
    unsigned.sign(None).unwrap();
    for (bundle, said) in [(unsigned, "sign"), (model::seal(2, false), "golden vector")] {
        let record = slots::try_out(&slots, &bundle);
        let word = says(&daemon, &record, said, |word| word.failures > 0);
        assert_eq!((word.golden_vectors, word.failures), (0, 1));
        assert!(word.failure.as_ref().unwrap().contains(said), "{word:?}");
        let trial = record.candidate_on_trial().unwrap();
        let unproven = word.prove(trial, &TERMS, &now()).unwrap_err();
        assert!(unproven.failed().is_some() && unproven.is_heard(), "{unproven}");
        slots::write(&slots, record.fail(trial.slot, Cause::Health, "refused", &now()));
    }
    // The next bundle is not blamed for the one before; nor is the same file for an earlier trial.
    let good = model::seal(3, true);
    let record = slots::try_out(&slots, &good);
    let word = says(&daemon, &record, "the good one", |word| word.golden_vectors == 1);
    assert_eq!((word.failures, &word.failure), (0, &None));
    let trial = record.candidate_on_trial().unwrap();
    let failed = slots::write(&slots, record.fail(trial.slot, Cause::Health, "a test", &now()));
    assert_eq!(failed.active, None);
    let second = slots::try_out(&slots, &good);
    assert_eq!(second.candidate_on_trial().unwrap().digest, trial.digest);
    let again = says(&daemon, &second, "the second trial", |word| word.golden_vectors == 1);
    assert!(again.prove(trial, &TERMS, &now()).is_err(), "of the second trial, not of the first");
    assert!(word.prove(second.candidate_on_trial().unwrap(), &TERMS, &now()).is_err());
}

/// A word that cannot be written is no proof; the daemon says so and answers on.
#[test]
fn a_folder_that_cannot_be_written_keeps_the_daemon_from_proving_and_from_nothing_else() {
    let (daemon, slots) = daemon();
    fs::create_dir(slots.join(RUNNING_FILE)).unwrap();
    slots::try_out(&slots, &model::seal(1, true));
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.1", 1), 0);
    assert_eq!(daemon.findings("1.2.1")["status"], "analysed");
    daemon.wait("the complaint", |daemon| {
        daemon.log().contains("cannot say what runs").then_some(())
    });
    assert_eq!(daemon.log().matches("cannot say what runs").count(), 1);
}
