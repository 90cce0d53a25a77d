//! Why an index or a data set cannot be used.

use std::{io, path::PathBuf};
use thiserror::Error;

/// Messages name file and line, what was found and what was expected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IndexError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error("{}:{line}: not a record of an index", path.display())]
    NotARecord { path: PathBuf, line: usize, source: serde_json::Error },

    #[error("{} has no records", path.display())]
    Empty { path: PathBuf },

    #[error("{}:{line}: `{id}` names {}, which does not exist", path.display(), file.display())]
    MissingFile { path: PathBuf, line: usize, id: String, file: PathBuf },

    #[error("{}:{line}: id `{id}` is used before, in line {first}", path.display())]
    DuplicateId { path: PathBuf, line: usize, id: String, first: usize },

    #[error(
        "{}:{line}: patient group `{group}` is in split {found}, but in line {first} in split {expected}: \
         a patient belongs to one split", path.display()
    )]
    SharedPatient {
        path: PathBuf,
        line: usize,
        group: String,
        found: String,
        expected: String,
        first: usize,
    },

    #[error(
        "{}:{line}: `{id}` has a box `{label}` of {x},{y} {w}x{h}, outside its image of {width}x{height}",
        path.display()
    )]
    BoxOutside {
        path: PathBuf,
        line: usize,
        id: String,
        label: String,
        x: f32,
        y: f32,
        w: f32,
        h: f32,
        width: u32,
        height: u32,
    },

    #[error("cannot use mask {}", path.display())]
    Mask { path: PathBuf, source: radiograph::RadiographError },

    #[error(
        "{}: mask is {}x{}, expected the image's {}x{}",
        path.display(), found[0], found[1], expected[0], expected[1]
    )]
    MaskSize { path: PathBuf, found: [usize; 2], expected: [usize; 2] },

    #[error("no image is from `{source_name}`; the index has {found}")]
    NoSource { source_name: String, found: String },

    #[error("--having: no image is stated to show `{finding}`")]
    NoneHaving { finding: String },

    #[error("[training] {key} is {found}, expected {expected}")]
    Selection { key: &'static str, found: String, expected: &'static str },

    #[error("{} is no {layout} data set: {found}, expected {expected}", root.display())]
    Layout { root: PathBuf, layout: &'static str, found: String, expected: String },

    #[error("{}: column `{column}` is missing, the header has {found}", path.display())]
    Column { path: PathBuf, column: String, found: String },

    #[error("cannot use {}: {reason}", path.display())]
    Picture { path: PathBuf, reason: String },

    #[error("{}: patient `{group}` of the data is in no split of the file", path.display())]
    Unsplit { path: PathBuf, group: String },

    #[error("{}:{line}: {column} is `{found}`, expected {expected}", path.display())]
    Value { path: PathBuf, line: usize, column: String, found: String, expected: String },

    #[error("{}:{line}: {reason}", path.display())]
    Unclear { path: PathBuf, line: usize, reason: String },
}
