//! How often a worker has begun with an image and nothing came of it: neither an answer nor an error that
//! the daemon survived. So an image that ends the daemon is known after a restart.

use super::{Key, Spool};
use crate::durable;
use std::{fs, io};

impl Spool {
    /// Counts an attempt, durably, before it is made; returns how many the daemon did not survive, this
    /// one included.
    pub(crate) fn begin_attempt(&self, key: &Key) -> io::Result<u32> {
        let before = self.attempts(key)?;
        if self.lock().survived.contains(&key.sequence) {
            return Ok(before); // counted already
        }
        let attempts = before.saturating_add(1);
        let path = self.path("attempts", key, "");
        durable::write(&path, format!("{attempts}\n").as_bytes())?;
        Ok(attempts)
    }

    /// Takes an attempt back that ended without an answer and without the end of the daemon. If the disk
    /// refuses, the next one of this process takes its place in the count.
    pub(crate) fn survive_attempt(&self, key: &Key) {
        let path = self.path("attempts", key, "");
        let taken_back = match self.attempts(key) {
            Ok(0 | 1) => fs::remove_file(&path),
            Ok(attempts) => durable::write(&path, format!("{}\n", attempts - 1).as_bytes()),
            Err(error) => Err(error),
        };
        match taken_back {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("{key}: cannot take its attempt back: {error}");
                self.lock().survived.insert(key.sequence);
            }
            _ => drop(self.lock().survived.remove(&key.sequence)),
        }
    }

    fn attempts(&self, key: &Key) -> io::Result<u32> {
        match fs::read_to_string(self.path("attempts", key, "")) {
            Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }
}
