//! Bytes of the file. Every length is checked against what is there before anything is allocated.

use crate::format::{MAGIC, NEWEST};
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
    let (format, manifest) = match manifest.preprocess.fit {
        Fit::Stretch => (1_u16, postcard::to_allocvec(manifest)),
        fit @ Fit::Pad => (2, postcard::to_allocvec(&(manifest, fit))),
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
    if format >= 2 {
        manifest.preprocess.fit = postcard::from_bytes(more).map_err(damaged)?;
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
mod tests {
    use crate::{Bundle, BundleError, Envelope, Manifest, SigningKey, section};
    use graph::{Backbone, Fit, ModelConfig, Pool, Preprocess};
    use proptest::prelude::*;

    #[test]
    fn heads_keep_their_numbers() {
        use graph::Task::{Classification, Detection, Segmentation, Yolov3, Yolov3Relu};
        for (number, task) in
            [Classification, Segmentation, Detection, Yolov3Relu, Yolov3].into_iter().enumerate()
        {
            assert_eq!(postcard::to_allocvec(&task).unwrap(), [number as u8], "{task}");
        }
    }

    fn manifest() -> Manifest {
        let model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
        let mut manifest = Manifest::new("chest", "1.0.0", model, Preprocess::PRIOR);
        manifest.calibration.observer = "minmax".into();
        manifest.calibration.images = 8;
        manifest.provenance.tool = "test".into();
        manifest.licence = "MIT".into();
        manifest.intended_use = "tests".into();
        manifest
    }

    fn sealed() -> Vec<u8> {
        let key = SigningKey::from_bytes(&[7; 32]);
        let sections =
            vec![(section::MODEL.into(), vec![1, 2, 3]), (section::MODEL_CARD.into(), vec![])];
        Bundle::seal(manifest(), sections, Some(&key)).unwrap().to_bytes().unwrap()
    }

    #[test]
    fn sections_keep_their_bytes_wherever_the_largest_is() {
        let names = [section::MODEL, section::MODEL_CARD, section::SBOM];
        for largest in 0..names.len() {
            let bytes = |at: usize| vec![at as u8 + 1; if at == largest { 900 } else { 5 + at }];
            let sections = names.iter().enumerate().map(|(at, name)| ((*name).into(), bytes(at)));
            let sealed = Bundle::seal(manifest(), sections.collect(), None).unwrap();
            let read = Bundle::read(sealed.to_bytes().unwrap()).unwrap();
            for (at, name) in names.iter().enumerate() {
                assert_eq!(
                    read.section(name),
                    Some(&bytes(at)[..]),
                    "{name}, largest is {largest}"
                );
            }
            assert_eq!(read, sealed);
        }
    }

    #[test]
    fn what_is_sealed_is_read_back() {
        let bundle = Bundle::read(sealed()).unwrap();
        assert_eq!(bundle.section(section::MODEL), Some(&[1, 2, 3][..]));
        assert_eq!(bundle.to_bytes().unwrap(), sealed());
    }

    #[test]
    fn only_what_needs_the_newer_format_is_written_in_it() {
        for (fit, format) in [(Fit::Stretch, 1), (Fit::Pad, 2)] {
            let preprocess = Preprocess { fit, ..Preprocess::PRIOR };
            let bundle = Bundle::seal(Manifest { preprocess, ..manifest() }, Vec::new(), None);
            let bytes = bundle.unwrap().to_bytes().unwrap();
            assert_eq!(bytes[4..6], [format, 0], "{fit}");
            let read = Bundle::read(bytes.clone()).unwrap();
            assert_eq!(read.manifest.preprocess, preprocess);
            let mut newer = bytes;
            newer[4] = 3;
            let error = Bundle::read(newer).unwrap_err().to_string();
            assert_eq!(error, "format 3 is unknown, expected 1 to 2");
        }
    }

    #[test]
    fn the_first_formats_bytes_are_what_they_were() {
        let bytes = postcard::to_allocvec(&manifest()).unwrap();
        let fields = (
            ("chest", "1.0.0", 0_u8),
            (0_u8, 64_u8, 0_u8, 0_u8),
            (224_u16, 224_u16, 0.4755_f32, 0.3011_f32),
        );
        let first = postcard::to_allocvec(&fields).unwrap();
        assert_eq!(bytes[..first.len()], first[..]);
        let rest =
            (0_u8, ("minmax", 8_u8, "", 0_u8), (0_u8, 0_u8), ("test", "", ""), ("MIT", "tests"));
        assert_eq!(bytes[first.len()..], postcard::to_allocvec(&rest).unwrap()[..]);
    }

    #[test]
    fn only_a_trusted_key_is_accepted() {
        let bundle = Bundle::read(sealed()).unwrap();
        let (ours, other) =
            (SigningKey::from_bytes(&[7; 32]), SigningKey::from_bytes(&[8; 32]).verifying_key());
        bundle.check_signature(&[other, ours.verifying_key()]).unwrap();
        assert!(matches!(bundle.check_signature(&[other]), Err(BundleError::Untrusted { .. })));
    }

    #[test]
    fn the_digest_does_not_depend_on_the_signature() {
        let mut bundle = Bundle::read(sealed()).unwrap();
        let before = bundle.digest();
        bundle.sign(None).unwrap();
        assert_eq!(bundle.digest(), before);
        assert!(matches!(bundle.check_signature(&[]), Err(BundleError::Unsigned)));
    }

    /// Gives a few bytes at a time, as a socket does.
    struct Drops<'a>(&'a [u8]);

    impl std::io::Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(3);
            std::io::Read::read(&mut self.0, &mut buffer[..length])
        }
    }

    #[test]
    fn an_envelope_is_the_bundle_s_own_whatever_pieces_the_file_comes_in() {
        let good = sealed();
        let bundle = Bundle::read(&good[..]).unwrap();
        let envelope = Envelope::read(Drops(&good), good.len() as u64).unwrap();
        assert_eq!(envelope.manifest, bundle.manifest);
        assert_eq!(hex::encode(envelope.digest()), bundle.digest());
        let ours = SigningKey::from_bytes(&[7; 32]).verifying_key();
        envelope.check_signature(&[ours]).unwrap();
        assert!(envelope.check_signature(&[]).is_err());
        let short = Envelope::read(Drops(&good[..good.len() - 1]), good.len() as u64);
        assert!(matches!(short, Err(BundleError::Io(_))), "{short:?}");
    }

    #[test]
    fn one_flipped_bit_anywhere_is_noticed() {
        let good = sealed();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Bundle::read(&bad[..]).is_err(), "bit {bit} of {}", good.len() * 8);
        }
    }

    #[test]
    fn a_bundle_cut_short_says_how_much_is_missing() {
        let good = sealed();
        for length in 4..good.len() {
            assert!(Bundle::read(&good[..length]).is_err(), "{length} bytes");
        }
        let error = Bundle::read(&good[..good.len() - 1]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{} bytes, expected {} according to its head", good.len() - 1, good.len())
        );
    }

    proptest! {
        #[test]
        fn noise_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), magic: bool) {
            if magic && bytes.len() >= 6 {
                bytes[..6].copy_from_slice(b"CXRB\x01\x00");
                bytes[4] += bytes.len() as u8 % 2;
            }
            prop_assert!(Bundle::read(bytes).is_err());
        }
    }
}
