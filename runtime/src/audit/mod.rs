//! Who did what when: `audit.log` in the spool, one JSON object a line, chained by SHA-256 ([`chain`]).
//!
//! Nothing in it is about a patient. Images go by their number in the spool: whoever may look into the spool finds
//! there what it was. A thread of its own writes, fsyncing many lines together, so nobody waits for it; a crash loses
//! what happened in the half second before.
//!
//! A chain shows that a log was edited. It does not stop somebody who can write to the disk from making a whole new
//! one: keep what `runtime audit verify` prints in another place, and compare.

mod chain;
mod files;
mod verify;
mod writer;

pub(crate) use verify::AuditVerb;

use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    borrow::Cow,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, SystemTime},
};
use writer::Writer;

/// One line. Append variants and fields; a name that was written once keeps its meaning.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum Event {
    Start {
        version: &'static str,
    },
    Stop,
    /// A power cut had left the last line unfinished.
    Mended {
        bytes: u64,
    },
    /// The log was not what it was. `verify` fails here.
    Alarm {
        why: String,
    },
    /// So many events were not written down, because the disk refused for too long.
    Lost {
        events: u64,
    },
    /// Another bundle answers; none if the names are empty.
    Bundle {
        id: String,
        version: String,
        digest: String,
        slot: Option<String>,
    },
    Association {
        who: String,
        from: String,
        called: String,
        outcome: String,
    },
    /// `image` if there is one now.
    Store {
        who: String,
        image: Option<u64>,
        status: String,
    },
    Answer {
        image: u64,
        status: &'static str,
        bundle: String,
    },
    Purge {
        images: Vec<u64>,
    },
    /// `who` is empty if nobody has the name that was typed.
    LogIn {
        who: String,
        from: String,
        outcome: &'static str,
    },
    LogOut {
        who: String,
        from: String,
    },
    /// What a destination said about an object, or what a person decided.
    Delivery {
        image: u64,
        kind: String,
        destination: String,
        outcome: String,
    },
    /// A person, or a program, decided about a delivery.
    Decision {
        who: String,
        decision: Cow<'static, str>,
        delivery: i64,
    },
    /// An X-ray exposure, by its number in the journal: its image did not arrive in time, or did after all.
    Exposure {
        entry: u64,
        outcome: &'static str,
    },
    /// No exposure explains an image, or one does after all.
    Unexplained {
        image: u64,
        outcome: &'static str,
    },
    /// Images of a source do not look as they did when the network was calibrated, or do again. `over`: the last
    /// images, a week or a month.
    Drift {
        source: String,
        feature: String,
        over: &'static str,
        outcome: &'static str,
    },
    /// It was read again, and is in force or refused.
    Configuration {
        outcome: &'static str,
    },
    /// A bundle was confirmed without a proof, in the second `clock` since 1970 of the agent's clock. The boot record
    /// has the reason.
    Forced {
        slot: String,
        sha256: String,
        clock: u64,
    },
}

/// Where events are handed in.
#[derive(Debug)]
pub(crate) struct Audit {
    sender: SyncSender<Message>,
    lost: AtomicU64,
    trouble: Arc<Mutex<Option<String>>>,
}

enum Message {
    Event(SystemTime, Event),
    /// Answered once everything before it is on disk.
    Flush(mpsc::Sender<()>),
}

/// Events that wait for the disk.
const WAITING: usize = 10_000;
/// How long a stopping daemon waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(5);
/// A file that is as long makes way for a new one.
const MAX_BYTES: u64 = 16 << 20;

impl Audit {
    /// Opens the log in `folder`, or begins one.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Self::open_with(folder, MAX_BYTES)
    }

    fn open_with(folder: &Path, max_bytes: u64) -> Result<Self> {
        let writer = Writer::open(folder, max_bytes)
            .with_context(|| format!("cannot go on with the audit log in {}", folder.display()))?;
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let trouble = Arc::<Mutex<Option<String>>>::default();
        let told = trouble.clone();
        thread::Builder::new()
            .name("audit".into())
            .spawn(move || {
                writer.run(&receiver, |trouble| {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
                });
            })
            .context("cannot start the thread of the audit log")?;
        Ok(Self { sender, lost: AtomicU64::new(0), trouble })
    }

    /// Hands an event in. Never waits: if too many are under way already, they are counted, and the count is
    /// written down.
    pub(crate) fn write(&self, event: Event) {
        let now = SystemTime::now();
        let lost = self.lost.swap(0, Relaxed);
        if lost > 0 && !self.hand_in(now, Event::Lost { events: lost }) {
            self.lost.fetch_add(lost, Relaxed);
        }
        if !self.hand_in(now, event) {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Hands in what happened `at` some time; false if too many are under way and the caller must keep it.
    pub(crate) fn hand_in(&self, at: SystemTime, event: Event) -> bool {
        self.sender.try_send(Message::Event(at, event)).is_ok()
    }

    /// Waits until what was handed in is on disk, for a while; whether it is.
    pub(crate) fn flush(&self) -> bool {
        let (done, wait) = mpsc::channel();
        let sent = self.sender.send(Message::Flush(done)).is_ok();
        let is_on_disk = sent && wait.recv_timeout(PATIENCE).is_ok();
        if !is_on_disk {
            log::error!("the last lines of the audit log may be missing");
        }
        is_on_disk
    }

    /// Why nothing can be written.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests;
