//! Logs in files: the daemon's, which it writes itself, and the evidence of the last trial that failed.

use super::logs::ANSWER;
use protocol::{Journal, Level, LogLine};
use std::io;
use std::path::Path;

/// As much of each of a ring's files is read, in bytes.
const MOST: u64 = 512 << 10;
/// Lines of either log that are evidence.
const TAIL: usize = 100;

/// Oldest first. What is no line of a log, of a power cut say, is left out; so is what goes backwards.
pub(super) fn read(folder: &Path, journal: Journal) -> io::Result<Vec<LogLine>> {
    let lines = durable::lines(&folder.join(journal.file_name()), MOST)?;
    let mut next = 0;
    let mut in_order = |line: &LogLine| {
        let ahead = line.number >= next && line.number < u64::MAX;
        if ahead {
            next = line.number + 1;
        }
        ahead
    };
    let lines = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
    Ok(lines.filter(|line| in_order(line)).collect())
}

/// Lines from number `from` on, as many as fit an answer; the number to ask for next; how many between are gone.
pub(super) fn page(lines: Vec<LogLine>, from: u64, limit: u32) -> (Vec<LogLine>, u64, u64) {
    let oldest = lines.first().map_or(0, |line| line.number);
    let end = lines.last().map_or(0, |line| line.number + 1);
    let first = from.clamp(oldest, end);
    // One at least, however long.
    let mut bytes = 0;
    let fits = |line: &LogLine| {
        let is_first = bytes == 0;
        bytes += line.message.len() + line.target.len() + 32;
        is_first || bytes <= ANSWER
    };
    let wanted = lines.into_iter().filter(|line| line.number >= first).take(limit as usize);
    let taken: Vec<_> = wanted.take_while(fits).collect();
    let next = taken.last().map_or(end, |line| line.number + 1);
    (taken, next, oldest.saturating_sub(from))
}

/// Keeps why a trial failed: the reason, the daemon's last word, the last lines of both logs.
pub(super) fn keep_evidence(
    folder: &Path,
    reason: String,
    word: String,
    ours: Vec<LogLine>,
) -> io::Result<()> {
    let theirs = read(folder, Journal::Daemon)?;
    let tail = |lines: Vec<LogLine>, of: &str| {
        let skipped = lines.len().saturating_sub(TAIL);
        let named = lines.into_iter().skip(skipped);
        named
            .map(|line| LogLine { target: format!("{of} {}", line.target), ..line })
            .collect::<Vec<_>>()
    };
    let said = |target: &str, level, message| {
        let target = target.to_owned();
        LogLine { number: 0, nanos: 0, level, target, message }
    };
    let head = vec![said("trial", Level::Error, reason), said("running.json", Level::Info, word)];
    let mut text = String::new();
    let lines = [head, tail(ours, "agent"), tail(theirs, "daemon")].concat();
    for (number, line) in (0..).zip(lines) {
        text.push_str(&serde_json::to_string(&LogLine { number, ..line })?);
        text.push('\n');
    }
    durable::write(&folder.join(Journal::Evidence.file_name()), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn line(number: u64, message: &str) -> LogLine {
        let (target, message) = ("runtime".to_owned(), message.to_owned());
        LogLine { number, nanos: 5, level: Level::Warn, target, message }
    }

    fn written(lines: &[LogLine]) -> Vec<u8> {
        let lines = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n");
        lines.collect::<String>().into_bytes()
    }

    #[test]
    fn what_is_no_line_of_the_log_is_left_out_and_the_rest_is_handed_out_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Journal::Daemon.file_name());
        assert_eq!(read(folder.path(), Journal::Daemon).unwrap(), []);
        let whole = [line(3, "a"), line(4, "b"), line(9, "c")];
        let mut bytes = written(&whole[..2]);
        bytes.extend(b"{\"number\": 5, \n\xff\n");
        bytes.extend(written(&[line(4, "again"), line(u64::MAX, "for ever"), whole[2].clone()]));
        fs::write(&path, bytes).unwrap();
        let lines = read(folder.path(), Journal::Daemon).unwrap();
        assert_eq!(lines, whole);
        let page = |from, limit| page(lines.clone(), from, limit);
        assert_eq!(page(0, 2), (whole[..2].to_vec(), 5, 3));
        assert_eq!(page(5, 2), (whole[2..].to_vec(), 10, 0));
        assert_eq!(page(u64::MAX, 2), (vec![], 10, 0));
    }

    #[test]
    fn evidence_has_the_reason_first_and_the_end_of_both_logs() {
        let folder = tempfile::tempdir().unwrap();
        let theirs: Vec<_> = (0..300).map(|n| line(n, &format!("theirs {n}"))).collect();
        fs::write(folder.path().join(Journal::Daemon.file_name()), written(&theirs)).unwrap();
        let ours = vec![line(7, "ours")];
        keep_evidence(folder.path(), "unhealthy: x".into(), "{}".into(), ours).unwrap();
        let kept = read(folder.path(), Journal::Evidence).unwrap();
        let said: Vec<_> = kept.iter().map(|line| (&*line.target, &*line.message)).collect();
        assert_eq!(said.len(), 103);
        assert_eq!(
            said[..3],
            [("trial", "unhealthy: x"), ("running.json", "{}"), ("agent runtime", "ours")]
        );
        assert_eq!(said[102], ("daemon runtime", "theirs 299"));
        assert!(kept.iter().map(|line| line.number).eq(0..103));
    }

    proptest! {
        #[test]
        fn noise_in_a_journal_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), from in any::<u64>()) {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(Journal::Daemon.file_name()), &bytes).unwrap();
            let lines = read(folder.path(), Journal::Daemon).unwrap();
            let _ = page(lines, from, 3);
        }
    }
}
