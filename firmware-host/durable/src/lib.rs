//! Files that are whole or not there, also after a power cut.
//!
//! ```text
//! write    path.part: bytes, fsync ─▶ rename to path ─▶ fsync of the folder
//!          a cut before the rename leaves the old file, one after it the new
//! ```
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("new/settings.toml");
//! durable::write(&path, b"threads = 2\n")?;
//! durable::write(&path, b"threads = 4\n")?;
//! assert_eq!(std::fs::read(&path)?, b"threads = 4\n");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Everything in the house that must survive a crash is written here or, where several files count together, with
//! the parts of [`write()`]: [`write_synced`], [`sync_file`], [`sync_folder`].

mod plan;
mod ring;

pub use ring::{Ring, lines};

use plan::{Step, plan};
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

/// Puts `bytes` at `path`, in folders that are made where they are missing.
///
/// Of two that write one path at the same time, one wins whole. A leftover of a crash, `path.part`, is written over.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_for(path, bytes, Readers::Usual)
}

/// [`write()`] for the owner's eyes only: mode 0600, whatever the umask and whoever may enter the folder.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_for(path, bytes, Readers::Owner)
}

/// Who may read a file that is written.
#[derive(Clone, Copy, PartialEq)]
enum Readers {
    /// As the umask says.
    Usual,
    Owner,
}

fn write_for(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "found no file, expected one or nothing",
        ));
    }
    let folder = parent(path);
    create_folders(folder)?;
    let aside = path.with_added_extension("part");
    let file = open_alone(&aside)?;
    if readers == Readers::Owner {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    let mut renamed = false;
    for step in plan(bytes) {
        let done = match step {
            Step::Write(bytes) => (&file).write_all(bytes),
            Step::Sync => file.sync_all(),
            Step::Rename => fs::rename(&aside, path).inspect(|()| renamed = true),
            Step::SyncFolder => sync_folder(folder),
        };
        done.inspect_err(|_| {
            // Once renamed, the name may be another writer's. What matters is the error at hand.
            if !renamed {
                let _ = fs::remove_file(&aside);
            }
        })?;
    }
    Ok(())
}

/// Writes a file and flushes it to disk. Its name lasts once [`sync_folder`] is done.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Flushes what another hand wrote into a file.
pub fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes renames and removals in `folder` last.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a rename or removal of `path` last.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_folder(parent(path))
}

/// Makes a folder and those above it that are missing, each of which lasts.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = parent(folder);
    create_folders(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made.and_then(|()| sync_folder(above)),
    }
}

/// The folder a path lies in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An empty file that no other writer of its name has open.
fn open_alone(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.lock() {
            // Some network file systems know no locks; they lose the promise about two writers, and only that.
            Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
            _ => {}
        }
        // Who held the lock before may have renamed this very file to where readers look.
        let place = |file: fs::Metadata| (file.dev(), file.ino());
        let now = fs::metadata(path).map(place);
        if now.is_ok_and(|now| file.metadata().is_ok_and(|own| place(own) == now)) {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}
