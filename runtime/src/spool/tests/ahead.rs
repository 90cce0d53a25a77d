//! Objects in memory, and what is looked at before it is accepted.

use super::*;
use sha2::Digest as _;

/// Stores an object on a thread that finds the disk slow: what `meanwhile` sees is offered and not accepted.
fn while_the_disk_works(spool: &Spool, uid: &str, meanwhile: impl FnOnce()) -> Accepted {
    let disk_is_slow = spool.moving.wait_for(&Uid::parse("9.9").unwrap());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| store(spool, uid, b"pixels").unwrap());
        while spool.offered.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        meanwhile();
        drop(disk_is_slow);
        sender.join().unwrap()
    })
}

#[test]
fn whoever_takes_an_image_has_it_in_memory_as_it_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let key = key(store(&spool, "1.1", b"pixels").unwrap());
    let entry = spool.take(Instant::now()).unwrap();
    let contents = entry.contents.clone().unwrap();
    assert_eq!(contents.bytes, fs::read(spool.image_path(&key)).unwrap());
    assert_eq!(contents.sha256, <[u8; 32]>::from(sha2::Sha256::digest(&contents.bytes)));
    assert_eq!((&contents.uid, contents.digest), (&key.uid, key.digest));
    let gone = Arc::downgrade(&contents);
    drop(contents);
    spool.put_back(entry, Instant::now());
    assert!(gone.upgrade().is_none(), "what failed once is read from disk");
    assert!(spool.take(Instant::now()).unwrap().contents.is_none());
}

#[test]
fn an_object_without_room_in_memory_is_stored_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let mut taken = contents::Room::none_yet(&spool.memory);
    assert!(taken.grow(contents::MOST_BYTES - 700_000));
    let long: Vec<u8> = (0..1_000_000_u32).map(|at| at as u8).collect();
    let mut incoming = spool.begin().unwrap();
    incoming.write_header(b"header").unwrap();
    for piece in long.chunks(60_000) {
        incoming.write(piece).unwrap();
    }
    let large = key(incoming.commit(Uid::parse("1.1").unwrap()).unwrap());
    assert_eq!(fs::read(spool.image_path(&large)).unwrap(), [b"header", &long[..]].concat());
    assert!(spool.take(Instant::now()).unwrap().contents.is_none());
    // The same object, which finds room: it is the same.
    drop(taken);
    let mut incoming = spool.begin().unwrap();
    incoming.write_header(b"another header").unwrap();
    incoming.write(&long).unwrap();
    let again = incoming.commit(Uid::parse("1.1").unwrap()).unwrap();
    assert_eq!(again, Accepted::Duplicate(large));
}

#[test]
fn an_object_is_shown_before_it_is_accepted_and_noted_while_somebody_looks() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    let attempts = folder.path().join("spool/attempts");
    let accepted = while_the_disk_works(&spool, "1.1", || {
        let (contents, note) = spool.look_ahead().unwrap();
        assert_eq!((contents.uid.as_str(), files(&attempts)), ("1.1", 1));
        assert!(spool.take(Instant::now()).is_none(), "it has no number yet");
        drop(note);
        assert_eq!(files(&attempts), 0);
        assert!(spool.look_ahead().is_none(), "once");
    });
    assert!(matches!(accepted, Accepted::New(_)));
    assert_eq!(spool.take(Instant::now()).unwrap().deaths, 0);
}

#[test]
fn an_object_that_is_refused_is_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(folder.path())).unwrap();
    store(&spool, "1.1", b"a").unwrap();
    store(&spool, "1.1", b"a").unwrap();
    spool.take(Instant::now()).unwrap();
    assert!(spool.look_ahead().is_none(), "taken, and a duplicate");
}

/// A note is left when the daemon ends while it looks ahead.
fn killed_while_looking_ahead(folder: &Path, is_accepted: bool) {
    let spool = Spool::open(&config(folder)).unwrap();
    while_the_disk_works(&spool, "1.1", || {
        let (_, note) = spool.look_ahead().unwrap();
        std::mem::forget(note);
    });
    if !is_accepted {
        let image = fs::read_dir(folder.join("spool/images")).unwrap().next().unwrap();
        fs::remove_file(image.unwrap().path()).unwrap();
    }
}

#[test]
fn an_end_of_the_daemon_while_it_looks_ahead_counts_as_one_in_the_image() {
    let folder = tempfile::tempdir().unwrap();
    killed_while_looking_ahead(folder.path(), true);
    let spool = Spool::open(&config(folder.path())).unwrap();
    assert!(spool.take(Instant::now()).is_none(), "left alone for a while");
    let entry = spool.take(Instant::now() + Duration::from_secs(2)).unwrap();
    assert_eq!(entry.deaths, 1);
    drop(spool);
    let again = Spool::open(&config(folder.path())).unwrap();
    let entry = again.take(Instant::now() + Duration::from_secs(2)).unwrap();
    assert_eq!(entry.deaths, 1, "noted under its number");
    again.answer(&entry.key, b"{}").unwrap();
    assert_eq!(files(&folder.path().join("spool/attempts")), 0);
}

/// Its sender got no answer and sends again: it must not end the daemon before it is durable, for ever.
#[test]
fn nobody_looks_ahead_at_what_ended_the_daemon_before_it_was_accepted() {
    let folder = tempfile::tempdir().unwrap();
    killed_while_looking_ahead(folder.path(), false);
    for _ in 0..2 {
        drop(Spool::open(&config(folder.path())).unwrap()); // remembered over any number of starts
    }
    let spool = Spool::open(&config(folder.path())).unwrap();
    let first = key(store(&spool, "1.1", b"pixels").unwrap());
    assert!(spool.look_ahead().is_none());
    let attempts = folder.path().join("spool/attempts");
    assert_eq!((attempts.join(first.name()).exists(), files(&attempts)), (true, 1));
    let other = key(store(&spool, "1.2", b"pixels").unwrap());
    assert_eq!(spool.take(Instant::now()).unwrap().key, other, "others come first");
    let entry = spool.take(Instant::now()).unwrap();
    assert_eq!((entry.key, entry.deaths), (first, 1));
}

#[test]
fn notes_of_strangers_are_swept_and_only_so_many_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    drop(Spool::open(&config(folder.path())).unwrap());
    let attempts = folder.path().join("spool/attempts");
    fs::write(attempts.join("early_nonsense"), b"1\n").unwrap();
    for number in 0..100 {
        fs::write(attempts.join(format!("early_1.{number}_00000000000000aa")), b"1\n").unwrap();
    }
    drop(Spool::open(&config(folder.path())).unwrap());
    assert_eq!(files(&attempts), 64);
}
