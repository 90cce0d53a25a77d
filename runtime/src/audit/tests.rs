//! What a log says of whoever edits it.

use super::{
    chain::Head,
    files::{AuditError, verify},
    *,
};
use std::{fs, path::PathBuf};

fn event(image: u64) -> Event {
    Event::Store { who: "MODALITY".into(), image: Some(image), status: "0000".into() }
}

/// A log with so many events.
fn log(folder: &Path, events: u64, max_bytes: u64) {
    let audit = Audit::open_with(folder, max_bytes).unwrap();
    for image in 0..events {
        audit.write(event(image));
        audit.flush();
    }
}

fn current(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

fn lines(folder: &Path) -> u64 {
    verify(folder).unwrap().head.number
}

#[test]
fn a_log_goes_on_after_a_restart_and_over_several_files() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        log(folder.path(), 10, 900);
    }
    assert_eq!(lines(folder.path()), 30);
    let names: Vec<_> = files::list(folder.path()).unwrap();
    assert!(names.len() > 5, "{names:?}");
    assert_eq!(names[0].file_name().unwrap(), "audit-000000000001.log");
    let first = fs::read_to_string(&names[0]).unwrap();
    let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["n"], &first["what"], &first["who"]),
        (&1.into(), &"store".into(), &"MODALITY".into())
    );
    fs::remove_file(&names[2]).unwrap();
    let broken = verify(folder.path()).unwrap_err();
    assert!(matches!(broken, AuditError::Line { path, line: 1, .. } if path == names[3]));
}

#[test]
fn every_flipped_bit_is_found_at_its_line_or_the_next() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), 4, MAX_BYTES);
    let path = current(folder.path());
    let whole = fs::read(&path).unwrap();
    let mut number = 1;
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let found = verify(folder.path());
        match found.as_ref().unwrap_err() {
            AuditError::Line { line, .. } => assert!((number..=number + 1).contains(line), "{at}"),
            AuditError::Head { .. } | AuditError::Short { .. } => assert_eq!(number, 4, "{at}"),
            other => panic!("{at}: {other}"),
        }
        number += usize::from(whole[at] == b'\n');
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(lines(folder.path()), 4);
}

#[test]
fn every_dropped_and_every_swapped_line_is_found() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), 6, MAX_BYTES);
    let path = current(folder.path());
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for at in 0..lines.len() {
        let dropped = [&lines[..at], &lines[at + 1..]].concat().concat();
        fs::write(&path, dropped).unwrap();
        match verify(folder.path()).unwrap_err() {
            AuditError::Line { line, .. } => assert_eq!(line, at + 1),
            AuditError::Short { found: 5, expected: 6, .. } => assert_eq!(at, 5),
            other => panic!("{other}"),
        }
        for other in at + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            fs::write(&path, swapped.concat()).unwrap();
            let broken = verify(folder.path()).unwrap_err();
            assert!(matches!(broken, AuditError::Line { line, .. } if line == at + 1), "{broken}");
        }
    }
}

#[test]
fn a_line_torn_by_a_power_cut_is_mended_and_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), 2, MAX_BYTES);
    let path = current(folder.path());
    let head = files::read_head(folder.path()).unwrap().unwrap();
    let whole = fs::read(&path).unwrap();
    let (next, _) = head.line("t", &event(9)).unwrap();
    for torn in [&next[..1], &next[..next.len() - 1], &[0; 50]] {
        fs::write(&path, [&whole, torn].concat()).unwrap();
        fs::write(folder.path().join("audit.head"), head.to_text()).unwrap();
        assert_eq!(verify(folder.path()).unwrap().torn, torn.len());
        log(folder.path(), 1, MAX_BYTES);
        assert_eq!(lines(folder.path()), 4);
        let mended = fs::read_to_string(&path).unwrap();
        let mended: serde_json::Value =
            serde_json::from_str(mended.lines().nth(2).unwrap()).unwrap();
        assert_eq!((&mended["what"], &mended["bytes"]), (&"mended".into(), &torn.len().into()));
    }
    // A whole line that the head does not know yet stays.
    fs::write(&path, [&whole, &next[..]].concat()).unwrap();
    fs::write(folder.path().join("audit.head"), head.to_text()).unwrap();
    log(folder.path(), 1, MAX_BYTES);
    assert_eq!(lines(folder.path()), 4);
}

/// Whoever edits a log while the daemon is down and hopes that it goes on as if nothing had been.
#[test]
fn what_was_done_while_the_daemon_was_down_is_found_after_the_next_start_too() {
    type Tamper = fn(&Path);
    let tampered: [(&str, Tamper); 4] = [
        ("the last line dropped", |folder| {
            let text = fs::read_to_string(current(folder)).unwrap();
            let kept: Vec<_> = text.split_inclusive('\n').take(2).collect();
            fs::write(current(folder), kept.concat()).unwrap();
        }),
        ("the last line changed", |folder| {
            let text = fs::read_to_string(current(folder)).unwrap();
            fs::write(current(folder), text.replace("\"image\":2", "\"image\":7")).unwrap();
        }),
        ("everything removed", |folder| fs::write(current(folder), "").unwrap()),
        ("the head removed", |folder| fs::remove_file(folder.join("audit.head")).unwrap()),
    ];
    for (what, tamper) in tampered {
        let folder = tempfile::tempdir().unwrap();
        log(folder.path(), 3, MAX_BYTES);
        tamper(folder.path());
        assert!(verify(folder.path()).is_err(), "{what}");
        log(folder.path(), 2, MAX_BYTES);
        assert!(verify(folder.path()).is_err(), "{what}, and started again");
    }
}

#[test]
fn events_that_nobody_could_write_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::sync_channel(1);
    let audit = Audit { sender, lost: AtomicU64::new(0), trouble: Arc::default() };
    for image in 0..5 {
        audit.write(event(image));
    }
    assert_eq!(audit.lost.load(Relaxed), 4);
    drop(receiver);
    let written = Head::START.line("t", &Event::Lost { events: 4 }).unwrap().0;
    assert!(String::from_utf8(written).unwrap().contains("\"what\":\"lost\",\"events\":4"));
    drop(folder);
}

#[test]
fn a_disk_that_refuses_is_told_and_nothing_is_lost_once_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open_with(folder.path(), 1).unwrap();
    // The rotation after every line fails while a folder is in its way.
    let obstacle = folder.path().join("audit-000000000001.log");
    fs::create_dir(&obstacle).unwrap();
    audit.write(event(0));
    while audit.trouble().is_none() {
        thread::yield_now();
    }
    assert!(audit.trouble().unwrap().contains("the audit log cannot be written"));
    fs::remove_dir(&obstacle).unwrap();
    audit.write(event(1));
    audit.flush();
    assert_eq!((lines(folder.path()), audit.trouble()), (2, None));
}
