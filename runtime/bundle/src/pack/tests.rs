//! What is sealed is read back, behind a bundle too; damage is noticed; bundles of before keep their bytes.

use super::*;
use crate::{Bundle, Envelope, Manifest, section};
use graph::{Backbone, ModelConfig, Pool, Preprocess};
use proptest::prelude::*;
use std::io::Cursor;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn pack(name: &str, version: &str, key: Option<&SigningKey>) -> SealedPack {
    let contents = postcard::to_allocvec(&(name, version, [7_u8; 32])).unwrap();
    SealedPack::seal(contents, key).unwrap()
}

fn bundle() -> Bundle {
    let model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
    let manifest = Manifest::new("chest", "1.0.0", model, Preprocess::PRIOR);
    let sections =
        vec![(section::MODEL.into(), vec![3; 500]), (section::LANGUAGE.into(), b"words".to_vec())];
    Bundle::seal(manifest, sections, Some(&key(7))).unwrap()
}

/// A bundle with two packs: its own signature, theirs.
fn packed() -> (Bundle, Vec<u8>) {
    let packs = vec![pack("heart", "1.0.0", Some(&key(7))), pack("lungs", "2.1.0", Some(&key(8)))];
    let bundle = bundle().with_packs(packs);
    let bytes = bundle.to_bytes().unwrap();
    (bundle, bytes)
}

#[test]
fn the_sealed_form_keeps_its_bytes() {
    let contents = postcard::to_allocvec(&("a", "1")).unwrap();
    let unsigned = SealedPack::seal(contents, None).unwrap();
    assert_eq!(unsigned.to_bytes(), b"CXRP\x01\0\x04\0\0\0\x01a\x011\0");
    let mut signed = unsigned.clone();
    signed.sign(Some(&key(7)));
    let bytes = signed.to_bytes();
    assert_eq!(bytes.len(), 15 + 32 + 64);
    assert_eq!(bytes[14], 1);
    assert_eq!(signed.digest(), unsigned.digest(), "who signs changes nothing of it");
    let digest = <[u8; 32]>::from(Sha256::digest(b"CXRP\x01\0\x04\0\0\0\x01a\x011"));
    assert_eq!(signed.digest(), digest);
}

#[test]
fn packs_behind_a_bundle_are_read_back_by_every_reader() {
    let (bundle, bytes) = packed();
    let read = Bundle::read(&bytes[..]).unwrap();
    assert_eq!(read, bundle);
    assert_eq!(read.section(section::LANGUAGE), Some(&b"words"[..]));
    assert_eq!(read.to_bytes().unwrap(), bytes);
    let envelope = Envelope::read(&bytes[..], bytes.len() as u64).unwrap();
    assert_eq!(envelope.packs(), bundle.packs());
    assert_eq!(envelope.language(), Some(&b"words"[..]));
    assert_eq!(hex::encode(envelope.digest()), bundle.digest());
    assert_eq!(Envelope::packs_of(Cursor::new(&bytes)).unwrap(), bundle.packs());
    assert_eq!(Envelope::packs_of(Cursor::new(self::bundle().to_bytes().unwrap())).unwrap(), []);
}

#[test]
fn the_digest_changes_with_the_packs_and_without_any_is_what_it_was() {
    let plain = bundle();
    let before = plain.digest();
    let head = plain.to_bytes().unwrap();
    let length = u32::from_le_bytes(head[6..10].try_into().unwrap()) as usize;
    assert_eq!(before, hex::encode(Sha256::digest(&head[..10 + length])));
    let digests: Vec<_> = [
        vec![pack("heart", "1.0.0", None)],
        vec![pack("heart", "1.0.1", None)],
        vec![pack("heart", "1.0.0", None), pack("lungs", "1.0.0", None)],
    ]
    .into_iter()
    .map(|packs| plain.clone().with_packs(packs).digest())
    .collect();
    let all: std::collections::BTreeSet<_> = digests.iter().chain([&before]).collect();
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(plain.clone().with_packs(vec![]).digest(), before);
    let signed = plain.with_packs(vec![pack("heart", "1.0.0", Some(&key(9)))]);
    assert_eq!(signed.digest(), digests[0], "who signs changes nothing of it");
}

#[test]
fn a_bundle_is_trusted_with_all_of_its_packs_or_not_at_all() {
    let (bundle, bytes) = packed();
    let [ours, other] = [7, 8].map(|n| key(n).verifying_key());
    bundle.check_signature(&[ours, other]).unwrap();
    let envelope = Envelope::read(&bytes[..], bytes.len() as u64).unwrap();
    for refused in [bundle.check_signature(&[ours]), envelope.check_signature(&[ours])] {
        let Err(BundleError::BadPack { pack, source }) = refused else { panic!("{refused:?}") };
        assert_eq!(pack, "pack lungs");
        assert!(matches!(*source, BundleError::Untrusted { .. }), "{source}");
    }
    let unsigned = self::bundle().with_packs(vec![pack("heart", "1.0.0", None)]);
    assert!(unsigned.check_signature(&[ours]).unwrap_err().is_unsigned());
    assert!(!bundle.check_signature(&[ours]).unwrap_err().is_unsigned());
    assert!(bundle.check_signature(&[other]).is_err(), "its own signature counts too");
}

#[test]
fn one_flipped_bit_of_a_pack_is_noticed_wherever_it_is() {
    let (_, good) = packed();
    let plain = bundle().to_bytes().unwrap().len();
    for bit in plain * 8..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Bundle::read(&bad[..]).is_err(), "bit {bit} of {}", good.len() * 8);
        assert!(Envelope::packs_of(Cursor::new(&bad)).is_err(), "bit {bit}");
    }
    for length in plain + 1..good.len() {
        let first = plain + bundle_pack_length();
        assert_eq!(Bundle::read(&good[..length]).is_ok(), length == first, "{length} bytes");
    }
}

fn bundle_pack_length() -> usize {
    pack("heart", "1.0.0", Some(&key(7))).to_bytes().len()
}

#[test]
fn what_is_no_pack_is_refused_by_name() {
    let plain = bundle().to_bytes().unwrap();
    let behind = |more: &[u8]| Bundle::read([&plain[..], more].concat()).unwrap_err();
    let said = format!("{} bytes, expected {} according to its head", plain.len() + 5, plain.len());
    assert_eq!(behind(b"CXRB!").to_string(), said, "as before there were packs");
    let twice = pack("heart", "1.0.0", None).to_bytes();
    assert_eq!(behind(&twice.repeat(2)).to_string(), "a second pack is called heart");

    let good = pack("heart", "1.0.0", None).to_bytes();
    let read = |bytes: &[u8]| SealedPack::read(bytes).unwrap_err().to_string();
    assert!(read(&plain).contains("not a pack: begins with [43, 58, 52, 42]"), "{}", read(&plain));
    assert!(read(b"CX").contains("[43, 58]"));
    assert!(read(&[&good[..], b"x"].concat()).contains("according to its head"));
    assert!(read(b"CXRP\x02\0").contains("format 2 of a pack is unknown"));
    assert!(read(b"CXRP\x01\0\xff\xff\xff\xff").contains("a pack of 4294967295 bytes"));
    let long = "n".repeat(65);
    for name in ["", " ", "a\nb", &long] {
        let contents = postcard::to_allocvec(&(name, "1.0.0")).unwrap();
        let error = SealedPack::seal(contents, None).unwrap_err().to_string();
        assert!(error.contains("its name is"), "{error}");
    }
}

proptest! {
    #[test]
    fn noise_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), begun: bool) {
        if begun && bytes.len() >= 10 {
            bytes[..6].copy_from_slice(b"CXRP\x01\0");
            let length = (bytes.len() - 10).to_le_bytes();
            bytes[6..10].copy_from_slice(&length[..4]);
            // A name and a version, then noise.
            if bytes.len() > 16 { bytes[10..14].copy_from_slice(b"\x01a\x011"); }
        }
        if let Ok(pack) = SealedPack::read(&bytes) {
            prop_assert_eq!(pack.to_bytes(), bytes.clone());
        }
        let behind = [bundle().to_bytes().unwrap(), bytes].concat();
        if let Ok(read) = Bundle::read(&behind[..]) {
            prop_assert_eq!(read.to_bytes().unwrap(), behind);
        }
    }
}
