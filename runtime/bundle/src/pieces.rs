//! A file of known length, piece by piece: no length is believed before it was compared with what is there.

use crate::{BundleError, Signature};
use ed25519_dalek::{Signature as Ed25519, VerifyingKey};
use sha2::{Digest, Sha256};
use std::io::{self, Read};

pub(crate) struct Pieces<R> {
    reader: R,
    pub(crate) at: u64,
    pub(crate) length: u64,
}

impl<R: Read> Pieces<R> {
    /// `reader` stands at byte `at` of `length`.
    pub(crate) fn new(reader: R, at: u64, length: u64) -> Self {
        Self { reader, at, length }
    }

    pub(crate) fn left(&self) -> u64 {
        self.length - self.at
    }

    /// The reader of the next `length` bytes, if the file has them.
    fn next(&mut self, length: u64) -> Result<&mut R, BundleError> {
        let expected = self.at.saturating_add(length);
        if expected > self.length {
            return Err(BundleError::Length { found: self.length, expected });
        }
        self.at = expected;
        Ok(&mut self.reader)
    }

    pub(crate) fn take(&mut self, length: u64) -> Result<Vec<u8>, BundleError> {
        let reader = self.next(length)?;
        let mut bytes = Vec::new();
        let found = reader.take(length).read_to_end(&mut bytes).map_err(BundleError::Io)?;
        if found as u64 == length { Ok(bytes) } else { Err(cut_short()) }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        Ok(self.take(N as u64)?.try_into().expect("take returns the length asked for"))
    }

    pub(crate) fn hash(&mut self, length: u64) -> Result<[u8; 32], BundleError> {
        let reader = self.next(length)?;
        let mut hasher = Sha256::new();
        let found = io::copy(&mut reader.take(length), &mut hasher).map_err(BundleError::Io)?;
        if found == length { Ok(hasher.finalize().into()) } else { Err(cut_short()) }
    }

    /// What stands behind `head`: whether it is signed, by whom, and the signature, which must fit.
    pub(crate) fn signature(&mut self, head: &[u8]) -> Result<Option<Signature>, BundleError> {
        match self.array::<1>()? {
            [0] => Ok(None),
            [1] => {
                let key =
                    VerifyingKey::from_bytes(&self.array()?).map_err(|_| BundleError::Forged)?;
                let bytes = self.array()?;
                key.verify_strict(head, &Ed25519::from_bytes(&bytes))
                    .map_err(|_| BundleError::Forged)?;
                Ok(Some(Signature { key, bytes }))
            }
            [other] => {
                let reason = format!("signature mark is {other}, expected 0 or 1");
                Err(BundleError::Manifest { reason })
            }
        }
    }
}

impl Signature {
    /// As [`Pieces::signature`] reads it.
    pub(crate) fn write(signature: Option<&Self>, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(signature.is_some()));
        if let Some(signature) = signature {
            bytes.extend_from_slice(signature.key.as_bytes());
            bytes.extend_from_slice(&signature.bytes);
        }
    }
}

/// The file is shorter than it was said to be.
fn cut_short() -> BundleError {
    BundleError::Io(io::ErrorKind::UnexpectedEof.into())
}
