//! What the box must not forget of the server's orders: a file beside the slots, written whole or not at all.

use super::action::Memory;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The action under way, beside the slots it fills.
pub(super) const FILE: &str = "fleet.json";

#[derive(Debug)]
pub(super) struct Notes {
    path: PathBuf,
    pub(super) memory: Memory,
}

impl Notes {
    /// What an earlier start left. A damaged file is set aside: no power cut does that.
    pub(super) fn open(slots: &Path, now: u64) -> Result<Self> {
        let path = slots.join(FILE);
        let memory = read(&path, now).with_context(|| path.display().to_string())?;
        Ok(Self { path, memory })
    }

    pub(super) fn keep(&self) -> Result<()> {
        let text =
            serde_json::to_string_pretty(&self.memory).context("the memory is plain data")?;
        durable::write(&self.path, text.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn read(path: &Path, now: u64) -> Result<Memory> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Memory::default()),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_slice(&bytes).or_else(|error| {
        let aside = path.with_added_extension(format!("damaged-{now}"));
        log::error!("{} is damaged ({error}) and kept as {}", path.display(), aside.display());
        fs::rename(path, aside)?;
        Ok(Memory::default())
    })
}

#[cfg(test)]
mod tests {
    use super::super::action::{Action, Phase};
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_a_damaged_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let mut notes = Notes::open(folder.path(), 0).unwrap();
        assert_eq!(notes.memory, Memory::default());
        let mut action = Action::new("8");
        action.phase = Phase::Ready { told: true };
        notes.memory.action = Some(action);
        notes.keep().unwrap();
        assert_eq!(Notes::open(folder.path(), 0).unwrap().memory, notes.memory);
        fs::write(folder.path().join(FILE), "{\"action\": 8}").unwrap();
        assert_eq!(Notes::open(folder.path(), 77).unwrap().memory, Memory::default());
        let aside = fs::read_to_string(folder.path().join("fleet.json.damaged-77")).unwrap();
        assert_eq!(aside, "{\"action\": 8}");
    }
}
