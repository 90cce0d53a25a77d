//! Why a file cannot be read.

use crate::elements::ElementError;
use std::{
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why bytes are not a picture we can show.
///
/// Messages say what was found and what was expected; what caused them is the `source`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RadiographError {
    #[error("{}", path.display())]
    File { path: PathBuf, source: Box<Self> },

    #[error(transparent)]
    Io(io::Error),

    #[error("empty file, expected DICOM, PNG or JPEG")]
    Empty,

    #[error("file has {found} bytes, at most {} are read", crate::limits::FILE_BYTES)]
    FileTooLarge { found: u64 },

    #[error("not a DICOM, PNG or JPEG file: begins with {}", printable(begin))]
    UnknownFormat { begin: Vec<u8> },

    #[error("found {found}, expected DICOM as the name says")]
    NotWhatItsNameSays { found: &'static str },

    #[error("{format} cannot be decoded: {reason}")]
    Decode { format: &'static str, reason: String },

    #[error("damaged DICOM: {0}")]
    Structure(String),

    #[error("{name} is missing")]
    Missing { name: &'static str },

    #[error("{name} is {found}, expected {expected}")]
    Value { name: &'static str, found: String, expected: &'static str },

    #[error("pixel data has {found} bytes, expected {expected}")]
    PixelLength { found: u64, expected: u64 },

    #[error("compressed picture is {found}, the header says {expected}")]
    Disagree { found: String, expected: String },

    #[error("transfer syntax {uid} ({name}) is not supported")]
    TransferSyntax { uid: String, name: &'static str },

    #[error("{pixels} pixels of {height}x{width}, expected {}", height * width)]
    ImageSize { height: usize, width: usize, pixels: usize },

    #[error(
        "{width} columns x {height} rows are too large: at most {} samples a frame",
        crate::limits::FRAME
    )]
    TooLarge { height: u64, width: u64 },

    #[error(
        "{samples} samples in {frames} frames are too many: at most {}",
        crate::limits::SAMPLES
    )]
    TooMany { samples: u64, frames: u64 },
}

impl From<ElementError> for RadiographError {
    fn from(error: ElementError) -> Self {
        Self::Structure(error.to_string())
    }
}

impl RadiographError {
    pub(crate) fn of_file(self, path: &Path) -> Self {
        Self::File { path: path.to_owned(), source: Box::new(self) }
    }
}

/// The first bytes of a stranger: text as text, anything else as hexadecimal.
fn printable(bytes: &[u8]) -> String {
    if bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
        format!("{:?}", String::from_utf8_lossy(bytes))
    } else {
        format!("{bytes:02x?}")
    }
}
