//! Objects in memory, so that nobody reads back what was just written.
//!
//! ```text
//! Incoming ─ last byte ─▶ Contents ─ offered ─▶ worker looks ahead, while the file is fsynced
//!                            │
//!                            └─ accepted ─▶ Entry ─ taken ─▶ worker answers; gone from memory
//! ```
//!
//! All of them together keep to [`MOST_BYTES`]. An object that finds no room is read from disk when its turn comes, as
//! one of an earlier process is: memory is quicker, and nothing depends on it.

use crate::uid::Uid;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Three images of nine megapixels, in all.
pub(super) const MOST_BYTES: u64 = 64 << 20;

/// A whole object as it is in its file.
pub(crate) struct Contents {
    pub(crate) uid: Uid,
    /// As in its [`super::Key`].
    pub(crate) digest: u64,
    /// Header and data set.
    pub(crate) bytes: Vec<u8>,
    /// Of `bytes`.
    pub(crate) sha256: [u8; 32],
    /// Of the bytes.
    pub(super) _room: Room,
}

/// Bytes that are held for objects in memory.
#[derive(Debug, Default)]
pub(super) struct Memory(AtomicU64);

/// Part of the [`Memory`]; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Room {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Room {
    pub(super) fn none_yet(memory: &Arc<Memory>) -> Self {
        Self { memory: memory.clone(), bytes: 0 }
    }

    /// Makes it larger; false if there is no room for so much.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|used| *used <= MOST_BYTES);
        let grown = self.memory.0.fetch_update(Relaxed, Relaxed, fits).is_ok();
        self.bytes += if grown { bytes } else { 0 };
        grown
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Relaxed);
    }
}

/// Nothing of a patient.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_up_to_the_limit_and_given_back() {
        let memory = Arc::<Memory>::default();
        let (mut first, mut second) = (Room::none_yet(&memory), Room::none_yet(&memory));
        assert!(first.grow(MOST_BYTES - 10) && second.grow(10));
        assert!(!first.grow(1) && !second.grow(u64::MAX));
        drop(second);
        assert!(first.grow(10) && !first.grow(1));
        drop(first);
        assert_eq!(memory.0.load(Relaxed), 0);
    }
}
