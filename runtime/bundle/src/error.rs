use std::{io, path::PathBuf};
use thiserror::Error;

/// Why a bundle cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("cannot read the bundle")]
    Io(#[source] io::Error),

    #[error("{} is not a usable bundle", path.display())]
    Bad { path: PathBuf, source: Box<Self> },

    #[error(
        "not a bundle: begins with {found:02x?}, expected {:02x?} (\"CXRB\")",
        crate::format::MAGIC
    )]
    NotABundle { found: Vec<u8> },

    #[error("format {found} is unknown, expected 1 to {}", crate::format::NEWEST)]
    UnknownFormat { found: u16 },

    #[error("{found} bytes, expected {expected} according to its head")]
    Length { found: u64, expected: u64 },

    #[error("the manifest is damaged: {reason}")]
    Manifest { reason: String },

    #[error("{section} is damaged: SHA-256 is {found}, the manifest says {expected}")]
    Damaged { section: String, found: String, expected: String },

    #[error("code {what} is {found:?}, expected 1 to {most} characters of printable ASCII")]
    Code { what: &'static str, found: String, most: usize },

    #[error("the codes of its labels are damaged: {reason}")]
    Codes { reason: String },

    #[error(
        "not a pack: begins with {found:02x?}, expected {:02x?} (\"CXRP\")",
        crate::format::PACK_MAGIC
    )]
    NotAPack { found: Vec<u8> },

    #[error("format {found} of a pack is unknown, expected 1")]
    UnknownPack { found: u16 },

    #[error("a pack of {found} bytes, expected at most {}", crate::format::PACK_LIMIT)]
    PackLength { found: u64 },

    #[error("the pack is damaged: {reason}")]
    PackContents { reason: String },

    #[error("{pack} cannot be used")]
    BadPack { pack: String, source: Box<Self> },

    #[error("a second pack is called {name}")]
    Twice { name: String },

    #[error("no section {section}")]
    Missing { section: &'static str },

    #[error("the signature does not fit: what it covers or the signature was changed")]
    Forged,

    #[error("not signed, expected the signature of a trusted key")]
    Unsigned,

    #[error("signed by {key}, which is not a trusted key")]
    Untrusted { key: String },
}

impl BundleError {
    /// Whether all that is wrong is that a bundle or a pack is not signed.
    pub fn is_unsigned(&self) -> bool {
        match self {
            Self::Unsigned => true,
            Self::BadPack { source, .. } => source.is_unsigned(),
            _ => false,
        }
    }
}
