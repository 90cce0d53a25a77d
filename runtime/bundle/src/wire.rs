//! Bytes of the file. Every length is checked against what is there before anything is allocated.

use crate::format::{MAGIC, NEWEST};
use crate::{Bundle, BundleError, Manifest, Signature};
use ed25519_dalek::{Signature as Ed25519, VerifyingKey};
use graph::Fit;
use sha2::{Digest, Sha256};
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
    let (mut bundle, ranges) = check(&bytes)?;
    let largest = (0..ranges.len()).max_by_key(|at| ranges[*at].len());
    let copy = |(at, range): (usize, &Range<usize>)| {
        if Some(at) == largest { Vec::new() } else { bytes[range.clone()].to_vec() }
    };
    bundle.sections = ranges.iter().enumerate().map(copy).collect();
    if let Some(at) = largest {
        bytes.truncate(ranges[at].end);
        bytes.drain(..ranges[at].start);
        bundle.sections[at] = bytes;
    }
    Ok(bundle)
}

/// A bundle without its sections, and where in the bytes they are.
fn check(bytes: &[u8]) -> Result<(Bundle, Vec<Range<usize>>), BundleError> {
    if !bytes.starts_with(&MAGIC) {
        let found = bytes[..bytes.len().min(MAGIC.len())].to_vec();
        return Err(BundleError::NotABundle { found });
    }
    let mut rest = Reader { bytes, at: MAGIC.len() };
    let format = u16::from_le_bytes(rest.array()?);
    if !(1..=NEWEST).contains(&format) {
        return Err(BundleError::UnknownFormat { found: format });
    }
    let length = u32::from_le_bytes(rest.array()?) as usize;
    let manifest = rest.take(length)?;
    let head = &bytes[..FIXED + length];
    let damaged = |e: postcard::Error| BundleError::Manifest { reason: e.to_string() };
    let (mut manifest, more) = postcard::take_from_bytes::<Manifest>(manifest).map_err(damaged)?;
    if format >= 2 {
        manifest.preprocess.fit = postcard::from_bytes(more).map_err(damaged)?;
    }

    let signature = match rest.array::<1>()? {
        [0] => None,
        [1] => {
            let key = VerifyingKey::from_bytes(&rest.array()?).map_err(|_| BundleError::Forged)?;
            let bytes = rest.array()?;
            key.verify_strict(head, &Ed25519::from_bytes(&bytes))
                .map_err(|_| BundleError::Forged)?;
            Some(Signature { key, bytes })
        }
        [other] => {
            let reason = format!("signature mark is {other}, expected 0 or 1");
            return Err(BundleError::Manifest { reason });
        }
    };

    let sections = manifest
        .sections
        .iter()
        .map(|entry| {
            let section = rest.take(usize::try_from(entry.size).unwrap_or(usize::MAX))?;
            let found: [u8; 32] = Sha256::digest(section).into();
            if found != entry.sha256 {
                return Err(BundleError::Damaged {
                    section: entry.name.clone(),
                    found: hex::encode(found),
                    expected: hex::encode(entry.sha256),
                });
            }
            Ok(rest.at - section.len()..rest.at)
        })
        .collect::<Result<Vec<_>, _>>()?;
    if rest.at != bytes.len() {
        let (found, expected) = (bytes.len() as u64, rest.at as u64);
        return Err(BundleError::Length { found, expected });
    }
    let digest = Sha256::digest(head).into();
    Ok((Bundle { manifest, sections: Vec::new(), signature, digest }, sections))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BundleError> {
        let found = self.bytes.len() as u64;
        let expected = (self.at as u64).saturating_add(length as u64);
        let end = usize::try_from(expected).unwrap_or(usize::MAX);
        let taken = self.bytes.get(self.at..end).ok_or(BundleError::Length { found, expected })?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        Ok(self.take(N)?.try_into().expect("take returns the length asked for"))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Bundle, BundleError, Manifest, SigningKey, section};
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
