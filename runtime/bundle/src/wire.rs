//! Bytes of the file. Every length is checked against what is there before anything is allocated.

use crate::format::{MAGIC, NEWEST, PACK_MAGIC};
use crate::pack::SealedPack;
use crate::pieces::Pieces;
use crate::third::Third;
use crate::{Bundle, BundleError, Envelope, Manifest, SectionEntry, Signature, section};
use graph::Fit;
use sha2::{Digest, Sha256};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

const FIXED: usize = MAGIC.len() + 2 + 4;
/// Longest section that [`Envelope`] keeps, in bytes.
const KEPT_LIMIT: u64 = 16 << 20;

/// Magic, format and manifest: what the signature covers.
pub(crate) fn head(manifest: &Manifest) -> Result<Vec<u8>, BundleError> {
    let damaged = |reason: String| BundleError::Manifest { reason };
    let third = Third::of(manifest);
    let (format, manifest) = match manifest.preprocess.fit {
        Fit::ResizeCrop(_) => (4_u16, postcard::to_allocvec(&(manifest, third))),
        _ if third.is_needed() => (3, postcard::to_allocvec(&(manifest, third))),
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
    let whole = check(&bytes[..], bytes.len() as u64, false)?;
    let (Envelope { manifest, signature, head, packs, .. }, ranges) = whole;
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
    Ok(Bundle { manifest, sections, signature, digest: head, packs })
}

/// What stands before the sections and behind them, all of it checked and the sections too, and where in the file those
/// are. The section of the language is kept if it is asked for.
pub(crate) fn check(
    reader: impl Read,
    length: u64,
    keep: bool,
) -> Result<(Envelope, Vec<Range<usize>>), BundleError> {
    let mut rest = Pieces::new(reader, 0, length);
    let Front { manifest, signature, head } = front(&mut rest)?;
    let mut language = None;
    let mut section = |entry: &SectionEntry| {
        let start = rest.at;
        let found = if keep && entry.name == section::LANGUAGE {
            if entry.size > KEPT_LIMIT {
                let (found, limit) = (entry.size, KEPT_LIMIT);
                let reason = format!("{} has {found} bytes, expected at most {limit}", entry.name);
                return Err(BundleError::Manifest { reason });
            }
            Sha256::digest(language.insert(rest.take(entry.size)?)).into()
        } else {
            rest.hash(entry.size)?
        };
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
    let packs = packs(&mut rest)?;
    Ok((Envelope { manifest, signature, head, packs, language }, sections))
}

/// The packs of a file, whose sections are passed over and not checked.
pub(crate) fn packs_of(mut file: impl Read + Seek) -> Result<Vec<SealedPack>, BundleError> {
    let length = file.seek(SeekFrom::End(0)).map_err(BundleError::Io)?;
    file.rewind().map_err(BundleError::Io)?;
    let mut rest = Pieces::new(&mut file, 0, length);
    let sections = front(&mut rest)?.manifest.sections;
    let end = sections.iter().fold(rest.at, |end, entry| end.saturating_add(entry.size));
    if end > length {
        return Err(BundleError::Length { found: length, expected: end });
    }
    file.seek(SeekFrom::Start(end)).map_err(BundleError::Io)?;
    packs(&mut Pieces::new(file, end, length))
}

/// What stands before the sections.
struct Front {
    manifest: Manifest,
    signature: Option<Signature>,
    head: [u8; 32],
}

fn front<R: Read>(rest: &mut Pieces<R>) -> Result<Front, BundleError> {
    let magic = rest.take(rest.left().min(MAGIC.len() as u64))?;
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
    if let (1..=3, fit @ Fit::ResizeCrop(_)) = (format, manifest.preprocess.fit) {
        let reason = format!("format {format} has no fit `{fit}`, expected format 4");
        return Err(BundleError::Manifest { reason });
    }
    let signature = rest.signature(&head)?;
    Ok(Front { manifest, signature, head: Sha256::digest(&head).into() })
}

/// Packs to the end of the file, and nothing else.
fn packs<R: Read>(rest: &mut Pieces<R>) -> Result<Vec<SealedPack>, BundleError> {
    let mut packs: Vec<SealedPack> = Vec::new();
    while rest.left() > 0 {
        let (found, expected) = (rest.length, rest.at);
        if rest.take(rest.left().min(PACK_MAGIC.len() as u64))? != PACK_MAGIC {
            return Err(BundleError::Length { found, expected });
        }
        let bad = |source| BundleError::BadPack {
            pack: format!("pack {} behind the bundle", packs.len()),
            source: Box::new(source),
        };
        let pack = SealedPack::behind_magic(rest).map_err(bad)?;
        if packs.iter().any(|other| other.name() == pack.name()) {
            return Err(BundleError::Twice { name: pack.name().into() });
        }
        packs.push(pack);
    }
    Ok(packs)
}

#[cfg(test)]
mod tests;
