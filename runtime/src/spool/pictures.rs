//! Overlays on disk: a cache. They can be drawn again, so they are the first to go when room is needed.

use super::{Key, Spool};
use std::{collections::BTreeMap, fs, io};

/// Which overlays are there. Kept in the index.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    /// Bytes, by sequence number: the oldest image's goes first.
    sizes: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Pictures {
    pub(super) fn add(&mut self, sequence: u64, bytes: u64) {
        self.remove(sequence);
        self.bytes += bytes;
        self.sizes.insert(sequence, bytes);
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        self.bytes -= self.sizes.remove(&sequence).unwrap_or(0);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn oldest(&self) -> Option<u64> {
        self.sizes.keys().next().copied()
    }
}

impl Spool {
    /// The overlay of an image, if it was drawn and kept.
    pub(crate) fn overlay(&self, key: &Key) -> io::Result<Vec<u8>> {
        fs::read(self.path("overlays", key, "png"))
    }

    /// Keeps the overlay of an answered image, at the cost of older ones. Whole or not there, but not
    /// durable: after a power cut it is drawn again.
    pub(crate) fn keep_overlay(&self, key: &Key, png: &[u8]) -> io::Result<()> {
        let bytes = png.len() as u64;
        if bytes > self.limits.picture_bytes {
            return Ok(());
        }
        let path = self.path("overlays", key, "png");
        let aside = path.with_added_extension("part");
        fs::write(&aside, png).and_then(|()| fs::rename(&aside, &path)).inspect_err(|_| {
            let _ = fs::remove_file(&aside);
        })?;
        let mut index = self.lock();
        if index.get(key.sequence).is_none() {
            drop(index);
            return fs::remove_file(&path); // purged meanwhile
        }
        index.pictures.add(key.sequence, bytes);
        drop(index);
        self.drop_pictures(0);
        Ok(())
    }

    /// Removes the oldest overlays until they keep to their limit and `wanted` bytes are gained.
    pub(super) fn drop_pictures(&self, wanted: u64) -> u64 {
        let mut gained = 0;
        loop {
            let mut index = self.lock();
            let before = index.pictures.bytes();
            let Some(oldest) = index.pictures.oldest() else { return gained };
            if before <= self.limits.picture_bytes && gained >= wanted {
                return gained;
            }
            index.pictures.remove(oldest);
            gained += before - index.pictures.bytes();
            let key = index.get(oldest).map(|entry| entry.key.clone());
            drop(index);
            if let Some(key) = key {
                self.unlink("overlays", &key, "png");
            }
        }
    }
}
