//! Writing so that a reader sees the whole file or none.

use anyhow::{Context, Result};
use std::{fs::Permissions, io::Write, os::unix::fs::PermissionsExt, path::Path};

/// Writes aside, flushes to disk, renames. Readable by all, unlike temporary files.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = || format!("cannot write {}", path.display());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).with_context(fail)?;
    let mut file = tempfile::Builder::new()
        .prefix(".exporter-")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(fail)?;
    file.write_all(bytes).with_context(fail)?;
    file.as_file().sync_all().with_context(fail)?;
    file.persist(path).with_context(fail)?;
    Ok(())
}
