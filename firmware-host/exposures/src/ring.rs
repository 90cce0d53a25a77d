//! The journal's bytes: a header and a ring of entries, each in a sector of its own.
//!
//! ```text
//! sector 0      "CXRX" · format u16 · slots u32 · CRC-32 of all before · zeros
//! sector 1 + n  number u64 · length u16 · postcard(when, event) · CRC-32 of all before · zeros
//! ```
//!
//! Little endian. Entry `number` is in slot `number mod slots`. A power cut spoils at most the slot that was being
//! written, which held the oldest entry.

use crate::Moment;
use protocol::{Detector, Exposure, Interlock};
use serde::{Deserialize, Serialize};
use std::io;
use thiserror::Error;

/// Entries that are kept.
pub const SLOTS: u64 = 1024;
pub(crate) const SECTOR: usize = 512;
pub(crate) const LENGTH: usize = SECTOR * (1 + SLOTS as usize);

const MAGIC: [u8; 4] = *b"CXRX";
const FORMAT: u16 = 1;
const HEAD: usize = 8 + 2;

/// What a controller told. Append variants, never move or change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    Exposure(Exposure),
    Detector(Detector),
    Interlock(Interlock),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts from 1. A number that was never written down is a write that the disk refused.
    pub number: u64,
    /// When the agent heard of it.
    pub when: Moment,
    pub event: Event,
}

/// Why the journal cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    #[error("{file}: the disk refuses")]
    Io { file: String, source: io::Error },
    #[error("{file}: found no journal of exposures")]
    NotAJournal { file: String },
    #[error("{file}: format {found} is newer than {FORMAT}, the newest this build reads")]
    TooNew { file: String, found: u16 },
    #[error("{file}: another agent writes it")]
    Locked { file: String },
}

/// An empty journal.
pub(crate) fn empty() -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[6..10].copy_from_slice(&(SLOTS as u32).to_le_bytes());
    let crc = crc32fast::hash(&bytes[..10]);
    bytes[10..14].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The entries of a journal in the order of their numbers; damaged slots are left out.
pub(crate) fn entries(bytes: &[u8], file: &str) -> Result<Vec<Entry>, JournalError> {
    let not_one = || JournalError::NotAJournal { file: file.to_owned() };
    let head = bytes.first_chunk::<14>().filter(|head| head[..4] == MAGIC).ok_or_else(not_one)?;
    let whole = crc32fast::hash(&head[..10])
        == u32::from_le_bytes([head[10], head[11], head[12], head[13]]);
    let found = u16::from_le_bytes([head[4], head[5]]);
    if whole && found > FORMAT {
        return Err(JournalError::TooNew { file: file.to_owned(), found });
    }
    if !whole || bytes.len() != LENGTH {
        return Err(not_one());
    }
    let (slots, _) = bytes[SECTOR..].as_chunks::<SECTOR>();
    let mut entries: Vec<_> =
        slots.iter().zip(0..).filter_map(|(slot, at)| open(slot, at)).collect();
    entries.sort_by_key(|entry| entry.number);
    Ok(entries)
}

/// Where an entry stands in the file.
pub(crate) const fn offset(number: u64) -> u64 {
    (1 + number % SLOTS) * SECTOR as u64
}

pub(crate) fn seal(entry: &Entry) -> [u8; SECTOR] {
    let body =
        postcard::to_allocvec(&(entry.when, entry.event)).expect("writing to memory cannot fail");
    let mut slot = [0; SECTOR];
    let end = HEAD + body.len();
    slot[..8].copy_from_slice(&entry.number.to_le_bytes());
    slot[8..HEAD].copy_from_slice(&(body.len() as u16).to_le_bytes());
    slot[HEAD..end].copy_from_slice(&body);
    let crc = crc32fast::hash(&slot[..end]);
    slot[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn open(slot: &[u8; SECTOR], at: u64) -> Option<Entry> {
    let (number, rest) = slot.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    let length = usize::from(u16::from_le_bytes(*rest.first_chunk::<2>()?));
    let end = HEAD + length;
    let crc = slot.get(end..end + 4)?.first_chunk::<4>()?;
    let is_whole = crc32fast::hash(&slot[..end]) == u32::from_le_bytes(*crc);
    if !is_whole || number == 0 || number % SLOTS != at {
        return None;
    }
    let (when, event) = postcard::from_bytes(&slot[HEAD..end]).ok()?;
    Some(Entry { number, when, event })
}
