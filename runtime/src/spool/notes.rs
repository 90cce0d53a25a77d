//! Files in `attempts/` about objects that have no number yet: see `ahead`.

use super::attempts;
use crate::uid::Uid;
use std::{fs, io, path::Path};

const PREFIX: &str = "early_";

/// Whether a file in `attempts/` is a note of this kind.
pub(super) fn is_note(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
}

/// Counts in `attempt` what a note says.
pub(super) fn hand_on(note: &Path, attempt: &Path, deaths: u32) -> io::Result<()> {
    attempts::write(attempt, deaths)?;
    fs::remove_file(note)
}

pub(super) fn name(uid: &Uid, digest: u64) -> String {
    format!("{PREFIX}{uid}_{digest:016x}")
}

/// The object that a note is about; `None` if the note is none of ours.
pub(super) fn about(note: &Path) -> Option<(Uid, u64)> {
    let (uid, digest) = note.file_name()?.to_str()?.strip_prefix(PREFIX)?.split_once('_')?;
    Some((Uid::parse(uid).ok()?, u64::from_str_radix(digest, 16).ok()?))
}
