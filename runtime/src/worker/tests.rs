//! What becomes of an image whose analysis, disk or daemon fails.

use super::*;
use crate::{
    config::{BundleConfig, SpoolConfig},
    profile::Threads,
    spool::Accepted,
    uid::Uid,
};
use bundle::Bundle;
use std::{cell::Cell, io::Cursor, path::Path};

fn worker(folder: &Path) -> Worker {
    let spool = SpoolConfig::at(folder.join("spool"));
    let spool = Arc::new(Spool::open(&spool).unwrap());
    let audit = Arc::new(Audit::open(&folder.join("spool")).unwrap());
    let bundle = BundleConfig {
        path: None,
        slots: Some(folder.to_owned()),
        trusted_keys: Vec::new(),
        keyring: None,
        allow_unsigned: false,
        poll_seconds: Duration::from_secs(1),
        test_seconds: Duration::from_secs(3600),
    };
    Worker {
        config: WorkerConfig { max_attempts: 3, ..WorkerConfig::default() },
        poll: bundle.poll_seconds,
        spool,
        compute: Arc::new(Compute::new(&WorkerConfig::default())),
        model: Arc::new(Model::new(bundle, Threads::unbound(1), audit.clone()).unwrap()),
        metrics: Arc::default(),
        trouble: Arc::default(),
        heartbeat: Arc::new(Heartbeat::new()),
        drift: Arc::new(
            Drift::start(folder.join("spool"), audit.clone(), Box::new(|| None)).unwrap(),
        ),
        audit,
        outbox: Arc::new(Outbox::new(folder.join("box.sqlite"), Vec::new(), Arc::new(|| 0))),
        shadow: None,
        seen: Seen::default(),
    }
}

fn store(worker: &Worker, uid: &str) -> Accepted {
    let mut incoming = worker.spool.begin().unwrap();
    incoming.write(uid.as_bytes()).unwrap();
    incoming.commit(Uid::parse(uid).unwrap()).unwrap()
}

fn received(worker: &Worker, uid: &str) -> Entry {
    store(worker, uid);
    take(worker).unwrap()
}

/// The next image, however long it is to be left alone.
fn take(worker: &Worker) -> Option<Entry> {
    worker.spool.take(Instant::now() + Duration::from_secs(3600))
}

fn answer(status: Status) -> Analysis {
    let id = BundleId { id: "test".into(), digest: "00".into(), ..BundleId::default() };
    let report = Record { status, ..Record::not_analysed("x.dcm".into(), id, "because".into()) };
    Analysis { report, masks: Vec::new(), seen: None }
}

fn result(worker: &Worker, key: &Key) -> Record {
    serde_json::from_slice(&worker.spool.result(key).unwrap()).unwrap()
}

/// A folder in which nothing can be written, until [`Closed::open`].
struct Closed(PathBuf);

impl Closed {
    fn new(worker: &Path, name: &str) -> Self {
        let path = worker.join("spool").join(name);
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, b"a file where a folder should be").unwrap();
        Self(path)
    }

    fn open(self) {
        fs::remove_file(&self.0).unwrap();
        fs::create_dir(&self.0).unwrap();
    }
}

#[test]
fn a_panic_is_tried_again_after_a_pause_and_then_parked() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    let key = received(&worker, "1.1").key;
    worker.spool.put_back_running();
    let tries = Cell::new(0);
    for pause in [1, 2] {
        let entry = take(&worker).unwrap();
        let now = Instant::now();
        let panics = |_: &Job| {
            tries.set(tries.get() + 1);
            panic!("a decoder's index was out of range")
        };
        worker.work(entry, panics).unwrap();
        let before = now + Duration::from_secs(pause) - Duration::from_millis(1);
        assert!(worker.spool.take(before).is_none(), "left alone for {pause} s");
    }
    worker.work(take(&worker).unwrap(), |_| panic!("a decoder's index was out of range")).unwrap();
    assert_eq!(tries.get(), 2);
    let report = result(&worker, &key);
    assert_eq!((report.status, report.parked), (Status::NotAnalysed, true));
    let reason = "parked after 3 attempts: panicked: a decoder's index was out of range";
    assert_eq!(report.reason.unwrap(), reason);
    assert_eq!(worker.metrics.parked.get(), 1);
    let next = received(&worker, "1.2");
    let key = next.key.clone();
    worker.work(next, |_| Ok(answer(Status::Analysed))).unwrap();
    assert_eq!(result(&worker, &key).status, Status::Analysed);
}

#[test]
fn a_failure_that_passes_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    let entry = received(&worker, "1.1");
    worker.work(entry, |_| Err(anyhow!("out of memory"))).unwrap();
    let entry = take(&worker).unwrap();
    let key = entry.key.clone();
    worker.work(entry, |_| Ok(answer(Status::Analysed))).unwrap();
    let report = result(&worker, &key);
    assert_eq!(
        (report.status, report.sop_instance_uid.as_deref()),
        (Status::Analysed, Some("1.1"))
    );
    assert_eq!(worker.metrics.parked.get(), 0);
}

/// A full disk once parked the images it kept from being answered, as if they had killed the daemon.
#[test]
fn a_disk_that_refuses_answers_never_parks_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    let key = received(&worker, "1.1").key;
    worker.spool.put_back_running();
    let results = Closed::new(folder.path(), "results");
    for _ in 0..10 {
        let error = worker.work(take(&worker).unwrap(), |_| Ok(answer(Status::Analysed)));
        assert!(error.unwrap_err().to_string().contains("cannot write the answer"));
    }
    results.open();
    worker.work(take(&worker).unwrap(), |_| Ok(answer(Status::Analysed))).unwrap();
    assert_eq!(result(&worker, &key).status, Status::Analysed);

    let key = received(&worker, "1.2").key;
    worker.spool.put_back_running();
    let attempts = Closed::new(folder.path(), "attempts");
    for _ in 0..10 {
        let error = worker.work(take(&worker).unwrap(), |_| Ok(answer(Status::Analysed)));
        assert!(error.unwrap_err().to_string().contains("cannot note the attempt"));
    }
    attempts.open();
    worker.work(take(&worker).unwrap(), |_| Ok(answer(Status::Analysed))).unwrap();
    assert_eq!(result(&worker, &key).status, Status::Analysed);
    assert_eq!(worker.metrics.parked.get(), 0);
}

/// Three power cuts, or kills, in the same image once gave it up for good.
#[test]
fn no_number_of_ends_of_the_daemon_parks_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let key = {
        let worker = worker(folder.path());
        let key = store(&worker, "1.1").key().clone();
        take(&worker).unwrap();
        worker.spool.begin_attempt(&key, 0).unwrap(); // and killed
        store(&worker, "1.2");
        key
    };
    for deaths in 2..=10 {
        let worker = worker(folder.path());
        let first = worker.spool.take(Instant::now()).unwrap();
        assert_eq!(first.key.uid.to_string(), "1.2", "others come first");
        let killed_in = take(&worker).unwrap();
        assert_eq!(killed_in.key, key);
        worker.spool.begin_attempt(&key, killed_in.deaths).unwrap();
        assert_eq!(killed_in.deaths + 1, deaths);
    }
    let worker = worker(folder.path());
    take(&worker).unwrap();
    worker.work(take(&worker).unwrap(), |_| Ok(answer(Status::Analysed))).unwrap();
    let report = result(&worker, &key);
    assert_eq!((report.status, report.parked), (Status::Analysed, false));
    assert!(!folder.path().join("spool/attempts").join(key.name()).exists());
}

#[test]
fn an_image_in_which_the_daemon_ended_is_left_alone_for_longer_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let key = received(&worker(folder.path()), "1.1").key;
    for (deaths, seconds) in [(1, 1), (2, 5), (3, 30), (4, 300), (5, 3600), (400, 3600)] {
        fs::write(folder.path().join("spool/attempts").join(key.name()), deaths.to_string())
            .unwrap();
        let before = Instant::now();
        let worker = worker(folder.path());
        let pause = Duration::from_secs(seconds);
        assert!(worker.spool.take(before + pause - Duration::from_millis(1)).is_none(), "{deaths}");
        assert_eq!(worker.spool.take(Instant::now() + pause).unwrap().deaths, deaths);
    }
}

#[test]
fn a_failure_that_the_daemon_survived_is_not_held_against_the_image() {
    let folder = tempfile::tempdir().unwrap();
    {
        let worker = worker(folder.path());
        let entry = received(&worker, "1.1");
        worker.work(entry, |_| Err(anyhow!("out of memory"))).unwrap();
    }
    assert_eq!(take(&worker(folder.path())).unwrap().deaths, 0);
}

#[test]
fn an_image_that_cannot_be_read_lets_others_pass_and_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    let broken = received(&worker, "1.1");
    let key = broken.key.clone();
    let refused = |_: &Job| Err(anyhow::Error::new(io::Error::other("input/output error")));
    worker.work(broken, refused).unwrap();
    let key_of_next = {
        store(&worker, "1.2");
        worker.spool.take(Instant::now()).unwrap().key
    };
    assert_eq!(key_of_next.uid.to_string(), "1.2");
    for _ in 0..20 {
        worker.work(take(&worker).unwrap(), refused).unwrap();
    }
    worker.work(take(&worker).unwrap(), |_| Ok(answer(Status::Analysed))).unwrap();
    assert_eq!(result(&worker, &key).status, Status::Analysed);
}

#[test]
fn a_parked_image_that_is_sent_again_is_analysed_again() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    let key = received(&worker, "1.1").key;
    worker.spool.put_back_running();
    for _ in 0..3 {
        worker.work(take(&worker).unwrap(), |_| Err(anyhow!("no luck"))).unwrap();
    }
    assert!(result(&worker, &key).parked);
    assert_eq!(store(&worker, "1.1"), Accepted::Again(key.clone()));
    assert_eq!(store(&worker, "1.1"), Accepted::Duplicate(key.clone()));
    worker.work(take(&worker).unwrap(), |_| Ok(answer(Status::NotAnalysed))).unwrap();
    assert_eq!(result(&worker, &key).reason.unwrap(), "because");
    assert_eq!(store(&worker, "1.1"), Accepted::Duplicate(key), "a refusal by the gate stays");
}

/// Whatever panics in a round, the worker goes on, and `/health` knows meanwhile.
#[test]
fn a_round_that_panics_is_told_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(folder.path());
    received(&worker, "1.1");
    let mut failures = 0;
    let first = worker.guarded(&mut failures, || panic!("the boot record is a surprise"));
    assert_eq!(first, Some(Duration::from_secs(1)));
    let trouble = worker.trouble.now().unwrap();
    assert_eq!(trouble, "the worker panicked: the boot record is a surprise");
    let second = worker.guarded(&mut failures, || Err(anyhow!("no space left")));
    assert_eq!((second, failures), (Some(Duration::from_secs(2)), 2));
    assert_eq!(take(&worker).unwrap().key.uid.to_string(), "1.1", "given back");
    assert_eq!(worker.guarded(&mut failures, || Ok(Round::Worked)), None);
    assert_eq!((worker.trouble.now(), failures), (None, 0));
    assert_eq!(pause(u32::MAX), Duration::from_secs(64));
}

/// The lungs of the examples, ready to answer.
fn lungs() -> Arc<Loaded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/chest-lungs.bundle");
    Arc::new(Loaded::new(&Bundle::open(&path).unwrap(), 1).unwrap())
}

/// A picture that passes the gate.
fn store_picture(worker: &Worker, uid: &str) -> Key {
    let ramp = image::GrayImage::from_fn(160, 200, |x, y| image::Luma([(x + y / 2) as u8]));
    let mut png = Vec::new();
    ramp.write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
    let mut incoming = worker.spool.begin().unwrap();
    incoming.write(&png).unwrap();
    incoming.commit(Uid::parse(uid).unwrap()).unwrap().key().clone()
}

fn analyse(loaded: &Loaded, job: &Job) -> Result<Analysis> {
    job.analyse(loaded)
}

/// Without what differs from one run to another.
fn said(worker: &Worker, key: &Key) -> serde_json::Value {
    let mut record = serde_json::to_value(result(worker, key)).unwrap();
    for changing in ["milliseconds", "analysed", "received", "sop_instance_uid", "file"] {
        record.as_object_mut().unwrap().remove(changing).unwrap();
    }
    // Digests of these.
    for changing in ["about", "arrival"] {
        record["account"].as_object_mut().unwrap().remove(changing).unwrap();
    }
    record
}

#[test]
fn what_was_seen_ahead_becomes_the_answer_that_would_have_come_anyway() {
    let folder = tempfile::tempdir().unwrap();
    let (worker, loaded) = (worker(folder.path()), lungs());
    let first = store_picture(&worker, "1.1");
    assert!(worker.next(&loaded, analyse).unwrap());
    assert_eq!(result(&worker, &first).status, Status::Analysed);

    let key = store_picture(&worker, "1.2");
    assert!(worker.look_ahead(&loaded) && !worker.look_ahead(&loaded));
    assert!(worker.spool.result(&key).is_err(), "no answer before its turn comes");
    assert!(worker.next(&loaded, |_, _| panic!("looked at twice")).unwrap());
    assert_eq!(result(&worker, &key).file, format!("{}.dcm", key.name()));
    assert_eq!(said(&worker, &key), said(&worker, &first));
    assert!(!worker.next(&loaded, analyse).unwrap());
}

/// The boot record may change while a file is fsynced.
#[test]
fn what_one_bundle_saw_ahead_is_no_answer_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let (worker, loaded, other) = (worker(folder.path()), lungs(), lungs());
    let key = store_picture(&worker, "1.1");
    assert!(worker.look_ahead(&loaded));
    let asked = Cell::new(0);
    let analyse = |loaded: &Loaded, job: &Job| {
        asked.set(asked.get() + 1);
        job.analyse(loaded)
    };
    assert!(worker.next(&other, analyse).unwrap());
    assert_eq!((asked.get(), result(&worker, &key).status), (1, Status::Analysed));
}

#[test]
fn what_was_seen_ahead_of_an_object_that_is_gone_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (worker, loaded) = (worker(folder.path()), lungs());
    store_picture(&worker, "1.1");
    assert!(worker.look_ahead(&loaded));
    drop(take(&worker)); // as one that was refused: nobody holds it
    store_picture(&worker, "1.2");
    assert!(worker.look_ahead(&loaded));
    assert_eq!(worker.seen.len(), 1);
}
