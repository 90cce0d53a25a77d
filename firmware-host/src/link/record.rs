//! What crossed a link, with times and directions, in a file.
//!
//! ```text
//! "CXRT" · format u16
//! entry: direction u8 (0 to the box, 1 from it, 2 the end) · nanoseconds since the start u64 · length u32 · bytes ·
//!        CRC-32 of all of the file before, sums apart
//! ```
//!
//! Little endian. Every sum covers the whole file up to there, so that a file with a piece missing, twice or moved is
//! noticed. A file without its end was cut off. Recorded is what the protocol says, inside the encryption.

use super::Link;
use crc32fast::Hasher;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;

const MAGIC: [u8; 4] = *b"CXRT";
const FORMAT: u16 = 1;
const HEAD: usize = 1 + 8 + 4;
/// Longest piece: more no link takes or gives at once.
const LONGEST: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToBox,
    FromBox,
}

/// Bytes that crossed the link at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tape {
    pub direction: Direction,
    pub at: Duration,
    pub bytes: Vec<u8>,
}

/// Why a file is no recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordingError {
    #[error("not a recording: begins with other bytes than {MAGIC:02x?}")]
    NotARecording,
    #[error("format {found} is newer than {FORMAT}, the newest this build reads")]
    TooNew { found: u16 },
    #[error("damaged at byte {at}")]
    Damaged { at: usize },
    #[error("cut off at byte {at}: the recording has no end")]
    CutOff { at: usize },
    #[error("{left} bytes behind the end")]
    Behind { left: usize },
}

/// A file that is being written. The end is written when the last link that writes to it is gone.
#[derive(Debug)]
pub struct Recording {
    file: BufWriter<File>,
    sum: Hasher,
    start: Instant,
    /// The first error; nothing is written after it.
    broken: Option<io::Error>,
}

impl Recording {
    /// Begins a file; one that is there is not written over.
    pub fn create(path: &Path) -> io::Result<Arc<Mutex<Self>>> {
        let file = BufWriter::new(File::create_new(path)?);
        let mut recording = Self { file, sum: Hasher::new(), start: Instant::now(), broken: None };
        recording.put(&[&MAGIC[..], &FORMAT.to_le_bytes()].concat())?;
        Ok(Arc::new(Mutex::new(recording)))
    }

    fn note(&mut self, direction: u8, bytes: &[u8]) {
        let at = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let length = (bytes.len() as u32).to_le_bytes();
        let entry = [&[direction][..], &at.to_le_bytes(), &length, bytes].concat();
        if self.broken.is_none() {
            self.broken = self.entry(&entry).err();
        }
    }

    fn entry(&mut self, entry: &[u8]) -> io::Result<()> {
        self.put(entry)?;
        // Not summed up itself: a CRC over its own sum is the same for everything before.
        let sum = self.sum.clone().finalize().to_le_bytes();
        self.file.write_all(&sum)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.file.write_all(bytes)
    }

    /// Writes the end. A recording without it is refused.
    pub fn finish(&mut self) -> io::Result<()> {
        self.note(2, &[]);
        match self.broken.take() {
            Some(error) => Err(error),
            None => self.file.flush(),
        }
    }
}

/// A link that is recorded.
pub struct Recorded {
    pub link: Box<dyn Link>,
    pub recording: Arc<Mutex<Recording>>,
}

impl Recorded {
    fn note(&self, direction: u8, bytes: &[u8]) {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).note(direction, bytes);
    }
}

impl Link for Recorded {
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
        let length = self.link.receive(bytes, time)?;
        self.note(1, &bytes[..length]);
        Ok(length)
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        self.note(0, bytes);
        self.link.send(bytes, time)
    }
}

impl Tape {
    /// Reads a whole recording, of untrusted bytes.
    pub fn read(bytes: &[u8]) -> Result<Vec<Self>, RecordingError> {
        let head = bytes.first_chunk::<6>().filter(|head| head[..4] == MAGIC);
        let head = head.ok_or(RecordingError::NotARecording)?;
        let found = u16::from_le_bytes([head[4], head[5]]);
        if found > FORMAT {
            return Err(RecordingError::TooNew { found });
        }
        let (mut tape, mut sum, mut at) = (Vec::new(), Hasher::new(), head.len());
        sum.update(head);
        loop {
            let cut_off = RecordingError::CutOff { at };
            let rest = &bytes[at..];
            let entry = rest.first_chunk::<HEAD>().ok_or(cut_off)?;
            let length = u32::from_le_bytes([entry[9], entry[10], entry[11], entry[12]]) as usize;
            if length > LONGEST {
                return Err(RecordingError::Damaged { at });
            }
            let crc = rest.get(HEAD + length..).and_then(|rest| rest.first_chunk::<4>());
            let crc = crc.ok_or(cut_off)?;
            sum.update(&rest[..HEAD + length]);
            if sum.clone().finalize() != u32::from_le_bytes(*crc) {
                return Err(RecordingError::Damaged { at });
            }
            let nanos = u64::from_le_bytes(std::array::from_fn(|n| entry[1 + n]));
            let direction = match entry[0] {
                0 => Direction::ToBox,
                1 => Direction::FromBox,
                2 => {
                    let left = rest.len() - HEAD - length - 4;
                    return if left == 0 { Ok(tape) } else { Err(RecordingError::Behind { left }) };
                }
                _ => return Err(RecordingError::Damaged { at }),
            };
            let bytes = rest[HEAD..HEAD + length].to_vec();
            tape.push(Self { direction, at: Duration::from_nanos(nanos), bytes });
            at += HEAD + length + 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    /// Says back what it is told.
    struct Echo(Vec<u8>);

    impl Link for Echo {
        fn receive(&mut self, bytes: &mut [u8], _: Duration) -> io::Result<usize> {
            let length = self.0.len().min(bytes.len());
            bytes[..length].copy_from_slice(&self.0[..length]);
            self.0.drain(..length);
            Ok(length)
        }

        fn send(&mut self, bytes: &[u8], _: Duration) -> io::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn recorded() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tape");
        let recording = Recording::create(&path).unwrap();
        assert!(Recording::create(&path).is_err(), "no file is written over");
        let mut link = Recorded { link: Box::new(Echo(Vec::new())), recording: recording.clone() };
        for said in [&b"a call"[..], b"another one"] {
            link.send(said, Duration::ZERO).unwrap();
            assert_eq!(link.receive(&mut [0; 64], Duration::ZERO).unwrap(), said.len());
        }
        recording.lock().unwrap().finish().unwrap();
        fs::read(&path).unwrap()
    }

    #[test]
    fn a_recording_tells_what_was_said_in_which_direction_in_order() {
        let tape = Tape::read(&recorded()).unwrap();
        let said: Vec<_> = tape.iter().map(|t| (t.direction, &t.bytes[..])).collect();
        let (to, from) = (Direction::ToBox, Direction::FromBox);
        let expected: [(_, &[u8]); 4] =
            [(to, b"a call"), (from, b"a call"), (to, b"another one"), (from, b"another one")];
        assert_eq!(said, expected);
        assert!(tape.is_sorted_by_key(|t| t.at));
    }

    #[test]
    fn a_recording_that_is_cut_off_anywhere_is_refused() {
        let whole = recorded();
        for length in 0..whole.len() {
            assert!(Tape::read(&whole[..length]).is_err(), "{length}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert_eq!(Tape::read(&longer), Err(RecordingError::Behind { left: 1 }));
        let mut newer = whole;
        newer[4] = 9;
        assert_eq!(Tape::read(&newer), Err(RecordingError::TooNew { found: 9 }));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed_and_noise_never_panics(
            bit in any::<prop::sample::Index>(),
            noise in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = recorded();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Tape::read(&bytes).is_err());
            let _ = Tape::read(&noise);
            let _ = Tape::read(&[&MAGIC[..], &[1, 0], &noise].concat());
        }
    }
}
