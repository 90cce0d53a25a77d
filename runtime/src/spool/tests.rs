//! What the spool promises, power cuts included.

use super::*;
use std::{io::Write, time::Duration};

fn config(folder: &Path) -> SpoolConfig {
    SpoolConfig { keep_answered: 100, ..SpoolConfig::at(folder.join("spool")) }
}

fn store(spool: &Spool, uid: &str, contents: &[u8]) -> io::Result<Accepted> {
    let mut incoming = spool.begin()?;
    incoming.write_header(b"header")?;
    incoming.write(contents)?;
    incoming.commit(Uid::parse(uid).unwrap())
}

fn key(accepted: Accepted) -> Key {
    accepted.key().clone()
}

fn answer(spool: &Spool, key: &Key) {
    spool.answer(key, b"{}").unwrap();
    spool.publish(key);
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn images_are_taken_in_the_order_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    for uid in ["1.3", "1.2", "1.1"] {
        store(&spool, uid, b"pixels").unwrap();
    }
    let order: Vec<_> =
        std::iter::from_fn(|| spool.take(Instant::now())).map(|e| e.key.uid.to_string()).collect();
    assert_eq!(order, ["1.3", "1.2", "1.1"]);
}

#[test]
fn what_was_accepted_is_queued_again_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    let second = key(store(&spool, "1.2", b"b").unwrap());
    answer(&spool, &first);
    spool.take(Instant::now()).unwrap(); // the second is running when the power goes
    let mut half = spool.begin().unwrap();
    half.write(b"half an image").unwrap();
    half.file.flush().unwrap();
    std::mem::forget(half);
    drop(spool);

    let spool = Spool::open(&config(folder.path())).unwrap();
    assert_eq!(files(&folder.path().join("spool/incoming")), 0);
    assert_eq!(spool.take(Instant::now()).unwrap().key, second);
    assert!(spool.take(Instant::now()).is_none());
    assert_eq!(spool.result(&first).unwrap(), b"{}");
    let third = key(store(&spool, "1.3", b"c").unwrap());
    assert!(third.sequence > first.sequence + 1, "numbers are never used twice");
}

#[test]
fn the_same_object_twice_is_analysed_once() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    assert_eq!(store(&spool, "1.1", b"a").unwrap(), Accepted::Duplicate(first.clone()));
    answer(&spool, &first);
    drop(spool);
    let spool = Spool::open(&config(folder.path())).unwrap();
    assert_eq!(store(&spool, "1.1", b"a").unwrap(), Accepted::Duplicate(first));
    assert_eq!(files(&folder.path().join("spool/images")), 1);
    assert_eq!(files(&folder.path().join("spool/incoming")), 0);
}

#[test]
fn another_object_under_the_same_uid_is_kept_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    let second = store(&spool, "1.1", b"corrected").unwrap();
    assert!(matches!(second, Accepted::Revision(_)));
    let uid = Uid::parse("1.1").unwrap();
    let revisions: Vec<_> = spool.revisions(&uid).into_iter().map(|entry| entry.key).collect();
    assert_eq!(revisions, [key(second), first]);
}

#[test]
fn an_object_that_does_not_arrive_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    spool.begin().unwrap().write(b"half").unwrap();
    assert_eq!(files(&folder.path().join("spool/incoming")), 0);
    assert!(spool.take(Instant::now()).is_none());
    assert_eq!(spool.lock().reserved, 0);
}

#[test]
fn a_full_spool_gives_up_answered_images_but_never_waiting_ones() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&SpoolConfig { max_bytes: 3000, ..config(folder.path()) }).unwrap();
    let first = key(store(&spool, "1.1", &[1; 1000]).unwrap());
    store(&spool, "1.2", &[2; 1000]).unwrap();
    let full = store(&spool, "1.3", &[3; 1000]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    answer(&spool, &first);
    store(&spool, "1.3", &[3; 1000]).unwrap();
    assert_eq!(spool.counts(), Counts { waiting: 2, running: 0, answered: 0, bytes: 2012 });
    assert!(spool.result(&first).is_err());
}

#[test]
fn only_the_configured_number_of_answered_images_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&SpoolConfig { keep_answered: 2, ..config(folder.path()) }).unwrap();
    for i in 0..200 {
        let key = key(store(&spool, &format!("1.{i}"), &[i]).unwrap());
        spool.keep_overlay(&key, b"png").unwrap();
        answer(&spool, &key);
    }
    assert_eq!(spool.tidy(SystemTime::now()), (0..198).collect::<Vec<u64>>());
    for name in ["images", "results", "overlays"] {
        assert_eq!(files(&folder.path().join("spool").join(name)), 2, "{name}");
    }
    assert!(spool.tidy(SystemTime::now()).is_empty(), "told once");
}

#[test]
fn an_answered_image_is_kept_for_the_configured_number_of_days() {
    let folder = tempfile::tempdir().unwrap();
    let keep_days = Some(Duration::from_secs(3600));
    let spool = Spool::open(&SpoolConfig { keep_days, ..config(folder.path()) }).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    answer(&spool, &first);
    store(&spool, "1.2", b"b").unwrap();
    let later = |seconds| SystemTime::now() + Duration::from_secs(seconds);
    assert!(spool.tidy(later(3590)).is_empty());
    assert_eq!(spool.tidy(later(3610)), [first.sequence]);
    assert!(spool.tidy(later(3_000_000)).is_empty(), "one without an answer stays");
    assert_eq!(spool.counts().waiting, 1);
    assert!(
        spool.tidy(SystemTime::UNIX_EPOCH).is_empty(),
        "a clock that went back removes nothing"
    );
}

/// Whoever has something to do with images still.
#[derive(Debug, Default)]
struct Holding {
    held: Mutex<Vec<String>>,
    purged: Mutex<Vec<Key>>,
}

impl Ledger for Holding {
    fn may_purge(&self, key: &Key) -> bool {
        !self.held.lock().unwrap().contains(&key.uid.to_string())
    }

    fn purging(&self, keys: &[Key]) -> io::Result<()> {
        self.purged.lock().unwrap().extend_from_slice(keys);
        Ok(())
    }

    fn purged(&self, uid: &Uid, digest: u64) -> Option<Key> {
        let purged = self.purged.lock().unwrap();
        purged.iter().find(|key| key.uid == *uid && key.digest == digest).cloned()
    }
}

#[test]
fn what_somebody_still_needs_is_never_purged_and_what_was_purged_is_not_analysed_again() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Holding::default());
    let limits = SpoolConfig { keep_answered: 0, max_bytes: 3000, ..config(folder.path()) };
    let spool = Spool::open_with(&limits, ledger.clone()).unwrap();
    ledger.held.lock().unwrap().push("1.1".into());
    let held = key(store(&spool, "1.1", &[1; 1000]).unwrap());
    let free = key(store(&spool, "1.2", &[2; 1000]).unwrap());
    answer(&spool, &held);
    answer(&spool, &free);
    store(&spool, "1.3", &[3; 1000]).unwrap();
    assert_eq!(ledger.purged.lock().unwrap().first(), Some(&free));
    let full = store(&spool, "1.4", &[4; 1000]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(spool.result(&held).unwrap(), b"{}");
    assert_eq!(spool.tidy(SystemTime::now()), [free.sequence]);
    *spool.fruitless.lock().unwrap() = None;
    ledger.held.lock().unwrap().clear();
    assert_eq!(spool.tidy(SystemTime::now()), [held.sequence], "no longer needed");
    assert_eq!(store(&spool, "1.2", &[2; 1000]).unwrap(), Accepted::Duplicate(free));
    assert!(matches!(store(&spool, "1.2", &[5; 1000]).unwrap(), Accepted::New(_)));
}

#[test]
fn every_byte_in_the_folder_counts_and_overlays_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let limits = SpoolConfig { max_bytes: 4000, ..config(folder.path()) };
    let spool = Spool::open(&limits).unwrap();
    let first = key(store(&spool, "1.1", &[1; 994]).unwrap());
    spool.answer(&first, &[b' '; 500]).unwrap();
    spool.publish(&first);
    spool.keep_overlay(&first, &[0; 700]).unwrap();
    fs::write(folder.path().join("spool/box.sqlite"), [0; 800]).unwrap();
    spool.tidy(SystemTime::now());
    assert_eq!(spool.counts().bytes, 1000 + 500 + 700 + 800);
    drop(spool);
    let spool = Spool::open(&limits).unwrap();
    spool.tidy(SystemTime::now());
    assert_eq!(spool.counts().bytes, 1000 + 500 + 700 + 800, "after a restart too");
    store(&spool, "1.2", &[2; 1494]).unwrap();
    assert!(spool.overlay(&first).is_err());
    assert_eq!(spool.result(&first).unwrap().len(), 500);
    assert_eq!(spool.counts().bytes, 1000 + 500 + 1500 + 800);
}

#[test]
fn overlays_keep_to_their_own_limit() {
    let folder = tempfile::tempdir().unwrap();
    let limits = SpoolConfig { max_picture_bytes: 1000, ..config(folder.path()) };
    let spool = Spool::open(&limits).unwrap();
    let keys: Vec<_> = ["1.1", "1.2", "1.3"]
        .map(|uid| key(store(&spool, uid, b"a").unwrap()))
        .into_iter()
        .inspect(|key| answer(&spool, key))
        .inspect(|key| spool.keep_overlay(key, &[0; 400]).unwrap())
        .collect();
    assert_eq!(
        keys.iter().map(|key| spool.overlay(key).is_ok()).collect::<Vec<_>>(),
        [false, true, true]
    );
    spool.keep_overlay(&keys[0], &[0; 1001]).unwrap();
    assert_eq!(
        files(&folder.path().join("spool/overlays")),
        2,
        "one that is larger than the limit is not kept"
    );
}

#[test]
fn the_free_space_that_others_need_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    answer(&spool, &first);
    store(&spool, "1.2", b"b").unwrap();
    drop(spool);
    let floor = SpoolConfig { min_free_bytes: u64::MAX, ..config(folder.path()) };
    let spool = Spool::open(&floor).unwrap();
    let full = store(&spool, "1.3", b"c").unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert!(full.to_string().contains("are to stay free"), "{full}");
    let counts = spool.counts();
    assert_eq!((counts.waiting, counts.answered), (1, 0), "answered images make room");
    assert_eq!(files(&folder.path().join("spool/incoming")), 0);
}

/// Sequence numbers name images in logs: no two of them may share one.
#[test]
fn the_number_of_a_purged_image_is_not_used_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let limits = SpoolConfig { keep_answered: 0, ..config(folder.path()) };
    let spool = Spool::open(&limits).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    answer(&spool, &first);
    assert_eq!(spool.tidy(SystemTime::now()), [first.sequence]);
    drop(spool);
    let spool = Spool::open(&limits).unwrap();
    assert_eq!(key(store(&spool, "1.2", b"b").unwrap()).sequence, first.sequence + 1);
    drop(spool);
    fs::write(folder.path().join("spool/next"), "twelve").unwrap();
    let refused = format!("{:#}", Spool::open(&limits).unwrap_err());
    assert!(refused.contains("next is \"twelve\", expected a number"), "{refused}");
}

#[test]
fn an_image_that_cannot_be_removed_keeps_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let limits = SpoolConfig { keep_answered: 0, ..config(folder.path()) };
    let spool = Spool::open(&limits).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    answer(&spool, &first);
    // What cannot be unlinked: a folder.
    let image = spool.image_path(&first);
    fs::remove_file(&image).unwrap();
    fs::create_dir(&image).unwrap();
    let second = key(store(&spool, "1.2", b"b").unwrap());
    answer(&spool, &second);
    assert_eq!(spool.tidy(SystemTime::now()), [second.sequence]);
    assert_eq!((spool.counts().answered, spool.result(&first).unwrap()), (1, b"{}".to_vec()));
}

/// The states a power cut can leave between two steps of an object's life, each opened again.
#[test]
fn a_power_cut_between_any_two_steps_loses_nothing_that_was_acknowledged() {
    let name = "000000000003_1.1_00000000000000aa";
    let (part, image) = ("incoming/1.part".to_owned(), format!("images/{name}.dcm"));
    let (attempt, half) = (format!("attempts/{name}"), format!("results/{name}.json.part"));
    let (overlay, result) = (format!("overlays/{name}.png"), format!("results/{name}.json"));
    let cuts: [(&[&str], usize, usize); 8] = [
        (&[&part], 0, 0),
        (&[&image], 1, 0),
        (&[&image, &attempt], 1, 0),
        (&[&image, &attempt, &half], 1, 0),
        (&[&image, &attempt, &result], 0, 1),
        (&[&image, &result], 0, 1),
        (&[&image, &overlay, &result], 0, 1),
        (&[&overlay, &result], 0, 0), // purged
    ];
    for (present, waiting, answered) in cuts {
        let folder = tempfile::tempdir().unwrap();
        drop(Spool::open(&config(folder.path())).unwrap());
        for file in present {
            fs::write(folder.path().join("spool").join(file), b"1").unwrap();
        }
        let spool = Spool::open(&config(folder.path())).unwrap();
        let counts = spool.counts();
        assert_eq!((counts.waiting, counts.answered), (waiting, answered), "{present:?}");
        if waiting + answered == 0 {
            for name in FOLDERS {
                assert_eq!(files(&folder.path().join("spool").join(name)), 0, "{name}");
            }
        }
        assert_eq!(
            key(store(&spool, "1.9", b"x").unwrap()).sequence > 3,
            !present.contains(&part.as_str())
        );
    }
}

#[test]
fn a_second_daemon_is_refused_before_it_touches_anything() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let mut incoming = spool.begin().unwrap();
    incoming.write(b"half an image").unwrap();
    let refused = format!("{:#}", Spool::open(&config(folder.path())).unwrap_err());
    assert!(refused.ends_with("spool: another daemon works in it"), "{refused}");
    incoming.commit(Uid::parse("1.1").unwrap()).unwrap();
    drop(spool);
    assert!(Spool::open(&config(folder.path())).is_ok());
}

/// The index is looked at by HTTP handlers, on threads that serve others too.
#[test]
fn the_index_can_be_read_while_an_object_is_moved_in() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let part = folder.path().join("spool/incoming/1.part");
    let (looked, seen) = std::sync::mpsc::channel();
    let disk_is_slow = spool.accepting.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| store(&spool, "1.1", b"a").unwrap());
        scope.spawn(|| {
            // Written as a whole, it is fsynced and moved in: keep looking until that must have begun.
            while fs::metadata(&part).map_or(0, |part| part.len()) < b"headera".len() as u64 {
                std::thread::yield_now();
            }
            for _ in 0..20_000 {
                assert_eq!(spool.counts().answered + spool.newest(9).len(), 0);
                std::thread::yield_now();
            }
            looked.send(()).unwrap();
        });
        let patience = Duration::from_secs(20);
        seen.recv_timeout(patience).expect("nobody waits for the disk to look at the index");
        drop(disk_is_slow);
    });
    assert_eq!(spool.counts().waiting, 1);
}

#[test]
fn a_parked_answer_is_withdrawn_durably_before_the_image_waits_again() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    let bundle = crate::report::BundleId::default();
    let report = Report { parked: true, ..Report::not_analysed("x".into(), bundle, "y".into()) };
    spool.answer(&first, &serde_json::to_vec(&report).unwrap()).unwrap();
    spool.publish(&first);
    drop(spool);
    let spool = Spool::open(&config(folder.path())).unwrap();
    let bytes = b"headera".len() as u64;
    assert!(spool.counts().bytes > bytes);
    assert_eq!(store(&spool, "1.1", b"a").unwrap(), Accepted::Again(first.clone()));
    assert!(spool.result(&first).is_err());
    assert_eq!(spool.counts(), Counts { waiting: 1, running: 0, answered: 0, bytes });
    drop(spool); // the power goes
    let spool = Spool::open(&config(folder.path())).unwrap();
    assert_eq!(spool.take(Instant::now()).unwrap().key, first);
}

/// What a start costs with many answered images. Prints; run it with `--ignored --nocapture`.
#[test]
#[ignore = "writes 200,000 files"]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn a_spool_of_a_hundred_thousand_answered_images_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    drop(Spool::open(&config(folder.path())).unwrap());
    for sequence in 0..100_000 {
        let uid = Uid::parse(&format!("1.2.840.113619.2.5.{sequence}")).unwrap();
        let name = Key { sequence, uid, digest: sequence }.name();
        for (kind, end) in [("images", "dcm"), ("results", "json")] {
            let path = folder.path().join("spool").join(kind).join(&name);
            fs::write(path.with_added_extension(end), b"1").unwrap();
        }
    }
    let began = Instant::now();
    let spool = Spool::open(&config(folder.path())).unwrap();
    println!("opened in {:?}", began.elapsed());
    let began = Instant::now();
    let counts = spool.counts();
    let found = spool.revisions(&Uid::parse("1.2.840.113619.2.5.77777").unwrap());
    println!("counted and looked up in {:?}", began.elapsed());
    assert_eq!((counts.answered, counts.waiting, found.len()), (100_000, 0, 1));
}
