//! The index: one JSON object a line, one image each, whatever layout the pictures came in.
//!
//! ```text
//! trainer index   folders and tables of a data set → Record…
//! write           Record…  → index.jsonl (aside, synced, renamed)
//! read            index.jsonl → Record…, checked: ids, splits, files, boxes
//! Selection       --source and --having: the records of one task
//! ```
//!
//! [`read`] is the only way in: what it returns has unique ids, patients that stay in one split,
//! boxes inside their images and files that exist.

mod check;
mod error;
mod record;
mod region;
mod select;
mod split;

pub use error::IndexError;
pub use record::{
    Label, LabelledBox, LungMask, NIH_FINDINGS, RSNA_BOX, Record, RegionMask, Rsna, Truth,
};
pub use region::Region;
pub use select::Selection;
pub use split::Split;

use std::{fs, path::Path};

/// The records of an index, with absolute paths, checked.
pub fn read(path: &Path) -> Result<Vec<Record>, IndexError> {
    let records = lines(path)?;
    check::records(path, &records)?;
    Ok(records.into_iter().map(|(_, record)| record).collect())
}

/// As [`read`], before any rule is checked: files may be missing.
pub fn parse(path: &Path) -> Result<Vec<Record>, IndexError> {
    Ok(lines(path)?.into_iter().map(|(_, record)| record).collect())
}

fn lines(path: &Path) -> Result<Vec<(usize, Record)>, IndexError> {
    let text = fs::read_to_string(path)
        .map_err(|source| IndexError::Read { path: path.to_owned(), source })?;
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let base = std::path::absolute(&base).unwrap_or(base);
    let mut records = Vec::new();
    // The mark some editors put before a text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let mut record: Record = serde_json::from_str(line).map_err(|source| {
            IndexError::NotARecord { path: path.to_owned(), line: at + 1, source }
        })?;
        record.resolve(&base);
        records.push((at + 1, record));
    }
    if records.is_empty() {
        return Err(IndexError::Empty { path: path.to_owned() });
    }
    Ok(records)
}

/// Holds records to the rules of [`read`] before they are written to `path`.
pub fn check(path: &Path, records: &[Record]) -> Result<(), IndexError> {
    let numbered: Vec<_> = records.iter().cloned().enumerate().map(|(at, r)| (at + 1, r)).collect();
    check::records(path, &numbered)
}

/// Writes an index so that it is there whole or not at all.
pub fn write(path: &Path, records: &[Record]) -> Result<(), IndexError> {
    let mut text = Vec::new();
    for record in records {
        // A path that is no UTF-8.
        serde_json::to_writer(&mut text, record).map_err(|error| IndexError::Picture {
            path: record.image.clone(),
            reason: error.to_string(),
        })?;
        text.push(b'\n');
    }
    write_whole(path, &text)
}

/// [`durable::write`], whose error names the file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), IndexError> {
    durable::write(path, bytes)
        .map_err(|source| IndexError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
