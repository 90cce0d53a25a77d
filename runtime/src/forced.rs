//! A confirm without a proof goes into the audit log as well. The agent notes it in the boot record; the daemon, the only
//! writer of the log, finds it there, once a second and at its next start.
//!
//! The reason stays in the record: a person wrote it, and nothing in the log is about a patient.

use crate::{
    audit::{Audit, Event},
    model,
    shutdown::Shutdown,
};
use anyhow::{Context, Result};
use protocol::{BootRecord, SlotId};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::task::spawn_blocking;

const EVERY: Duration = Duration::from_secs(1);
/// What stands in the log already, in the spool.
const NOTED: &str = "forced.json";

/// Tells of a slot's confirm by force from another one's: no file is confirmed twice in one second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    slot: SlotId,
    sha256: String,
    at: u64,
}

#[derive(Debug)]
pub(crate) struct Forced {
    slots: PathBuf,
    path: PathBuf,
    audit: Arc<Audit>,
    noted: Vec<Noted>,
}

impl Forced {
    pub(crate) fn open(slots: &Path, spool: &Path, audit: Arc<Audit>) -> Result<Self> {
        let path = spool.join(NOTED);
        let noted = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            // Damaged: what is in force is written down once more.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        Ok(Self { slots: slots.to_owned(), path, audit, noted })
    }

    /// Until shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut trouble = None;
        while !shutdown.is_cancelled() {
            let looked = spawn_blocking(move || {
                let looked = self.look();
                (self, looked)
            });
            let looked = match looked.await {
                Ok((forced, looked)) => {
                    self = forced;
                    looked.err().map(|error| format!("{error:#}"))
                }
                Err(error) => {
                    return log::error!("looking for confirms by force panicked: {error}");
                }
            };
            if let Some(why) = looked.as_ref().filter(|why| trouble.as_ref() != Some(*why)) {
                log::error!("a confirm by force may be missing in the audit log: {why}");
            }
            trouble = looked;
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Logged before it counts as logged: an end in between logs it twice, never not at all.
    fn look(&mut self) -> Result<()> {
        let in_force = match model::record(&self.slots)? {
            Some(record) => in_force(&record),
            None => Vec::new(),
        };
        if in_force == self.noted {
            return Ok(());
        }
        let fresh: Vec<_> = in_force.iter().filter(|new| !self.noted.contains(new)).collect();
        for Noted { slot, sha256, at } in &fresh {
            let (slot, sha256) = (slot.to_string(), sha256.clone());
            log::warn!("the bundle in slot {slot} was confirmed by force");
            self.audit.write(Event::Forced { slot, sha256, clock: *at });
        }
        if !fresh.is_empty() {
            self.audit.flush();
        }
        let json = serde_json::to_vec(&in_force)?;
        durable::write(&self.path, &json)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.noted = in_force;
        Ok(())
    }
}

fn in_force(record: &BootRecord) -> Vec<Noted> {
    let slots = SlotId::ALL.into_iter().zip(&record.notes.forced);
    slots
        .filter_map(|(slot, forced)| {
            let sha256 = record.slot(slot).sha256?.to_string();
            Some(Noted { slot, sha256, at: forced.as_ref()?.at })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Bundle, Digest, Moment, RECORD_FILES, Release};

    fn forced(n: u8, at: u64) -> BootRecord {
        let sha256 = Digest([n; 32]);
        let (id, record) = BootRecord::new().begin(sha256, 1).unwrap();
        let release = Release { major: 1, minor: 0, patch: 0 };
        let record = record.verified(id, Bundle { id: "chest".into(), release, digest: sha256 });
        let record = record.unwrap().activate(sha256, 1, &Moment::default()).unwrap();
        let reason = "Jane Doe waits".to_owned();
        record.force(sha256, protocol::Forced { reason, lacked: "all".into(), at }).unwrap()
    }

    #[test]
    fn a_confirm_by_force_is_logged_once_whoever_restarts_and_the_next_one_too() {
        let folder = tempfile::tempdir().unwrap();
        let slots = folder.path().join("slots");
        fs::create_dir(&slots).unwrap();
        let looked = || {
            let audit = Arc::new(Audit::open(folder.path()).unwrap());
            let mut forced = Forced::open(&slots, folder.path(), audit.clone()).unwrap();
            forced.look().unwrap();
            forced.look().unwrap();
            audit.flush();
            fs::read_to_string(folder.path().join("audit.log")).unwrap()
        };
        assert_eq!(looked(), "", "no boot record yet");
        let write = |record: BootRecord| {
            fs::write(slots.join(RECORD_FILES[0]), record.to_bytes()).unwrap();
        };
        write(forced(1, 5));
        for _ in 0..2 {
            let log = looked();
            assert_eq!(log.matches("\"what\":\"forced\"").count(), 1, "{log}");
            assert!(log.contains(&"01".repeat(32)) && !log.contains("Jane"), "{log}");
        }
        // The same file again, later; and a damaged note is no reason to be silent.
        write(forced(1, 9));
        assert_eq!(looked().matches("\"what\":\"forced\"").count(), 2);
        fs::write(folder.path().join(NOTED), "{").unwrap();
        assert_eq!(looked().matches("\"what\":\"forced\"").count(), 3);
    }
}
