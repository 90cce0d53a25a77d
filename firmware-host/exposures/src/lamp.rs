//! The lamp file: what the daemon shows while it lives.
//!
//! The daemon holds a lock on it. No lock, no daemon: then the lamp shows trouble, whatever the file says. So nothing
//! has to be written while nothing changes, and nothing has to be durable.

use protocol::Lamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileExt;
use std::path::Path;

const NAME: &str = "lamp";
const LENGTH: usize = 64;

/// What the daemon shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub lamp: Lamp,
    /// Exposures whose image should have arrived and did not.
    pub missing: u32,
    /// Images that no exposure explains.
    pub unexplained: u32,
}

impl Shown {
    /// While no daemon says otherwise.
    pub const NO_DAEMON: Self = Self { lamp: Lamp::Trouble, missing: 0, unexplained: 0 };
}

/// The daemon's end; while this value lives, what it shows counts.
#[derive(Debug)]
pub struct LampFile {
    file: File,
    last: Option<Shown>,
}

impl LampFile {
    /// Fails if another daemon shows something in this folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(NAME);
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(ErrorKind::ResourceBusy, "another daemon uses it"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut lamp = Self { file, last: None };
        lamp.show(Shown::NO_DAEMON)?;
        Ok(lamp)
    }

    /// Writes if something changed.
    pub fn show(&mut self, shown: Shown) -> io::Result<()> {
        if self.last == Some(shown) {
            return Ok(());
        }
        let body = postcard::to_allocvec(&shown).expect("writing to memory cannot fail");
        let mut bytes = [0; LENGTH];
        bytes[0] = body.len() as u8;
        bytes[1..=body.len()].copy_from_slice(&body);
        let crc = crc32fast::hash(&bytes[..LENGTH - 4]);
        bytes[LENGTH - 4..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&bytes, 0)?;
        self.last = Some(shown);
        Ok(())
    }
}

/// The agent's end: what the daemon that lives shows; [`Shown::NO_DAEMON`] if none does.
pub fn shown(folder: &Path) -> io::Result<Shown> {
    let mut file = match File::open(folder.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Shown::NO_DAEMON),
        Err(error) => return Err(error),
    };
    // Shared, so that several may look at once.
    match file.try_lock_shared() {
        Ok(()) => return Ok(Shown::NO_DAEMON),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut bytes = [0; LENGTH];
    file.read_exact(&mut bytes)?;
    open(&bytes).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the lamp file is damaged"))
}

fn open(bytes: &[u8; LENGTH]) -> Option<Shown> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let is_whole = crc32fast::hash(body) == u32::from_le_bytes(*crc);
    let length = usize::from(bytes[0]);
    is_whole.then(|| postcard::from_bytes(body.get(1..=length)?).ok()).flatten()
}
