//! An object on its way to disk.

use super::{Accepted, Spool};
use crate::uid::Uid;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::PathBuf,
};

/// Written piece by piece under a temporary name. Dropped without [`Incoming::commit`], it is gone.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    spool: &'a Spool,
    path: PathBuf,
    pub(super) file: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
}

impl<'a> Incoming<'a> {
    pub(super) fn create(spool: &'a Spool, path: PathBuf) -> io::Result<Self> {
        let file = BufWriter::with_capacity(256 << 10, File::create(&path)?);
        Ok(Self { spool, path, file, digest: Sha256::new(), bytes: 0 })
    }

    /// The file header: on disk, but no part of what makes two objects the same.
    pub(crate) fn write_header(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes)
    }

    /// What the object is apart from its data set; part of its identity, not on disk.
    pub(crate) fn identify(&mut self, text: &str) {
        self.digest.update(text.as_bytes());
        self.digest.update([0]);
    }

    /// The next piece of the data set.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.put(bytes)
    }

    /// Makes the object durable and queues it.
    pub(crate) fn commit(mut self, uid: Uid) -> io::Result<Accepted> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        let digest = self.digest.finalize_reset();
        let digest = u64::from_be_bytes(std::array::from_fn(|i| digest[i]));
        // On success the file has moved, and `drop` finds nothing to remove.
        self.spool.accept(&self.path, uid, digest, self.bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.spool.reserve(bytes.len() as u64)?;
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        self.spool.release(self.bytes);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("cannot remove {}: {error}", self.path.display());
            }
            _ => {}
        }
    }
}
