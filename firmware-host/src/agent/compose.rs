//! A pack comes to a box: what the slot that does not run is made of then.
//!
//! ```text
//! slot that runs    bundle · packs ─┐
//! pack              as it was sent ─┴▶ bundle · packs with it, or without one ─▶ the other slot, as any pushed file
//! ```
//!
//! The bundle's bytes stay as they are, so its signature holds; each pack brings its own. From here on the composed file
//! goes the way of a pushed one: written aside, checked, kept, tested, tried, confirmed.

use super::check::{PIECE, Policy, chain};
use bundle::{Envelope, SealedPack};
use language::Carrier;
use protocol::{Digest, Refusal};
use sha2::{Digest as _, Sha256};
use std::io::{self, BufReader, Chain, Cursor, Read, Seek, Take};

/// What is to become of the packs of the bundle that runs.
#[derive(Clone, Debug)]
pub enum Change {
    /// A pack is added, or replaces an older one of its name.
    Add(Box<SealedPack>),
    /// The pack of this name goes.
    Remove(String),
}

/// A file that is composed while it is read.
#[derive(Debug)]
pub struct Composed<R> {
    /// Of the whole.
    pub sha256: Digest,
    /// Bytes.
    pub total: u64,
    pub reader: Chain<Take<R>, Cursor<Vec<u8>>>,
}

impl Policy {
    /// A pack as it came over the link or from a stick: whole, and signed by somebody trusted.
    pub fn admit(&self, bytes: &[u8]) -> Result<SealedPack, Refusal> {
        let pack = SealedPack::read(bytes).map_err(|error| refused(&error))?;
        self.vouch(pack.name(), [pack.check_signature(&self.trusted)])
            .map_err(|detail| Refusal::Pack { detail })?;
        Ok(pack)
    }
}

/// Composes a bundle's `file`, which runs confirmed, anew. Refuses what its language does not take.
pub fn compose<R: Read + Seek>(mut file: R, change: Change) -> Result<Composed<R>, Refusal> {
    let length = file.seek(io::SeekFrom::End(0)).map_err(disk)?;
    file.rewind().map_err(disk)?;
    let bundle = Envelope::read(BufReader::with_capacity(PIECE, &mut file), length);
    let bundle = bundle.map_err(|error| refused(&error))?;
    let before = bytes_of(bundle.packs());
    let carrier = Carrier::from(&bundle);
    let packs = match change {
        Change::Add(pack) => carrier.with_pack(*pack),
        Change::Remove(name) => carrier.without_pack(&name),
    };
    let after = bytes_of(&packs.map_err(|error| refused(&error))?);
    let own = length - before.len() as u64;
    let total = own + after.len() as u64;

    file.rewind().map_err(disk)?;
    let mut hasher = Sha256::new();
    let read = io::copy(&mut (&mut file).take(own), &mut hasher).map_err(disk)?;
    if read != own {
        return Err(disk(io::ErrorKind::UnexpectedEof.into()));
    }
    hasher.update(&after);
    let sha256 = Digest(hasher.finalize().into());
    file.rewind().map_err(disk)?;
    Ok(Composed { sha256, total, reader: file.take(own).chain(Cursor::new(after)) })
}

fn bytes_of(packs: &[SealedPack]) -> Vec<u8> {
    packs.iter().flat_map(SealedPack::to_bytes).collect()
}

fn refused(error: &dyn std::error::Error) -> Refusal {
    Refusal::Pack { detail: chain(error) }
}

fn disk(error: io::Error) -> Refusal {
    Refusal::Disk { detail: error.to_string() }
}
