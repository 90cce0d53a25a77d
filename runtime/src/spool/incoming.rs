//! An object on its way to disk.

use super::{
    Accepted, Contents, Spool,
    contents::Room,
    stages::{Stage, Way},
};
use crate::uid::Uid;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

/// Written piece by piece under a temporary name. Dropped without [`Incoming::commit`], it is gone.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    spool: &'a Spool,
    path: PathBuf,
    file: File,
    /// What is not on disk yet; all of it, as long as there is room in memory.
    kept: Vec<u8>,
    /// So many of the kept bytes are on disk.
    written: usize,
    /// So many of those that are not belong to the file header.
    header: usize,
    /// `None`: there was not enough.
    room: Option<Room>,
    /// Of what makes two objects the same.
    identity: Sha256,
    /// Of the file.
    whole: Sha256,
    /// Set aside on the disk.
    bytes: u64,
    way: Way,
}

/// Goes to disk at once.
const PIECE: usize = 256 << 10;
/// Most images fit, so that few are moved about while they grow. Memory that is not written to is not used.
const USUAL: usize = 8 << 20;

impl<'a> Incoming<'a> {
    pub(super) fn create(spool: &'a Spool, path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            spool,
            file: File::create(&path)?,
            path,
            kept: Vec::new(),
            written: 0,
            header: 0,
            room: Some(Room::none_yet(&spool.memory)),
            identity: Sha256::new(),
            whole: Sha256::new(),
            bytes: 0,
            way: Way::begin(),
        })
    }

    /// The file header: on disk, but no part of what makes two objects the same.
    pub(crate) fn write_header(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.header += bytes.len();
        self.put(bytes)
    }

    /// What the object is apart from its data set; part of its identity, not on disk.
    pub(crate) fn identify(&mut self, text: &str) {
        self.identity.update(text.as_bytes());
        self.identity.update([0]);
    }

    /// The next piece of the data set.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes)
    }

    /// Whether so many bytes more would wait for the disk.
    pub(crate) fn must_flush(&self, more: usize) -> bool {
        self.kept.len() - self.written + more >= PIECE
    }

    /// Makes the object durable and queues it. From now on the worker may look at it.
    pub(crate) fn commit(mut self, uid: Uid) -> io::Result<Accepted> {
        self.way.mark(Stage::Received);
        self.flush()?;
        let digest = self.identity.finalize_reset();
        let digest = u64::from_be_bytes(std::array::from_fn(|i| digest[i]));
        let sha256 = self.whole.finalize_reset().into();
        let contents = self.room.take().map(|room| {
            let bytes = std::mem::take(&mut self.kept);
            Arc::new(Contents { uid: uid.clone(), digest, bytes, sha256, _room: room })
        });
        if let Some(contents) = &contents {
            self.spool.offer(contents);
        }
        self.file.sync_all()?;
        self.way.mark(Stage::Synced);
        // On success the file has moved, and `drop` finds nothing to remove.
        self.spool.accept(&self.path, (uid, digest), self.bytes, contents, self.way.clone())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(room) = &mut self.room
            && !room.grow(bytes.len() as u64)
        {
            self.room = None;
            // Its memory goes too.
            self.kept = self.kept.split_off(self.written);
            self.written = 0;
        }
        if self.room.is_some() && self.kept.capacity() < USUAL && self.kept.len() > PIECE {
            self.kept.reserve_exact(USUAL - self.kept.len());
        }
        self.kept.extend_from_slice(bytes);
        if self.must_flush(0) { self.flush() } else { Ok(()) }
    }

    /// Writes what is not on disk yet.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let piece = &self.kept[self.written..];
        let length = piece.len() as u64;
        self.spool.reserve(length)?;
        self.bytes += length;
        self.whole.update(piece);
        self.identity.update(&piece[std::mem::take(&mut self.header)..]);
        self.file.write_all(piece)?;
        self.written = self.kept.len();
        if self.room.is_none() {
            self.kept.clear();
            self.written = 0;
        }
        Ok(())
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
