//! SWU images: a bundle, or a pack, in the wrapping that update servers and SWUpdate's own tools know.
//!
//! ```text
//! cpio "newc" with checksums (070702), first to last:
//!   sw-description       version, hardware, file name and SHA-256 of the image, as libconfig text
//!   sw-description.sig   only where somebody wants SWUpdate itself to accept it
//!   model.bundle         the bundle, byte for byte; or pack.prompts, the pack
//!   TRAILER!!!
//! ```
//!
//! Start at [`write()`] and [`Swu::open`]. Both go through the image piece by piece, whatever its size. A box trusts
//! the signature inside the bundle; that of the description is for SWUpdate and is passed over here.

mod cpio;
mod description;
mod libconfig;

pub use description::Description;

use cpio::{Counted, Entry};
use std::io::{self, Read, Write};
use thiserror::Error;

/// The bundle's name in the image.
pub const IMAGE: &str = "model.bundle";
/// The name of a pack, where the image holds one instead.
pub const PACK: &str = "pack.prompts";
/// The revision of hardware an image is for, where nobody says otherwise.
pub const HARDWARE: &str = "1.0";

const DESCRIPTION: &str = "sw-description";
const SIGNATURE: &str = "sw-description.sig";
/// Longest description or signature, in bytes.
const LONGEST: u64 = 64 << 10;

/// Why bytes are no SWU image that this build understands.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SwuError {
    #[error("cannot read or write the SWU image: {0}")]
    Io(#[from] io::Error),

    #[error("not an SWU image: begins with {found:?}, expected \"070702\" or \"070701\"")]
    NotAnImage { found: String },

    #[error("the header of {name:?} is damaged: {reason}")]
    Header { name: String, reason: String },

    #[error("the image ends within {within}")]
    Short { within: String },

    #[error("found file {found:?}, expected {expected}")]
    File { found: String, expected: &'static str },

    #[error("{name} has {found} bytes, expected at most {limit}")]
    TooLarge { name: String, found: u64, limit: u64 },

    #[error("sw-description, line {line}: {reason}")]
    Syntax { line: usize, reason: String },

    #[error("sw-description: {reason}")]
    Description { reason: String },

    #[error("the checksum of {name} is {found:08x}, its header says {expected:08x}")]
    Checksum { name: String, found: u32, expected: u32 },
}

/// Writes an image of this name and `size` bytes, whose bytes add up to `sum` (see [`sum`]), behind its description.
pub fn write(
    out: &mut impl Write,
    description: &str,
    signature: Option<&[u8]>,
    name: &str,
    image: &mut impl Read,
    (size, expected): (u64, u32),
) -> Result<(), SwuError> {
    let mut number = 0;
    let mut small = |name: &str, bytes: &[u8]| -> Result<(), SwuError> {
        number += 1;
        cpio::write_header(out, number, name, bytes.len() as u64, sum(0, bytes))?;
        out.write_all(bytes)?;
        Ok(cpio::pad(out, bytes.len() as u64)?)
    };
    small(DESCRIPTION, description.as_bytes())?;
    if let Some(signature) = signature {
        small(SIGNATURE, signature)?;
    }
    cpio::write_header(out, number + 1, name, size, expected)?;
    let mut copied = 0;
    let mut found = 0;
    let mut buffer = vec![0; 64 << 10];
    while let length @ 1.. = image.read(&mut buffer)? {
        out.write_all(&buffer[..length])?;
        found = sum(found, &buffer[..length]);
        copied += length as u64;
    }
    if (copied, found) != (size, expected) {
        // Another file than the one that was announced: somebody wrote to it meanwhile.
        return Err(SwuError::Checksum { name: name.into(), found, expected });
    }
    cpio::pad(out, size)?;
    cpio::write_header(out, 0, cpio::TRAILER, 0, 0)?;
    Ok(out.flush()?)
}

/// Adds bytes to a cpio checksum, which begins at 0.
pub fn sum(before: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(before, |sum, &byte| sum.wrapping_add(byte.into()))
}

/// An image being read: its description is known, its bundle comes next.
#[derive(Debug)]
pub struct Swu<R> {
    reader: Counted<R>,
    description: Description,
    signed: bool,
    image: Entry,
    offset: u64,
    taken: u64,
    sum: u32,
}

impl<R: Read> Swu<R> {
    /// Reads untrusted bytes up to where the bundle begins.
    pub fn open(reader: R) -> Result<Self, SwuError> {
        let mut reader = Counted::new(reader);
        let entry = reader.header()?;
        if entry.name != DESCRIPTION {
            return Err(SwuError::File { found: entry.name, expected: "sw-description first" });
        }
        let text = reader.small(&entry, LONGEST)?;
        let description = Description::parse(&text)?;
        let mut image = reader.header()?;
        let signed = image.name == SIGNATURE;
        if signed {
            reader.small(&image, LONGEST)?;
            image = reader.header()?;
        }
        if image.name != description.file {
            return Err(SwuError::File { found: image.name, expected: "the one described" });
        }
        let offset = reader.at();
        Ok(Self { reader, description, signed, image, offset, taken: 0, sum: 0 })
    }

    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Whether a signature for SWUpdate comes with it.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// Bytes of the bundle.
    pub fn size(&self) -> u64 {
        self.image.size
    }

    /// Where in the image the bundle begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn reader(&mut self) -> &mut R {
        self.reader.inner()
    }

    /// The next bytes of the bundle; none at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SwuError> {
        let left = usize::try_from(self.image.size - self.taken).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        if most == 0 {
            return Ok(0);
        }
        let length = self.reader.some(&mut buffer[..most], IMAGE)?;
        self.sum = sum(self.sum, &buffer[..length]);
        self.taken += length as u64;
        Ok(length)
    }

    /// Takes the next bytes of the bundle from elsewhere: the reader jumps over them.
    pub fn known(&mut self, bytes: &[u8]) {
        self.sum = sum(self.sum, bytes);
        self.taken += bytes.len() as u64;
        self.reader.jumped(bytes.len() as u64);
    }

    /// Checks what follows the bundle once all of it was taken: its checksum, and that nothing else comes. Gives the
    /// reader back.
    pub fn finish(mut self) -> Result<R, SwuError> {
        let Entry { name, size, checksum } = &self.image;
        if self.taken != *size {
            return Err(SwuError::Short { within: name.clone() });
        }
        if let Some(expected) = checksum.filter(|&expected| expected != self.sum) {
            return Err(SwuError::Checksum { name: name.clone(), found: self.sum, expected });
        }
        self.reader.align()?;
        let trailer = self.reader.header()?;
        if trailer.name != cpio::TRAILER {
            return Err(SwuError::File { found: trailer.name, expected: "the end of the image" });
        }
        self.reader.zeros_to_the_end()?;
        Ok(self.reader.into_inner())
    }
}

#[cfg(test)]
mod tests;
