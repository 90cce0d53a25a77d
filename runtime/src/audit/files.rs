//! The files of an audit log.
//!
//! ```text
//! audit-FIRST.log   full ones; FIRST is the number of the first line
//! audit.log         the one being written
//! audit.head        number and SHA-256 of the last line that was fsynced
//! ```

use super::chain::{Broken, Head};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

pub(super) const CURRENT: &str = "audit.log";
pub(super) const HEAD: &str = "audit.head";

/// Why an audit log is not to be trusted.
#[derive(Debug, Error)]
pub(crate) enum AuditError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: {broken}", path.display())]
    Line { path: PathBuf, line: usize, broken: Broken },
    #[error("{}: lines {} to {expected} are missing at the end", path.display(), found + 1)]
    Short { path: PathBuf, found: u64, expected: u64 },
    #[error("{}: the head has another SHA-256 for line {number} than the log", path.display())]
    Head { path: PathBuf, number: u64 },
    #[error("{} is missing or damaged: nothing vouches for the end of the log", path.display())]
    NoHead { path: PathBuf },
}

/// What a log turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) head: Head,
    /// Bytes of a line that a power cut left unfinished. It is cut off at the next start.
    pub(crate) torn: usize,
}

/// Follows the whole chain; an error names the first line that does not fit.
pub(crate) fn verify(folder: &Path) -> Result<Verified, AuditError> {
    let path = folder.join(HEAD);
    let vouched = read_head(folder)?.ok_or(AuditError::NoHead { path: path.clone() })?;
    let (mut head, mut torn) = (Head::START, 0);
    let files = list(folder)?;
    for (at, path) in files.iter().enumerate() {
        let bytes = read(path)?;
        for (line, text) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let is_last = at + 1 == files.len();
            let Some(text) = text.strip_suffix(b"\n") else {
                if is_last && head.number >= vouched.number {
                    torn = text.len();
                    break;
                }
                let broken = Broken::Nonsense("it has no end".into());
                return Err(AuditError::Line { path: path.clone(), line: line + 1, broken });
            };
            head = head.follow(text).map_err(|broken| AuditError::Line {
                path: path.clone(),
                line: line + 1,
                broken,
            })?;
            if head.number == vouched.number && head != vouched {
                return Err(AuditError::Head { path: path.clone(), number: head.number });
            }
        }
    }
    if head.number < vouched.number {
        let path = folder.join(CURRENT);
        return Err(AuditError::Short { path, found: head.number, expected: vouched.number });
    }
    Ok(Verified { head, torn })
}

/// Every file of the log, oldest line first.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, AuditError> {
    let failed = |source| AuditError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for file in fs::read_dir(folder).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let first = name.strip_prefix("audit-").and_then(|name| name.strip_suffix(".log"));
        if let Some(first) = first.and_then(|first| first.parse::<u64>().ok()) {
            files.push((first, path));
        }
    }
    files.sort();
    let mut files: Vec<_> = files.into_iter().map(|(_, path)| path).collect();
    files.extend(Some(folder.join(CURRENT)).filter(|path| path.exists()));
    Ok(files)
}

pub(super) fn full_name(first: u64) -> String {
    format!("audit-{first:012}.log")
}

/// `None` if it is not there or not whole.
pub(super) fn read_head(folder: &Path) -> Result<Option<Head>, AuditError> {
    let path = folder.join(HEAD);
    match fs::read(&path) {
        Ok(bytes) => Ok(std::str::from_utf8(&bytes).ok().and_then(Head::parse)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuditError::Read { path, source }),
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, AuditError> {
    fs::read(path).map_err(|source| AuditError::Read { path: path.to_owned(), source })
}
