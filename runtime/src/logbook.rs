//! The daemon's log lines, kept beside the boot record as well, where the agent reads them for `firmware-host logs`,
//! `dump` and the evidence of a failed trial. Bounded; free of patients as all our logs are.

use env_logger::Logger;
use log::{Log, Metadata, Record};
use machine::Machine;
use protocol::{Journal, Level, LogLine};
use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Bytes of both files together.
const BOUND: u64 = 512 << 10;
/// Longest message kept, in bytes.
const LONGEST: usize = 1024;

static BOOK: Mutex<Option<Book>> = Mutex::new(None);

/// From now on lines are kept in `folder` too.
pub(crate) fn keep_in(folder: &Path) -> io::Result<()> {
    let book = Book::open(folder)?;
    *BOOK.lock().unwrap_or_else(PoisonError::into_inner) = Some(book);
    Ok(())
}

/// Sends what `next` takes on to it and into the book.
pub(crate) struct Tee(pub(crate) Logger);

impl Log for Tee {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.0.matches(record) {
            return;
        }
        self.0.log(record);
        if let Some(book) = &mut *BOOK.lock().unwrap_or_else(PoisonError::into_inner) {
            // There is nobody to tell that a line could not be kept: it went to stderr.
            let _ = book.note(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

#[derive(Debug)]
struct Book {
    ring: durable::Ring,
    machine: Machine,
    /// Of the next line: goes on through starts.
    number: u64,
}

impl Book {
    fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(Journal::Daemon.file_name());
        let ring = durable::Ring::open(&path, BOUND)?;
        let lines = durable::lines(&path, BOUND)?;
        let numbers = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
        let last = numbers.map(|LogLine { number, .. }| number).max();
        let number = last.map_or(0, |last| last.saturating_add(1));
        Ok(Self { ring, machine: Machine::new("/".as_ref()), number })
    }

    fn note(&mut self, record: &Record<'_>) -> io::Result<()> {
        let mut message = record.args().to_string();
        let end = (0..=LONGEST.min(message.len())).rev().find(|&at| message.is_char_boundary(at));
        message.truncate(end.unwrap_or(0));
        let nanos = self.machine.moment().uptime.as_nanos();
        let line = LogLine {
            number: self.number,
            nanos: u64::try_from(nanos).unwrap_or(u64::MAX),
            level: level(record.level()),
            target: record.target().to_owned(),
            message,
        };
        self.ring.append(&serde_json::to_string(&line)?)?;
        self.number = self.number.saturating_add(1);
        Ok(())
    }
}

fn level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug => Level::Debug,
        log::Level::Trace => Level::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_in_order_through_starts_each_cut_to_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let long = "ä".repeat(LONGEST);
        for message in ["first\nof two", &long] {
            let mut book = Book::open(folder.path()).unwrap();
            let mut record = Record::builder();
            record.level(log::Level::Warn).target("runtime");
            book.note(&record.args(format_args!("{message}")).build()).unwrap();
        }
        let path = folder.path().join("daemon.log");
        let lines = durable::lines(&path, BOUND).unwrap();
        let lines: Vec<LogLine> = lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        let numbers: Vec<_> = lines.iter().map(|line| line.number).collect();
        assert_eq!((numbers, &*lines[0].message), (vec![0, 1], "first\nof two"));
        assert_eq!((lines[1].message.len(), lines[1].level), (LONGEST, Level::Warn));
    }
}
