//! Damaged files of every kind: an error or a picture, never a panic.

use crate::support::Phantom;
use dicom_dictionary_std::uids;
use image::{GrayImage, ImageFormat, Luma, codecs::jpeg::JpegEncoder};
use proptest::{prelude::*, sample::Index, test_runner::RngSeed};
use radiograph::{gate, header, read, stored_values};
use std::io::Cursor;

/// Good files to damage.
fn originals() -> Vec<Vec<u8>> {
    let dicom = [
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        "1.2.840.10008.1.2.2",
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        uids::RLE_LOSSLESS,
    ];
    let mut files: Vec<_> = dicom
        .into_iter()
        .map(|syntax| Phantom { syntax, ..Phantom::draw(12, false) }.file())
        .collect();
    let picture = GrayImage::from_fn(60, 50, |x, y| Luma([(x * y) as u8]));
    let mut jpeg = Vec::new();
    picture.write_with_encoder(JpegEncoder::new(&mut jpeg)).unwrap();
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).unwrap();
    let in_dicom = Phantom { syntax: uids::JPEG_BASELINE8_BIT, ..Phantom::draw(8, false) };
    files.extend([jpeg, png.into_inner(), in_dicom.file()]);
    assert!(files.iter().all(|file| read(file).is_ok()), "only good files are worth damaging");
    files
}

fn try_everything(bytes: &[u8]) {
    let _ = header(bytes);
    let _ = stored_values(bytes);
    if let Ok(radiograph) = read(bytes) {
        assert!(radiograph.image.pixels.iter().all(|x| (0.0..=1.0).contains(x)));
        let _ = gate(&radiograph);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(
        which in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<Index>()),
    ) {
        thread_local!(static FILES: Vec<Vec<u8>> = originals());
        let mut bytes = FILES.with(|files| which.get(files).clone());
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        try_everything(&bytes);
    }

    #[test]
    fn noise_after_any_magic_never_panics(
        magic in 0usize..4,
        noise in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut dicom = vec![0; 128];
        dicom.extend(b"DICM\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0");
        let starts: [&[u8]; 4] = [&dicom, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b""];
        let mut bytes = starts[magic].to_vec();
        bytes.extend(noise);
        try_everything(&bytes);
    }
}
