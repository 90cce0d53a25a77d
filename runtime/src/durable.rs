//! Files that are whole or not there: written aside, fsynced, renamed, and the folder fsynced.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Puts `bytes` at `path`; a power cut leaves the old contents or the new, never a mixture.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_added_extension("part");
    let result = (|| {
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&aside);
    }
    result?;
    sync_parent(path)
}

/// Makes a rename or removal of `path` last.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
