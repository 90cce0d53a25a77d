//! The latest log lines, kept for whoever asks; each also goes to stderr.

use log::{Level, Log, Metadata, Record};
use protocol::LogLine;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// Lines kept.
const KEPT: usize = 4096;
/// Longest message kept, in bytes.
const LONGEST: usize = 1024;
/// Bytes of lines in one answer, so that it fits a frame.
pub(super) const ANSWER: usize = 16 << 10;

/// Counts every line; forgets the oldest.
#[derive(Debug)]
pub struct Logs {
    start: Instant,
    lines: Mutex<(u64, VecDeque<LogLine>)>,
}

impl Logs {
    /// The process has one log.
    pub fn global() -> &'static Self {
        static LOGS: OnceLock<Logs> = OnceLock::new();
        LOGS.get_or_init(|| Self { start: Instant::now(), lines: Mutex::default() })
    }

    /// Sends `log`'s records here and on to `next`.
    pub fn install(next: env_logger::Logger) -> Result<(), log::SetLoggerError> {
        let filter = next.filter();
        Self::global();
        log::set_boxed_logger(Box::new(Tee { next }))?;
        log::set_max_level(filter.max(log::LevelFilter::Info));
        Ok(())
    }

    /// Lines from number `from` on; the number to ask for next; how many between are gone.
    pub fn since(&self, from: u64, limit: usize) -> (Vec<LogLine>, u64, u64) {
        let held = self.held();
        let (count, lines) = &*held;
        let oldest = count - lines.len() as u64;
        let first = from.clamp(oldest, *count);
        let skipped = usize::try_from(first - oldest).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let taken: Vec<_> = lines
            .iter()
            .skip(skipped)
            .take(limit)
            .take_while(|line| {
                bytes += line.message.len() + line.target.len() + 32;
                bytes <= ANSWER
            })
            .cloned()
            .collect();
        let next = first + taken.len() as u64;
        (taken, next, oldest.saturating_sub(from))
    }

    /// All that are kept.
    pub fn kept(&self) -> Vec<LogLine> {
        self.held().1.iter().cloned().collect()
    }

    fn note(&self, record: &Record<'_>) {
        let mut message = record.args().to_string();
        if message.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
            message.truncate(end);
        }
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut held = self.held();
        let (count, lines) = &mut *held;
        if lines.len() == KEPT {
            lines.pop_front();
        }
        let target = record.target().to_owned();
        lines.push_back(LogLine {
            number: *count,
            nanos,
            level: level(record.level()),
            target,
            message,
        });
        *count += 1;
    }

    /// A thread that died while holding the lock left whole lines behind.
    fn held(&self) -> MutexGuard<'_, (u64, VecDeque<LogLine>)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Tee {
    next: env_logger::Logger,
}

impl Log for Tee {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info || self.next.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            Logs::global().note(record);
        }
        self.next.log(record);
    }

    fn flush(&self) {
        self.next.flush();
    }
}

const fn level(level: Level) -> protocol::Level {
    match level {
        Level::Error => protocol::Level::Error,
        Level::Warn => protocol::Level::Warn,
        Level::Info => protocol::Level::Info,
        Level::Debug => protocol::Level::Debug,
        Level::Trace => protocol::Level::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u64) -> Logs {
        let logs = Logs { start: Instant::now(), lines: Mutex::default() };
        for n in 0..count {
            logs.note(&Record::builder().args(format_args!("line {n}")).level(Level::Info).build());
        }
        logs
    }

    #[test]
    fn lines_are_handed_out_once_and_in_order() {
        let logs = filled(10);
        let (first, next, lost) = logs.since(0, 4);
        assert_eq!((first.len(), next, lost), (4, 4, 0));
        let (rest, next, _) = logs.since(next, 100);
        assert_eq!((rest[0].message.as_str(), rest.len(), next), ("line 4", 6, 10));
        assert_eq!(logs.since(next, 100), (vec![], 10, 0));
    }

    #[test]
    fn lines_that_are_gone_are_counted() {
        let logs = filled(KEPT as u64 + 37);
        let (lines, _, lost) = logs.since(0, 1);
        assert_eq!((lines[0].number, lost), (37, 37));
    }

    #[test]
    fn a_number_from_before_a_restart_is_answered_from_now_on() {
        assert_eq!(filled(3).since(900, 10), (vec![], 3, 0));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let logs = filled(0);
        let long = "ä".repeat(LONGEST);
        logs.note(&Record::builder().args(format_args!("x{long}")).level(Level::Info).build());
        assert!(logs.since(0, 1).0[0].message.len() <= LONGEST);
    }
}
