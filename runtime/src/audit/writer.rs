//! The thread that writes.

use super::{
    Event, Message,
    chain::Head,
    files::{self, AuditError, CURRENT, HEAD},
};
use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant, SystemTime},
};

/// Lines are gathered for so long before they are written and fsynced together.
const GATHER: Duration = Duration::from_millis(500);
/// So many lines are not gathered any longer.
const MOST: usize = 2000;
/// Bytes that wait for a disk that refuses.
const MOST_PENDING: usize = 4 << 20;
/// After a disk has refused.
const RETRY: Duration = Duration::from_secs(1);

/// The open end of a log.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    file: File,
    head_file: File,
    /// After the lines that are written or pending.
    head: Head,
    /// Number of the first line in the file.
    first: u64,
    /// Bytes of the file that are written.
    length: u64,
    /// Lines that are not.
    pending: Vec<u8>,
    max_bytes: u64,
}

impl Writer {
    /// Opens the log, or begins one. Cuts off a line that a power cut left unfinished, and says so in the log;
    /// raises an alarm in it if it is not what it was.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> Result<Self> {
        let vouched = files::read_head(folder)?;
        let Found { mut head, first, length, torn, mut alarm } = find_end(folder, vouched)?;
        match vouched {
            None if head != Head::START => alarm = Some("audit.head was missing or damaged".into()),
            // What was cut off at the end is missed: the chain goes on where it stood.
            Some(vouched) if vouched.number > head.number => {
                let missing = vouched.number - head.number;
                alarm.get_or_insert(format!("{missing} lines were missing at the end"));
                head = vouched;
            }
            _ => {}
        }
        let open = |name: &str| {
            let path = folder.join(name);
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            file.with_context(|| format!("cannot open {}", path.display()))
        };
        let (file, head_file) = (open(CURRENT)?, open(HEAD)?);
        file.set_len(length).context("cannot cut off an unfinished line of audit.log")?;
        let (folder, pending) = (folder.to_owned(), Vec::new());
        let mut writer = Self { folder, file, head_file, head, first, length, pending, max_bytes };
        if vouched.is_none() {
            writer.write_head().context("cannot write audit.head")?;
            durable::sync_folder(&writer.folder).context("cannot fsync the folder of audit.log")?;
        }
        if torn > 0 {
            log::warn!("audit.log: the last line was unfinished, {torn} bytes cut off");
            writer.add(SystemTime::now(), &Event::Mended { bytes: torn });
        }
        if let Some(why) = alarm {
            log::error!("audit.log is not what it was: {why}");
            writer.add(SystemTime::now(), &Event::Alarm { why });
        }
        Ok(writer)
    }

    /// Writes what it receives until every sender is gone.
    pub(super) fn run(mut self, messages: &Receiver<Message>, tell: impl Fn(Option<String>)) {
        let mut waiting_for_disk: Vec<Sender<()>> = Vec::new();
        let (mut open, mut refused) = (true, false);
        while open || !self.pending.is_empty() {
            open = self.gather(messages, refused, &mut waiting_for_disk);
            let flushed = self.flush();
            refused = flushed.is_err();
            match flushed {
                Ok(()) => {
                    tell(None);
                    for waiting in waiting_for_disk.drain(..) {
                        let _ = waiting.send(());
                    }
                }
                Err(error) => {
                    tell(Some(format!("the audit log cannot be written: {error}")));
                    if !open {
                        return log::error!("the audit log lacks its last lines: {error}");
                    }
                }
            }
        }
    }

    /// Takes what arrives in a while; false once nothing more will. `refused`: the disk is to be tried again soon.
    fn gather(
        &mut self,
        messages: &Receiver<Message>,
        refused: bool,
        waiting: &mut Vec<Sender<()>>,
    ) -> bool {
        if self.pending.len() > MOST_PENDING {
            // What piles up in the channel is counted there once that is full.
            std::thread::sleep(RETRY);
            return true;
        }
        let patience = if refused { RETRY } else { Duration::MAX };
        let mut next = match messages.recv_timeout(patience) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        let until = Instant::now() + if refused { RETRY } else { GATHER };
        for _ in 0..MOST {
            match next.take() {
                Some(Message::Event(at, event)) => self.add(at, &event),
                Some(Message::Flush(sender)) => {
                    waiting.push(sender);
                    return true;
                }
                None => {}
            }
            match messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(message) => next = Some(message),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        if let Some(Message::Event(at, event)) = next {
            self.add(at, &event);
        }
        true
    }

    fn add(&mut self, at: SystemTime, event: &Event) {
        let at = humantime::format_rfc3339_millis(at).to_string();
        match self.head.line(&at, event) {
            Ok((line, head)) => {
                self.pending.extend_from_slice(&line);
                self.head = head;
            }
            Err(error) => log::error!("an event cannot be written down: {error}"),
        }
    }

    /// Log first, head second: a power cut in between leaves a log that goes on behind its head.
    fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.file.write_all_at(&self.pending, self.length)?;
            self.file.sync_data()?;
            self.length += self.pending.len() as u64;
            self.pending.clear();
            self.write_head()?;
        }
        if self.length >= self.max_bytes { self.rotate() } else { Ok(()) }
    }

    /// Overwrites in place; a sector is written whole or not at all.
    fn write_head(&self) -> io::Result<()> {
        self.head_file.write_all_at(self.head.to_text().as_bytes(), 0)?;
        self.head_file.sync_data()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let current = self.folder.join(CURRENT);
        match fs::rename(&current, self.folder.join(files::full_name(self.first))) {
            // The last try came as far as that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        self.file = File::create_new(&current)?;
        (self.first, self.length) = (self.head.number + 1, 0);
        durable::sync_folder(&self.folder)
    }
}

/// The end of the newest file.
struct Found {
    head: Head,
    first: u64,
    /// Bytes of whole lines.
    length: u64,
    torn: u64,
    alarm: Option<String>,
}

fn find_end(folder: &Path, vouched: Option<Head>) -> Result<Found, AuditError> {
    let nothing = Found { head: Head::START, first: 1, length: 0, torn: 0, alarm: None };
    let is_begun = |path: &PathBuf| fs::metadata(path).is_ok_and(|about| about.len() > 0);
    let Some(newest) = files::list(folder)?.into_iter().rfind(is_begun) else { return Ok(nothing) };
    let bytes = files::read(&newest)?;
    let mut found = nothing;
    for (line, text) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let whole = text.strip_suffix(b"\n");
        let next = match whole {
            Some(text) if line == 0 => Head::after(text).ok(),
            // An alarm is raised once and found by `verify`; here the chain goes on behind it.
            Some(text) => {
                Head::after(text).ok().filter(|next| next.number == found.head.number + 1)
            }
            None => None,
        };
        let Some(next) = next else {
            let rest = bytes.len() as u64 - found.length;
            let is_vouched_for = vouched.is_some_and(|head| head.number > found.head.number);
            if !is_vouched_for {
                found.torn = rest;
                break;
            }
            found.alarm = Some(format!("line {} was damaged", found.head.number + 1));
            found.length = bytes.len() as u64;
            break;
        };
        if line == 0 {
            found.first = next.number;
        }
        if vouched.is_some_and(|head| head.number == next.number && head != next) {
            found.alarm = Some(format!("line {} was changed", next.number));
        }
        found.head = next;
        found.length += text.len() as u64;
    }
    if newest.file_name().is_some_and(|name| name != CURRENT) {
        // The next line is the first of a new file.
        (found.first, found.length, found.torn) = (found.head.number + 1, 0, 0);
    }
    Ok(found)
}
