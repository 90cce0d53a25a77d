//! The workstation's list of boxes and their keys: one line a box, its address and its key.
//!
//! An address that is not there is no box we know. Nothing is ever added because a box said so: a line comes
//! from an enrolment, where the box proved to know the one-time code, or from somebody who compared the key.

use keyring::{VerifyingKey, fingerprint};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use thiserror::Error;

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KnownBoxesError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error("{}, line {line}: found {found:?}, expected an address and a key", path.display())]
    Line { path: PathBuf, line: usize, found: String },
}

/// The key that the box at `address` has to show, if the list has one.
pub fn look_up(path: &Path, address: &str) -> Result<Option<VerifyingKey>, KnownBoxesError> {
    let known = read(path)?;
    Ok(known.into_iter().find(|(at, _)| at == address).map(|(_, key)| key))
}

/// Puts the key of the box at `address` into the list, in place of an earlier one.
pub fn pin(path: &Path, address: &str, key: &VerifyingKey) -> Result<(), KnownBoxesError> {
    change(path, |known| {
        known.retain(|(at, _)| at != address);
        known.push((address.to_owned(), *key));
    })
}

/// Puts new keys in the place of old ones; the addresses of the boxes that have another key now.
pub fn replace(
    path: &Path,
    successor: impl Fn(&VerifyingKey) -> Option<VerifyingKey>,
) -> Result<Vec<String>, KnownBoxesError> {
    let mut replaced = Vec::new();
    change(path, |known| {
        for (address, key) in known {
            if let Some(next) = successor(key) {
                *key = next;
                replaced.push(address.clone());
            }
        }
    })?;
    Ok(replaced)
}

fn change(
    path: &Path,
    change: impl FnOnce(&mut Vec<(String, VerifyingKey)>),
) -> Result<(), KnownBoxesError> {
    let failed = |source| KnownBoxesError::Write { path: path.to_owned(), source };
    // Several enrolments may run at a time: each reads what the one before wrote.
    let lock = path.with_added_extension("lock");
    durable::create_folders(durable::parent(path)).map_err(failed)?;
    let lock = File::create(&lock).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let mut known = read(path)?;
    change(&mut known);
    let line = |(at, key): &(String, VerifyingKey)| format!("{at} {}\n", fingerprint(key));
    let text: String = known.iter().map(line).collect();
    durable::write(path, text.as_bytes()).map_err(failed)
}

fn read(path: &Path) -> Result<Vec<(String, VerifyingKey)>, KnownBoxesError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|source| KnownBoxesError::Read { path: path.to_owned(), source })?,
    };
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let mut words = line.split_whitespace();
            let found = match (words.next(), words.next().map(keyring::public_key), words.next()) {
                (Some(address), Some(Ok(key)), None) => Some((address.to_owned(), key)),
                _ => None,
            };
            found.ok_or_else(|| KnownBoxesError::Line {
                path: path.to_owned(),
                line: number + 1,
                found: line.chars().take(100).collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_known_by_its_address_alone_and_a_new_key_replaces_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/known_boxes");
        let key = || keyring::generate().unwrap().verifying_key();
        let (old, new, other) = (key(), key(), key());
        assert_eq!(look_up(&path, "tcp://a:1").unwrap(), None);
        pin(&path, "tcp://a:1", &old).unwrap();
        pin(&path, "pty:///run/link", &other).unwrap();
        pin(&path, "tcp://a:1", &new).unwrap();
        assert_eq!(look_up(&path, "tcp://a:1").unwrap(), Some(new));
        assert_eq!(look_up(&path, "pty:///run/link").unwrap(), Some(other));
        assert_eq!(look_up(&path, "tcp://a:2").unwrap(), None);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named_and_the_file_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_boxes");
        let key = keyring::generate().unwrap().verifying_key();
        let good = format!("# ours\n\ntcp://a:1 {}\n", fingerprint(&key));
        for wrong in ["tcp://b:1", "tcp://b:1 00ff", &format!("{} x", good.trim())] {
            let text = format!("{good}{wrong}\n");
            fs::write(&path, &text).unwrap();
            let error = look_up(&path, "tcp://a:1").unwrap_err().to_string();
            assert!(error.contains("line "), "{error}");
            assert!(pin(&path, "tcp://c:1", &key).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn pins_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_boxes");
        let key = keyring::generate().unwrap().verifying_key();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || pin(path, &format!("tcp://a:{n}"), &key).unwrap());
            }
        });
        assert_eq!(read(&path).unwrap().len(), 8);
    }
}
