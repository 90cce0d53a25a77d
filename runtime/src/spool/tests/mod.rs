//! What the spool promises, power cuts included.

mod ahead;
mod random;
mod room;

use super::*;
use std::time::Duration;

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
    half.flush().unwrap();
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
    let uid = Uid::parse("9.9").unwrap();
    let disk_is_slow = spool.moving.wait_for(&uid);
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

/// Who remembers the number of the last image that it saw, as the exposures do, must not miss one.
#[test]
fn many_senders_at_once_lose_double_and_overtake_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let (accepted, seen) = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8_u8)
            .map(|sender| {
                let spool = &spool;
                let send = move |n: u8| {
                    // Two senders have the same 40 objects, under 20 UIDs.
                    let uid = format!("1.{}.{}", sender / 2, n % 20);
                    store(spool, &uid, &[n / 20; 50]).unwrap()
                };
                scope.spawn(move || (0..40).map(send).collect::<Vec<_>>())
            })
            .collect();
        let observer = scope.spawn(|| {
            let mut seen: Vec<u64> = Vec::new();
            loop {
                let is_last = is_done.load(std::sync::atomic::Ordering::SeqCst);
                let next = seen.last().map_or(0, |last| last + 1);
                seen.extend(spool.from(next, 1000).iter().map(|entry| entry.key.sequence));
                if is_last {
                    return seen;
                }
            }
        });
        let accepted: Vec<_> = senders.into_iter().flat_map(|s| s.join().unwrap()).collect();
        is_done.store(true, std::sync::atomic::Ordering::SeqCst);
        (accepted, observer.join().unwrap())
    });
    let is_new = |accepted: &&Accepted| !matches!(accepted, Accepted::Duplicate(_));
    let mut new: Vec<u64> = accepted.iter().filter(is_new).map(|a| a.key().sequence).collect();
    new.sort_unstable();
    assert_eq!((accepted.len(), new.len()), (320, 160), "each object once");
    assert_eq!(seen, new, "in their order, none left out");
    assert_eq!(fs::read_dir(folder.path().join("spool/images")).unwrap().count(), 160);
}

#[test]
fn a_parked_answer_is_withdrawn_durably_before_the_image_waits_again() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let first = key(store(&spool, "1.1", b"a").unwrap());
    let bundle = results::BundleId::default();
    let report = Record { parked: true, ..Record::not_analysed("x".into(), bundle, "y".into()) };
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
