//! A disk in memory, whose power a test cuts and which it fills.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use firmware_host::agent::Disk;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// What is on the disk after the power came back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Survives {
    /// All that was written: the process was killed, not the machine.
    Everything,
    /// Only what was synced, names and contents.
    Synced,
    /// New names with contents that were never synced: renames overtake data.
    NamesOnly,
    /// New contents under the names of before, the last half of what was not synced lost.
    HalfOfContents,
}

pub(crate) const OUTCOMES: [Survives; 4] =
    [Survives::Everything, Survives::Synced, Survives::NamesOnly, Survives::HalfOfContents];

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    live: Vec<u8>,
    synced: Vec<u8>,
}

/// A disk in memory, with a cache that a power cut loses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Changes made so far, and after how many the power goes.
    pub(crate) changes: usize,
    pub(crate) cut_after: Option<usize>,
    /// The one change that fails without a power cut.
    pub(crate) fails_at: Option<usize>,
    /// Nothing more fits.
    pub(crate) full: bool,
}

impl Memory {
    fn change(&mut self) -> io::Result<()> {
        if self.cut_after.is_some_and(|cut| self.changes >= cut) {
            return Err(io::Error::other("power cut"));
        }
        self.changes += 1;
        if self.fails_at == Some(self.changes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Whether the power is gone.
    pub(crate) fn is_off(&self) -> bool {
        self.cut_after.is_some_and(|cut| self.changes >= cut)
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let file = *self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[file])
    }

    pub(crate) fn power_back(&self, survives: Survives) -> Self {
        let names = match survives {
            Survives::Everything | Survives::NamesOnly => self.names.clone(),
            Survives::Synced | Survives::HalfOfContents => self.synced_names.clone(),
        };
        let content = |file: &File| match survives {
            Survives::Everything => file.live.clone(),
            Survives::Synced | Survives::NamesOnly => file.synced.clone(),
            Survives::HalfOfContents => {
                let same = file.live.iter().zip(&file.synced).take_while(|(a, b)| a == b).count();
                let kept = same + (file.live.len() - same) / 2;
                file.live[..kept].to_vec()
            }
        };
        let files = self.files.iter().map(|file| {
            let bytes = content(file);
            File { live: bytes.clone(), synced: bytes }
        });
        let (files, synced_names) = (files.collect(), names.clone());
        Self {
            files,
            names,
            synced_names,
            changes: 0,
            cut_after: None,
            fails_at: None,
            full: self.full,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Cuttable(pub(crate) Arc<Mutex<Memory>>);

impl Cuttable {
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }
}

impl Disk for Cuttable {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.with(|disk| disk.file(name).ok().map(|file| file.live.clone())))
    }

    fn open(&mut self, name: &str) -> io::Result<Option<(Box<dyn io::Read>, u64)>> {
        let live = self.read(name)?;
        Ok(live.map(|live| (Box::new(io::Cursor::new(live.clone())) as _, live.len() as u64)))
    }

    fn length(&mut self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.with(|disk| disk.file(name).ok().map(|file| file.live.len() as u64)))
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            if disk.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let cut = disk.change();
            if !disk.names.contains_key(name) {
                disk.files.push(File::default());
                disk.names.insert(name.into(), disk.files.len() - 1);
            }
            let file = disk.file(name)?;
            let start = offset as usize;
            // The write during which the power goes is half done.
            let bytes = if cut.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
            file.live.resize(file.live.len().max(start + bytes.len()), 0);
            file.live[start..start + bytes.len()].copy_from_slice(bytes);
            cut
        })
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.with(|disk| {
            disk.change()?;
            disk.file(name)?.live.truncate(length as usize);
            Ok(())
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.with(|disk| {
            disk.change()?;
            let file = disk.file(name)?;
            file.synced = file.live.clone();
            Ok(())
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.with(|disk| {
            disk.change()?;
            let file = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to.into(), file);
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.with(|disk| {
            if disk.names.contains_key(name) {
                disk.change()?;
                disk.names.remove(name);
            }
            Ok(())
        })
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.with(|disk| {
            disk.change()?;
            disk.synced_names = disk.names.clone();
            Ok(())
        })
    }

    fn free(&mut self) -> io::Result<u64> {
        Ok(self.with(|disk| if disk.full { 0 } else { u64::MAX }))
    }
}
