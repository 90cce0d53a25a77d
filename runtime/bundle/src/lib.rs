//! The file that travels from the workstation to the box: read, verify, write.
//!
//! ```text
//! "CXRB" · format u16 · manifest length u32 · manifest (postcard)
//!        · signed u8 (0 | 1) · [public key 32 · ed25519 signature 64]
//!        · sections, one after the other, in the manifest's order
//!        · packs, each sealed for itself ([`SealedPack`])
//! ```
//!
//! Little endian. The signature covers everything before it; the manifest holds the SHA-256 of each
//! section, so it covers those too. Same inputs give the same bytes: nothing here knows the time.
//!
//! ```
//! use bundle::{Bundle, Manifest, SigningKey, section};
//! # use graph::{Backbone, ModelConfig, Pool, Preprocess};
//! # let model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
//! # let preprocess = Preprocess { height: 224, width: 224, mean: 0.5, std: 0.25, ..Preprocess::PRIOR };
//!
//! let manifest = Manifest::new("chest", "1.0.0", model, preprocess);
//! let key = SigningKey::from_bytes(&[7; 32]); // of `exporter keygen`
//! let onnx = b"the network".to_vec();
//! let sealed = Bundle::seal(manifest, vec![(section::MODEL.into(), onnx)], Some(&key))?;
//!
//! let read = Bundle::read(sealed.to_bytes()?)?; // structure and digests are checked here
//! read.check_signature(&[key.verifying_key()])?;
//! assert_eq!(read.section(section::MODEL), Some(&b"the network"[..]));
//! # Ok::<(), bundle::BundleError>(())
//! ```
//!
//! Start at [`Bundle::read`] (untrusted bytes in, checked bundle out) and [`Bundle::seal`].

mod codes;
mod contract;
mod error;
mod format;
mod golden;
mod manifest;
mod pack;
mod pieces;
mod third;
mod wire;

pub use codes::{Code, LabelCode, PRIVATE_SCHEME, Side, codes_to_bytes};
pub use contract::{Activation, BoxHead, Boxes, Contract, Dense, DenseForm, Meaning, Scores, Yolo};
pub use ed25519_dalek::{SigningKey, VerifyingKey};
pub use error::BundleError;
pub use format::PACK_LIMIT;
pub use golden::{Golden, GoldenOutput, GoldenVector};
pub use manifest::{
    Calibration, Histogram, Manifest, Metric, OperatingPoint, Provenance, SectionEntry, TensorRange,
};
pub use pack::SealedPack;

use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{Read, Seek},
    iter,
    path::Path,
};

/// Names of the sections every tool knows.
pub mod section {
    /// The network: ONNX in QDQ form.
    pub const MODEL: &str = "model.onnx";
    /// [`Golden`](crate::Golden), postcard.
    pub const GOLDEN: &str = "golden.bin";
    /// A list of [`LabelCode`](crate::LabelCode), JSON. Bundles of before have none.
    pub const CODES: &str = "codes.json";
    /// How the calibration's images looked, to notice others: crate `drift`, postcard. Bundles of before have none.
    pub const DRIFT: &str = "drift.bin";
    /// Findings by phrases and the bank of sentences: crate `language`, postcard. Bundles of before have none.
    pub const LANGUAGE: &str = "language.bin";
    /// Model card, Markdown.
    pub const MODEL_CARD: &str = "model-card.md";
    /// Software bill of materials, CycloneDX JSON.
    pub const SBOM: &str = "sbom.cdx.json";
}

/// A bundle whose structure and digests are right. Who signed it is for [`Bundle::check_signature`].
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    pub manifest: Manifest,
    sections: Vec<Vec<u8>>,
    signature: Option<Signature>,
    /// Of the head.
    digest: [u8; 32],
    packs: Vec<SealedPack>,
}

/// Who vouches for a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub key: VerifyingKey,
    pub(crate) bytes: [u8; 64],
}

impl Bundle {
    /// Reads untrusted bytes; checks structure, every digest, and the signature if there is one.
    pub fn read(bytes: impl Into<Vec<u8>>) -> Result<Self, BundleError> {
        wire::read(bytes.into())
    }

    /// [`Self::read`] of a file; errors name the file.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let bytes =
            fs::read(path).map_err(|source| BundleError::Read { path: path.to_owned(), source })?;
        Self::read(bytes)
            .map_err(|source| BundleError::Bad { path: path.to_owned(), source: Box::new(source) })
    }

    /// Makes a bundle of `sections` (name, bytes), signed if there is a key.
    ///
    /// `manifest.sections` is filled in here; whatever it holds is replaced.
    pub fn seal(
        mut manifest: Manifest,
        sections: Vec<(String, Vec<u8>)>,
        key: Option<&SigningKey>,
    ) -> Result<Self, BundleError> {
        manifest.sections = sections
            .iter()
            .map(|(name, bytes)| SectionEntry {
                name: name.clone(),
                size: bytes.len() as u64,
                sha256: Sha256::digest(bytes).into(),
            })
            .collect();
        let sections = sections.into_iter().map(|(_, bytes)| bytes).collect();
        let packs = Vec::new();
        let mut bundle = Self { manifest, sections, signature: None, digest: [0; 32], packs };
        bundle.sign(key)?;
        Ok(bundle)
    }

    /// Replaces the signature.
    pub fn sign(&mut self, key: Option<&SigningKey>) -> Result<(), BundleError> {
        let head = wire::head(&self.manifest)?;
        self.digest = Sha256::digest(&head).into();
        self.signature = key
            .map(|key| Signature { key: key.verifying_key(), bytes: key.sign(&head).to_bytes() });
        Ok(())
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let mut bytes = wire::head(&self.manifest)?;
        Signature::write(self.signature.as_ref(), &mut bytes);
        self.sections.iter().for_each(|section| bytes.extend_from_slice(section));
        self.packs.iter().for_each(|pack| bytes.extend(pack.to_bytes()));
        Ok(bytes)
    }

    /// Identity of the contents, signatures apart: SHA-256 of the head, which holds every section's; with packs, of that
    /// and theirs.
    pub fn digest(&self) -> String {
        hex::encode(pack::digest_with(self.digest, &self.packs))
    }

    /// Packs that were added to it, each called otherwise.
    pub fn packs(&self) -> &[SealedPack] {
        &self.packs
    }

    /// The same bundle with these packs and no others. Crate `language` says which fit.
    pub fn with_packs(self, packs: Vec<SealedPack>) -> Self {
        Self { packs, ..self }
    }

    /// Bytes of a section.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        let at = self.manifest.sections.iter().position(|entry| entry.name == name)?;
        Some(&self.sections[at])
    }

    /// Bytes of a section the caller cannot do without.
    pub fn require(&self, name: &'static str) -> Result<&[u8], BundleError> {
        self.section(name).ok_or(BundleError::Missing { section: name })
    }

    /// The golden vectors.
    pub fn golden(&self) -> Result<Golden, BundleError> {
        Golden::from_bytes(self.require(section::GOLDEN)?)
    }

    /// A code for every label of the network: the bundle's, or one of our own where it has none.
    pub fn codes(&self) -> Result<Vec<LabelCode>, BundleError> {
        let known = self.section(section::CODES).map(codes::codes_from_bytes).transpose()?;
        let known = known.unwrap_or_default();
        let mut codes: Vec<LabelCode> = Vec::new();
        for label in self.manifest.model.heads.iter().flat_map(|head| &head.labels) {
            if codes.iter().all(|code| code.label != *label) {
                let code = known.iter().find(|code| code.label == *label).cloned();
                codes.push(code.unwrap_or_else(|| LabelCode::private(label)));
            }
        }
        Ok(codes)
    }

    pub fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// Accepts the bundle if one of `trusted` signed it, and each of its packs.
    pub fn check_signature(&self, trusted: &[VerifyingKey]) -> Result<(), BundleError> {
        vouched(self.signature.as_ref(), trusted)?;
        self.packs.iter().try_for_each(|pack| pack.check_signature(trusted))
    }
}

/// A bundle that was checked to its last byte and not kept: for who only passes it on.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub manifest: Manifest,
    signature: Option<Signature>,
    head: [u8; 32],
    packs: Vec<SealedPack>,
    language: Option<Vec<u8>>,
}

impl Envelope {
    /// Reads an untrusted file of `length` bytes and keeps no more of it than its manifest, what is said in it about
    /// language, and its packs.
    pub fn read(reader: impl Read, length: u64) -> Result<Self, BundleError> {
        wire::check(reader, length, true).map(|(envelope, _)| envelope)
    }

    /// The packs of a file that was checked before: its sections are passed over.
    pub fn packs_of(file: impl Read + Seek) -> Result<Vec<SealedPack>, BundleError> {
        wire::packs_of(file)
    }

    /// As [`Bundle::digest`].
    pub fn digest(&self) -> [u8; 32] {
        pack::digest_with(self.head, &self.packs)
    }

    /// As [`Bundle::packs`].
    pub fn packs(&self) -> &[SealedPack] {
        &self.packs
    }

    /// Bytes of [`section::LANGUAGE`].
    pub fn language(&self) -> Option<&[u8]> {
        self.language.as_deref()
    }

    /// As [`Bundle::check_signature`].
    pub fn check_signature(&self, trusted: &[VerifyingKey]) -> Result<(), BundleError> {
        self.signatures(trusted).into_iter().collect()
    }

    /// Of the bundle, then of each pack, for who lets something pass that is not signed.
    pub fn signatures(&self, trusted: &[VerifyingKey]) -> Vec<Result<(), BundleError>> {
        let own = vouched(self.signature.as_ref(), trusted);
        iter::once(own).chain(self.packs.iter().map(|pack| pack.check_signature(trusted))).collect()
    }
}

fn vouched(signature: Option<&Signature>, trusted: &[VerifyingKey]) -> Result<(), BundleError> {
    match signature {
        None => Err(BundleError::Unsigned),
        Some(signature) if trusted.contains(&signature.key) => Ok(()),
        Some(signature) => {
            Err(BundleError::Untrusted { key: hex::encode(signature.key.as_bytes()) })
        }
    }
}
