//! What goes when, and what never does.

use super::*;

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
    assert_eq!(spool.tidy(SystemTime::now(), Instant::now()), (0..198).collect::<Vec<u64>>());
    for name in ["images", "results", "overlays"] {
        assert_eq!(files(&folder.path().join("spool").join(name)), 2, "{name}");
    }
    assert!(spool.tidy(SystemTime::now(), Instant::now()).is_empty(), "told once");
}

#[test]
fn an_answered_image_is_kept_for_the_configured_number_of_days() {
    let folder = tempfile::tempdir().unwrap();
    let keep_days = Some(Duration::from_secs(3600));
    let spool = Spool::open(&SpoolConfig { keep_days, ..config(folder.path()) }).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    answer(&spool, &first);
    store(&spool, "1.2", b"b").unwrap();
    let after = |seconds| {
        let later = Duration::from_secs(seconds);
        spool.tidy(SystemTime::now() + later, Instant::now() + later)
    };
    assert!(after(3590).is_empty());
    assert_eq!(after(3610), [first.sequence]);
    assert!(after(3_000_000).is_empty(), "one without an answer stays");
    assert_eq!(spool.counts().waiting, 1);
    assert!(
        spool.tidy(SystemTime::UNIX_EPOCH, Instant::now()).is_empty(),
        "a clock that went back removes nothing"
    );
}

/// An empty battery, a wrong time server, a year that somebody typed.
#[test]
fn a_clock_that_jumps_ahead_purges_nothing_for_a_day_nor_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        SpoolConfig { keep_days: Some(Duration::from_secs(3600)), ..config(folder.path()) };
    let mut spool = Spool::open(&config).unwrap();
    let image = key(store(&spool, "1.1", b"a").unwrap());
    answer(&spool, &image);
    let (day, years) = (Duration::from_secs(86_400), Duration::from_secs(86_400 * 3650));
    for restart in [false, true] {
        if restart {
            drop(spool);
            spool = Spool::open(&config).unwrap();
        }
        let (wall, now) = (SystemTime::now() + years, Instant::now());
        assert!(spool.tidy(wall, now).is_empty(), "restarted: {restart}");
        assert!(
            spool.tidy(wall + Duration::from_secs(60), now + Duration::from_secs(60)).is_empty()
        );
    }
    let now = Instant::now() + day * 2;
    assert_eq!(spool.tidy(SystemTime::now() + years, now), [image.sequence], "it lasted");
}

/// Whoever has something to do with images still.
#[derive(Debug, Default)]
struct Holding {
    held: Mutex<Vec<String>>,
}

impl Ledger for Holding {
    fn may_purge(&self, key: &Key) -> bool {
        !self.held.lock().unwrap().contains(&key.uid.to_string())
    }
}

#[test]
fn what_somebody_still_needs_is_never_purged() {
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
    assert!(spool.result(&free).is_err(), "gone, and its answer with it");
    let full = store(&spool, "1.4", &[4; 1000]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(spool.result(&held).unwrap(), b"{}");
    assert_eq!(spool.tidy(SystemTime::now(), Instant::now()), [free.sequence]);
    *spool.fruitless.lock().unwrap() = None;
    ledger.held.lock().unwrap().clear();
    assert_eq!(spool.tidy(SystemTime::now(), Instant::now()), [held.sequence], "no longer needed");
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
    spool.tidy(SystemTime::now(), Instant::now());
    assert_eq!(spool.counts().bytes, 1000 + 500 + 700 + 800);
    drop(spool);
    let spool = Spool::open(&limits).unwrap();
    spool.tidy(SystemTime::now(), Instant::now());
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
    assert_eq!(spool.tidy(SystemTime::now(), Instant::now()), [first.sequence]);
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
    assert_eq!(spool.tidy(SystemTime::now(), Instant::now()), [second.sequence]);
    assert_eq!((spool.counts().answered, spool.result(&first).unwrap()), (1, b"{}".to_vec()));
}
