//! Bytes of the file. Every length is checked against what is there before anything is allocated.

use crate::format::{MAGIC, NEWEST};
use crate::third::Third;
use crate::{Bundle, BundleError, Envelope, Manifest, SectionEntry, Signature};
use ed25519_dalek::{Signature as Ed25519, VerifyingKey};
use graph::Fit;
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::ops::Range;

const FIXED: usize = MAGIC.len() + 2 + 4;

/// Magic, format and manifest: what the signature covers.
pub(crate) fn head(manifest: &Manifest) -> Result<Vec<u8>, BundleError> {
    let damaged = |reason: String| BundleError::Manifest { reason };
    let third = Third::of(manifest);
    let (format, manifest) = match manifest.preprocess.fit {
        _ if third.is_needed() => (3_u16, postcard::to_allocvec(&(manifest, third))),
        Fit::Stretch => (1, postcard::to_allocvec(manifest)),
        fit => (2, postcard::to_allocvec(&(manifest, fit))),
    };
    let manifest = manifest.map_err(|e| damaged(e.to_string()))?;
    let length = u32::try_from(manifest.len()).map_err(|_| damaged("over 4 GiB".into()))?;
    let mut head = Vec::with_capacity(FIXED + manifest.len());
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&format.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&manifest);
    Ok(head)
}

/// Keeps the bytes for the largest section, which is nearly all of them.
pub(crate) fn read(mut bytes: Vec<u8>) -> Result<Bundle, BundleError> {
    let (Envelope { manifest, signature, digest }, ranges) = check(&bytes[..], bytes.len() as u64)?;
    let largest = (0..ranges.len()).max_by_key(|at| ranges[*at].len());
    let copy = |(at, range): (usize, &Range<usize>)| {
        if Some(at) == largest { Vec::new() } else { bytes[range.clone()].to_vec() }
    };
    let mut sections: Vec<_> = ranges.iter().enumerate().map(copy).collect();
    if let Some(at) = largest {
        bytes.truncate(ranges[at].end);
        bytes.drain(..ranges[at].start);
        sections[at] = bytes;
    }
    Ok(Bundle { manifest, sections, signature, digest })
}

/// What stands before the sections, all of it checked and the sections too, and where in the file they are.
pub(crate) fn check(
    reader: impl Read,
    length: u64,
) -> Result<(Envelope, Vec<Range<usize>>), BundleError> {
    let mut rest = Pieces { reader, at: 0, length };
    let magic = rest.take(length.min(MAGIC.len() as u64))?;
    if magic != MAGIC {
        return Err(BundleError::NotABundle { found: magic });
    }
    let format = u16::from_le_bytes(rest.array()?);
    if !(1..=NEWEST).contains(&format) {
        return Err(BundleError::UnknownFormat { found: format });
    }
    let length = u32::from_le_bytes(rest.array()?);
    let encoded = rest.take(length.into())?;
    let head = [&MAGIC[..], &format.to_le_bytes(), &length.to_le_bytes(), &encoded].concat();
    let damaged = |e: postcard::Error| BundleError::Manifest { reason: e.to_string() };
    let (mut manifest, more) = postcard::take_from_bytes::<Manifest>(&encoded).map_err(damaged)?;
    match format {
        1 => {}
        2 => manifest.preprocess.fit = postcard::from_bytes(more).map_err(damaged)?,
        _ => postcard::from_bytes::<Third>(more).map_err(damaged)?.add_to(&mut manifest)?,
    }

    let signature = match rest.array::<1>()? {
        [0] => None,
        [1] => {
            let key = VerifyingKey::from_bytes(&rest.array()?).map_err(|_| BundleError::Forged)?;
            let bytes = rest.array()?;
            key.verify_strict(&head, &Ed25519::from_bytes(&bytes))
                .map_err(|_| BundleError::Forged)?;
            Some(Signature { key, bytes })
        }
        [other] => {
            let reason = format!("signature mark is {other}, expected 0 or 1");
            return Err(BundleError::Manifest { reason });
        }
    };

    let mut section = |entry: &SectionEntry| {
        let start = rest.at;
        let found = rest.hash(entry.size)?;
        if found != entry.sha256 {
            return Err(BundleError::Damaged {
                section: entry.name.clone(),
                found: hex::encode(found),
                expected: hex::encode(entry.sha256),
            });
        }
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        Ok(place(start)..place(rest.at))
    };
    let sections = manifest.sections.iter().map(&mut section).collect::<Result<Vec<_>, _>>()?;
    if rest.at != rest.length {
        let (found, expected) = (rest.length, rest.at);
        return Err(BundleError::Length { found, expected });
    }
    let digest = Sha256::digest(&head).into();
    Ok((Envelope { manifest, signature, digest }, sections))
}

/// A file of known length, piece by piece.
struct Pieces<R> {
    reader: R,
    at: u64,
    length: u64,
}

impl<R: Read> Pieces<R> {
    /// The reader of the next `length` bytes, if the file has them.
    fn next(&mut self, length: u64) -> Result<&mut R, BundleError> {
        let expected = self.at.saturating_add(length);
        if expected > self.length {
            return Err(BundleError::Length { found: self.length, expected });
        }
        self.at = expected;
        Ok(&mut self.reader)
    }

    fn take(&mut self, length: u64) -> Result<Vec<u8>, BundleError> {
        let reader = self.next(length)?;
        let mut bytes = Vec::new();
        let found = reader.take(length).read_to_end(&mut bytes).map_err(BundleError::Io)?;
        if found as u64 == length { Ok(bytes) } else { Err(cut_short()) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        Ok(self.take(N as u64)?.try_into().expect("take returns the length asked for"))
    }

    fn hash(&mut self, length: u64) -> Result<[u8; 32], BundleError> {
        let reader = self.next(length)?;
        let mut hasher = Sha256::new();
        let found = io::copy(&mut reader.take(length), &mut hasher).map_err(BundleError::Io)?;
        if found == length { Ok(hasher.finalize().into()) } else { Err(cut_short()) }
    }
}

/// The file is shorter than it was said to be.
fn cut_short() -> BundleError {
    BundleError::Io(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests;
