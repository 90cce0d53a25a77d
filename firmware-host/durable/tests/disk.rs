//! Writes on a real disk: killed half-way, at the same time, where they cannot be.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const MEGABYTE: usize = 1 << 20;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_is_replaced_and_nothing_is_left_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/file");
    durable::write(&path, b"one").unwrap();
    durable::write(&path, b"2").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"2");
    assert_eq!(names(path.parent().unwrap()), ["file"]);
}

#[test]
fn what_is_private_is_so_whatever_lay_there_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, b"old").unwrap();
    fs::write(folder.path().join("secret.part"), b"half").unwrap();
    durable::write_private(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(folder.path()), ["secret"]);
}

/// The writer of the next test, in a process of its own.
#[test]
fn writer() {
    if let Some(path) = env::var_os("DURABLE_WRITER") {
        durable::write(Path::new(&path), &vec![7; MEGABYTE]).unwrap();
    }
}

#[test]
fn a_writer_that_is_killed_half_way_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    durable::write(&path, b"old").unwrap();
    // The kernel kills it by SIGXFSZ once the file is longer than 64 blocks.
    let status = Command::new("sh")
        .args(["-c", "ulimit -f 64; exec \"$0\" writer --exact"])
        .arg(env::current_exe().unwrap())
        .env("DURABLE_WRITER", &path)
        .output()
        .unwrap()
        .status;
    assert_eq!(status.signal(), Some(25), "{status}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    let half = fs::metadata(folder.path().join("file.part")).unwrap().len();
    assert!(half > 0 && half < MEGABYTE as u64, "{half}");

    durable::write(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn of_many_writers_of_one_path_each_is_seen_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let contents = |writer: u8| vec![writer; 20_000 * (1 + usize::from(writer))];
    durable::write(&path, &contents(0)).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let seen = fs::read(&path).unwrap();
                assert!(seen == contents(seen[0]), "{} bytes of {}", seen.len(), seen[0]);
            }
        });
        let write = |writer| {
            let path = &path;
            move || (0..25).for_each(|_| durable::write(path, &contents(writer)).unwrap())
        };
        let writers: Vec<_> = (1..5).map(|writer| scope.spawn(write(writer))).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn what_is_no_file_is_neither_replaced_nor_written_into() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("folder");
    fs::create_dir(&path).unwrap();
    let error = durable::write(&path, b"x").unwrap_err().to_string();
    assert!(error.contains("expected"), "{error}");
    durable::write(Path::new("/dev/null"), b"x").unwrap_err();
    assert_eq!(names(folder.path()), ["folder"]);
    durable::write(&folder.path().join("folder/file"), b"x").unwrap();
    durable::write(&folder.path().join("folder/file/below"), b"x").unwrap_err();
}
