//! The boot record as bytes, in two copies: a power cut can spoil the one being written, never both.
//!
//! ```text
//! "CXRS" · format u16 · length u32 · postcard(BootRecord) · postcard(Notes) · deaths · CRC-32 of all before
//! ```
//!
//! The first builds wrote no [`Notes`], and skip them where they read a record: so an update can be taken back. The
//! next ones did not count deaths, which stand there only in a trial that had some.
//! Little endian. Generation `g` is written to copy `g mod 2`; the whole copy with the higher generation counts.
//! Later formats keep magic, format and the CRC-32 at the end, so that an older build can tell a newer record
//! from a damaged one, and leave it alone.

use crate::boot::{BootRecord, Notes};
use alloc::vec::Vec;
use thiserror::Error;

/// The two copies, in the folder of the slots.
pub const RECORD_FILES: [&str; 2] = ["boot-record.0", "boot-record.1"];

/// Longest record in bytes; a longer file is not one.
pub const RECORD_LIMIT: usize = 16 << 10;

const MAGIC: [u8; 4] = *b"CXRS";
const FORMAT: u16 = 1;
const HEAD: usize = 4 + 2 + 4;

/// Why a copy does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("not a boot record")]
    NotARecord,
    #[error("format {found}, this build reads {FORMAT}")]
    Format { found: u16 },
    #[error("format {found} is newer than {FORMAT}, the newest this build reads")]
    TooNew { found: u16 },
    #[error("{found} bytes, expected {expected}")]
    Length { found: usize, expected: usize },
    #[error("the CRC-32 does not fit")]
    Crc,
    #[error("a state no box can be in")]
    Unsound,
}

impl BootRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = postcard::to_allocvec(self).expect("writing to memory cannot fail");
        if self.notes != Notes::default() {
            let notes = postcard::to_allocvec(&self.notes).expect("writing to memory cannot fail");
            body.extend_from_slice(&notes);
        }
        if self.notes.deaths > 0 {
            let deaths = postcard::to_allocvec(&self.notes.deaths);
            body.extend_from_slice(&deaths.expect("writing to memory cannot fail"));
        }
        let length = u32::try_from(body.len()).expect("names and detail are bounded");
        let mut bytes = Vec::with_capacity(HEAD + body.len() + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(RecordError::NotARecord)?;
        let (format, rest) = rest.split_first_chunk::<2>().ok_or(RecordError::NotARecord)?;
        let (length, _) = rest.split_first_chunk::<4>().ok_or(RecordError::NotARecord)?;
        if *magic != MAGIC {
            return Err(RecordError::NotARecord);
        }
        let found = u16::from_le_bytes(*format);
        if found > FORMAT && is_whole(bytes) {
            return Err(RecordError::TooNew { found });
        }
        if found != FORMAT {
            return Err(RecordError::Format { found });
        }
        let expected = (u32::from_le_bytes(*length) as usize).saturating_add(HEAD + 4);
        if bytes.len() != expected || expected > RECORD_LIMIT {
            return Err(RecordError::Length { found: bytes.len(), expected });
        }
        if !is_whole(bytes) {
            return Err(RecordError::Crc);
        }
        let body = &bytes[HEAD..bytes.len() - 4];
        let unsound = |_: postcard::Error| RecordError::Unsound;
        let (mut record, rest): (Self, _) = postcard::take_from_bytes(body).map_err(unsound)?;
        // As far as the build that wrote them knew any; what a later one adds behind them is skipped.
        if !rest.is_empty() {
            let (notes, deaths): (Notes, _) = postcard::take_from_bytes(rest).map_err(unsound)?;
            record.notes = notes;
            if !deaths.is_empty() {
                record.notes.deaths = postcard::from_bytes(deaths).map_err(unsound)?;
            }
        }
        if record.is_sound() { Ok(record) } else { Err(RecordError::Unsound) }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<4>()
        .is_some_and(|(checked, crc)| crc32fast::hash(checked) == u32::from_le_bytes(*crc))
}

/// The record that counts, from the contents of [`RECORD_FILES`] (`None`: no such file); `None` if neither
/// copy is whole.
///
/// Fails if a copy is of a newer format ([`RecordError::TooNew`]): then no older one counts.
pub fn newest(copies: [Option<&[u8]>; 2]) -> Result<Option<BootRecord>, RecordError> {
    let mut newest: Option<BootRecord> = None;
    for copy in copies.into_iter().flatten() {
        match BootRecord::from_bytes(copy) {
            Ok(record) if newest.as_ref().is_none_or(|n| n.generation <= record.generation) => {
                newest = Some(record);
            }
            Err(error @ RecordError::TooNew { .. }) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(newest)
}

/// Why there is no telling which record counts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError<E> {
    #[error("cannot read the boot record")]
    Storage(E),
    #[error("the boot record cannot be used: {0}")]
    Record(RecordError),
}

/// Where the two copies live.
pub trait Storage {
    type Error;

    /// The contents of a copy, if it exists.
    fn read(&mut self, copy: usize) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Replaces a copy; returns once that is durable. A power cut meanwhile may leave anything in it.
    fn write(&mut self, copy: usize, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// The record that counts.
pub fn load<S: Storage>(storage: &mut S) -> Result<Option<BootRecord>, LoadError<S::Error>> {
    let mut read = |copy| storage.read(copy).map_err(LoadError::Storage);
    let (first, second) = (read(0)?, read(1)?);
    newest([first.as_deref(), second.as_deref()]).map_err(LoadError::Record)
}

/// Makes `next` the record that counts, over the older of the two copies.
pub fn commit<S: Storage>(storage: &mut S, next: &BootRecord) -> Result<(), S::Error> {
    storage.write((next.generation % 2) as usize, &next.to_bytes())
}
