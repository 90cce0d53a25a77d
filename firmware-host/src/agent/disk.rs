//! The few things the slots do to a disk, so that a test can cut the power between any two of them.

use durable::sync_folder;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A flat folder of files. Until [`Disk::sync`] contents may be lost or torn by a power cut; until
/// [`Disk::sync_folder`] so may renames and removals.
pub trait Disk: Send {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// For files that may be larger than the memory: a reader, and how long the file is.
    fn open(&mut self, name: &str) -> io::Result<Option<(Box<dyn Read>, u64)>>;
    /// Bytes, if the file exists.
    fn length(&mut self, name: &str) -> io::Result<Option<u64>>;
    /// Makes the file if there is none.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    fn sync(&mut self, name: &str) -> io::Result<()>;
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Nothing happens if there is no such file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    fn sync_folder(&mut self) -> io::Result<()>;
    /// Bytes free.
    fn free(&mut self) -> io::Result<u64>;
}

/// A real folder, ours alone while this value lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Holds the lock.
    _folder: File,
}

impl Folder {
    /// Makes the folder if there is none; fails if another agent works in it.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let folder = File::open(path)?;
        flock(&folder, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::new(ErrorKind::ResourceBusy, "another agent works in it"))?;
        Ok(Self { path: path.to_owned(), _folder: folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Disk for Folder {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if_there(fs::read(self.file(name)))
    }

    fn open(&mut self, name: &str) -> io::Result<Option<(Box<dyn Read>, u64)>> {
        let Some(file) = if_there(File::open(self.file(name)))? else { return Ok(None) };
        let length = file.metadata()?.len();
        Ok(Some((Box::new(file), length)))
    }

    fn length(&mut self, name: &str) -> io::Result<Option<u64>> {
        Ok(if_there(fs::metadata(self.file(name)))?.map(|file| file.len()))
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(self.file(name))?;
        file.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.file(name))?.set_len(length)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        File::open(self.file(name))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from), self.file(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if_there(fs::remove_file(self.file(name))).map(|_| ())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    fn free(&mut self) -> io::Result<u64> {
        machine::space(&self.path).map(|(free, _)| free)
    }
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
