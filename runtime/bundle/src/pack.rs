//! What was added to a bundle after it was made, each part sealed for itself, behind the bundle's sections:
//!
//! ```text
//! "CXRP" · format u16 · length u32 · contents (postcard; a name and a version come first)
//!        · signed u8 (0 | 1) · [public key 32 · ed25519 signature 64]
//! ```
//!
//! Little endian. The signature covers everything before it. Crate `language` knows the rest of the contents, and which
//! packs a bundle takes.

use crate::format::{PACK_LIMIT, PACK_MAGIC as MAGIC};
use crate::pieces::Pieces;
use crate::{BundleError, Signature, SigningKey, VerifyingKey, vouched};
use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};
use std::{fs, io::Read, path::Path};

const FORMAT: u16 = 1;
/// Longest name and version, in bytes.
const NAME_LIMIT: usize = 64;

/// A pack whose structure and signature are right. Who signed it is for [`SealedPack::check_signature`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPack {
    name: String,
    version: String,
    contents: Vec<u8>,
    signature: Option<Signature>,
    digest: [u8; 32],
}

impl SealedPack {
    /// Whether a file begins as a pack does.
    pub fn is_begun_by(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Seals contents that begin with a name and a version.
    pub fn seal(contents: Vec<u8>, key: Option<&SigningKey>) -> Result<Self, BundleError> {
        let (name, version) = named(&contents)?;
        let mut pack = Self { name, version, contents, signature: None, digest: [0; 32] };
        if pack.head().len() as u64 > PACK_LIMIT {
            return Err(BundleError::PackLength { found: pack.head().len() as u64 });
        }
        pack.sign(key);
        Ok(pack)
    }

    /// Reads untrusted bytes, all of them.
    pub fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let mut rest = Pieces::new(bytes, 0, bytes.len() as u64);
        let magic = rest.take(rest.left().min(MAGIC.len() as u64))?;
        if magic != MAGIC {
            return Err(BundleError::NotAPack { found: magic });
        }
        let pack = Self::behind_magic(&mut rest)?;
        if rest.left() > 0 {
            return Err(BundleError::Length { found: rest.length, expected: rest.at });
        }
        Ok(pack)
    }

    /// [`Self::read`] of a file; errors name the file.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let bytes =
            fs::read(path).map_err(|source| BundleError::Read { path: path.to_owned(), source })?;
        Self::read(&bytes).map_err(|source| BundleError::BadPack {
            pack: path.display().to_string(),
            source: Box::new(source),
        })
    }

    pub(crate) fn behind_magic<R: Read>(rest: &mut Pieces<R>) -> Result<Self, BundleError> {
        let format = u16::from_le_bytes(rest.array()?);
        if format != FORMAT {
            return Err(BundleError::UnknownPack { found: format });
        }
        let length = u32::from_le_bytes(rest.array()?).into();
        if length > PACK_LIMIT {
            return Err(BundleError::PackLength { found: length });
        }
        let contents = rest.take(length)?;
        let (name, version) = named(&contents)?;
        let mut pack = Self { name, version, contents, signature: None, digest: [0; 32] };
        let head = pack.head();
        pack.signature = rest.signature(&head)?;
        pack.digest = Sha256::digest(&head).into();
        Ok(pack)
    }

    /// What the signature covers.
    fn head(&self) -> Vec<u8> {
        let length = u32::try_from(self.contents.len()).unwrap_or(u32::MAX);
        [&MAGIC[..], &FORMAT.to_le_bytes(), &length.to_le_bytes(), &self.contents].concat()
    }

    /// Replaces the signature.
    pub fn sign(&mut self, key: Option<&SigningKey>) {
        let head = self.head();
        self.digest = Sha256::digest(&head).into();
        self.signature = key
            .map(|key| Signature { key: key.verifying_key(), bytes: key.sign(&head).to_bytes() });
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        Signature::write(self.signature.as_ref(), &mut bytes);
        bytes
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// Name and version again, then what crate `language` knows.
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// Identity of the contents, signature apart.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// Accepts the pack if one of `trusted` signed it.
    pub fn check_signature(&self, trusted: &[VerifyingKey]) -> Result<(), BundleError> {
        vouched(self.signature.as_ref(), trusted).map_err(|source| BundleError::BadPack {
            pack: format!("pack {}", self.name),
            source: Box::new(source),
        })
    }
}

/// The identity of a bundle together with its packs; its own where it has none.
pub(crate) fn digest_with(bundle: [u8; 32], packs: &[SealedPack]) -> [u8; 32] {
    if packs.is_empty() {
        return bundle;
    }
    let mut hasher = Sha256::new_with_prefix(bundle);
    packs.iter().for_each(|pack| hasher.update(pack.digest));
    hasher.finalize().into()
}

fn named(contents: &[u8]) -> Result<(String, String), BundleError> {
    let damaged = |reason: String| BundleError::PackContents { reason };
    let ((name, version), _) = postcard::take_from_bytes::<(String, String)>(contents)
        .map_err(|error| damaged(error.to_string()))?;
    for (what, text) in [("name", &name), ("version", &version)] {
        let fits = !text.trim().is_empty() && text.len() <= NAME_LIMIT;
        if !fits || text.chars().any(char::is_control) {
            let shown: String = text.chars().take(NAME_LIMIT).collect();
            return Err(damaged(format!(
                "its {what} is {shown:?}, expected 1 to {NAME_LIMIT} bytes without control characters"
            )));
        }
    }
    Ok((name, version))
}

#[cfg(test)]
mod tests;
