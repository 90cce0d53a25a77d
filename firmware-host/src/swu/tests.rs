use super::*;
use proptest::prelude::*;
use protocol::Digest;
use sha2::{Digest as _, Sha256};

fn description(image: &[u8]) -> Description {
    Description {
        version: "1.2.0".into(),
        text: "chest \"one\" 1.2.0".into(),
        hardware: vec![HARDWARE.into(), "2.0".into()],
        file: IMAGE.into(),
        sha256: Digest(Sha256::digest(image).into()),
    }
}

fn packed(image: &[u8], signature: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let text = description(image).to_text();
    write(&mut out, &text, signature, IMAGE, &mut &image[..], (image.len() as u64, sum(0, image)))
        .unwrap();
    out
}

/// Description and image of a whole file.
fn unpacked(bytes: &[u8]) -> Result<(Description, Vec<u8>), SwuError> {
    let mut swu = Swu::open(bytes)?;
    let mut image = Vec::new();
    let mut buffer = [0; 100];
    while let length @ 1.. = swu.read(&mut buffer)? {
        image.extend_from_slice(&buffer[..length]);
    }
    let description = swu.description().clone();
    swu.finish()?;
    Ok((description, image))
}

#[test]
fn a_known_beginning_may_come_from_elsewhere() {
    let image: Vec<u8> = (0..1001_u32).map(|n| (n * n) as u8).collect();
    let bytes = packed(&image, None);
    let mut swu = Swu::open(io::Cursor::new(&bytes)).unwrap();
    swu.known(&image[..700]);
    let at = swu.offset() + 700;
    swu.reader().set_position(at);
    let mut rest = vec![0; 400];
    assert_eq!(swu.read(&mut rest).unwrap(), 301);
    assert_eq!(rest[..301], image[700..]);
    swu.finish().unwrap();
}

#[test]
fn every_flipped_bit_is_noticed_or_harmless() {
    let image: Vec<u8> = (0..57).collect();
    let good = packed(&image, Some(b"signature"));
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // The inode, times and the like carry nothing, and SHA-256 is the slots' to check.
        if let Ok((_, found)) = unpacked(&bad) {
            assert_eq!(found, image, "bit {bit}");
        }
    }
    for length in 0..good.len() {
        assert!(unpacked(&good[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn whatever_asks_for_more_than_a_bundle_is_refused_by_name() {
    let image = b"image";
    let text = description(image).to_text();
    let with = |from: &str, to: &str| {
        let text = text.replace(from, to);
        let mut out = Vec::new();
        write(&mut out, &text, None, IMAGE, &mut &image[..], (5, sum(0, image))).unwrap();
        unpacked(&out).unwrap_err().to_string()
    };
    for (from, to, expected) in [
        ("    files: (", "    scripts: ();\n    files: (", "scripts in software"),
        ("path = ", "encrypted = true;\n path = ", "encrypted in the file"),
        ("sha256 = ", "sha1 = ", "sha1 in the file"),
        ("\"model.bundle\";\n", "\"other\";\n", "found file \"model.bundle\""),
        ("version = \"1.2.0\";", "", "version is missing"),
        ("software =", "firmware =", "firmware in the text"),
        ("    );\n}", "    );\n    images: ();\n}", "2 lists of files"),
    ] {
        let error = with(from, to);
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

#[test]
fn files_besides_the_bundle_are_refused() {
    let mut bytes = packed(b"image", None);
    let end = bytes.len() - 124;
    assert!(bytes[end..].starts_with(b"070702"));
    let trailer = bytes.split_off(end);
    cpio::write_header(&mut bytes, 9, "second", 0, 0).unwrap();
    bytes.extend_from_slice(&trailer);
    let error = unpacked(&bytes).unwrap_err().to_string();
    assert_eq!(error, "found file \"second\", expected the end of the image");
}

proptest! {
    #[test]
    fn what_is_packed_is_unpacked(
        image in proptest::collection::vec(any::<u8>(), 0..3000),
        signature in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..99)),
        blocks in 0_usize..2,
    ) {
        let mut bytes = packed(&image, signature.as_deref());
        bytes.resize(bytes.len().next_multiple_of([1, 512][blocks]), 0);
        prop_assert_eq!(Swu::open(&bytes[..]).unwrap().is_signed(), signature.is_some());
        let (found, unpacked) = unpacked(&bytes).unwrap();
        prop_assert_eq!(found, description(&image));
        prop_assert_eq!(unpacked, image);
    }

    #[test]
    fn noise_never_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..400),
        at in 0_usize..900,
        text in "[a-z={}()\\[\\]:;,\"\\\\#/* \n.@0-9x-]{0,200}",
    ) {
        let _ = unpacked(&noise);
        let _ = Description::parse(text.as_bytes());
        let mut bytes = packed(&[7; 300], Some(b"signature"));
        let at = at.min(bytes.len());
        let end = (at + noise.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&noise[..end - at]);
        let _ = unpacked(&bytes);
    }
}
