//! The agent's half of the slots folder: boot records as it writes them.

use bundle::Bundle;
use protocol::{BootRecord, Digest, Forced, Moment, Release, Storage, commit};
use sha2::Digest as _;
use std::{convert::Infallible, fs, path::Path};

struct Slots<'a>(&'a Path);

impl Storage for Slots<'_> {
    type Error = Infallible;

    fn read(&mut self, copy: usize) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(fs::read(self.0.join(protocol::RECORD_FILES[copy])).ok())
    }

    fn write(&mut self, copy: usize, bytes: &[u8]) -> Result<(), Infallible> {
        durable::write(&self.0.join(protocol::RECORD_FILES[copy]), bytes).unwrap();
        Ok(())
    }
}

/// Puts a bundle in the free slot and on trial.
pub(crate) fn try_out(slots: &Path, bundle: &Bundle) -> BootRecord {
    let (sha256, verified) = staged(slots, bundle);
    write(slots, verified.activate(sha256, 3, &Moment::default()).unwrap())
}

/// Puts a bundle in the free slot, where it does not run.
pub(crate) fn stage(slots: &Path, bundle: &Bundle) {
    let (_, verified) = staged(slots, bundle);
    write(slots, verified);
}

fn staged(slots: &Path, bundle: &Bundle) -> (Digest, BootRecord) {
    let mut storage = Slots(slots);
    let bytes = bundle.to_bytes().unwrap();
    let sha256 = Digest(sha2::Sha256::digest(&bytes).into());
    let record = protocol::load(&mut storage).unwrap().unwrap_or_default();
    let (slot, record) = record.begin(sha256, bytes.len() as u64).unwrap();
    fs::write(slots.join(slot.file_name()), &bytes).unwrap();
    let about = protocol::Bundle {
        id: bundle.manifest.id.clone(),
        release: bundle.manifest.version.parse::<Release>().unwrap(),
        digest: Digest([0; 32]),
    };
    (sha256, record.verified(slot, about).unwrap())
}

/// Puts a bundle in the free slot, to run there for good.
pub(crate) fn activate(slots: &Path, bundle: &Bundle) {
    let trial = try_out(slots, bundle);
    let sha256 = trial.to_run().unwrap().digest;
    let forced = Forced { reason: "a test".into(), lacked: String::new(), at: 0 };
    write(slots, trial.force(sha256, forced).unwrap());
}

pub(crate) fn write(slots: &Path, record: BootRecord) -> BootRecord {
    let Ok(()) = commit(&mut Slots(slots), &record);
    record
}
