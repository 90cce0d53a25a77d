//! Damaged files of every kind: an error or a picture, never a panic, and never much memory (`main.rs`).
//! `make fuzz` tries more of them (`FUZZ_CASES`), from another seed (`FUZZ_SEED`).

use crate::{
    high_throughput,
    jpeg2000::{COLOUR, LOSSLESS, LOSSY, colour},
    pictures::{with_chunk, with_exif},
    support::{COLUMNS, Phantom, ROWS},
};
use dicom_core::{PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use image::{GrayImage, ImageFormat, Luma, codecs::jpeg::JpegEncoder};
use proptest::{prelude::*, sample::Index, test_runner::RngSeed};
use radiograph::{gate, header, probe, read, stored_values};
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
    let png = png.into_inner();
    let unknown = |value: &[u8]| PrimitiveValue::U8(value.iter().copied().collect());
    let passed_on = Phantom::draw(12, false)
        .with(tags::WINDOW_CENTER, VR::UN, unknown(b"2048"))
        .with(tags::WINDOW_WIDTH, VR::UN, unknown(b"4096"))
        .with(tags::BODY_PART_EXAMINED, VR::UN, unknown(b"T\xd3RAX "))
        .with(
            tags::VIEW_CODE_SEQUENCE,
            VR::UN,
            unknown(b"\xFE\xFF\0\xE0\x08\0\0\0\x08\0\0\x01\0\0\0\0"),
        );
    files.extend([with_exif(&jpeg, 6), jpeg, in_dicom.file(), passed_on.file()]);
    files.extend([with_chunk(&png, b"sBIT", &[7], false), png]);
    files.extend(
        [LOSSLESS, LOSSY]
            .map(|stream| Phantom::draw(12, false).file_around(uids::JPEG2000, stream.to_vec())),
    );
    files.push(colour().file_around(uids::JPEG2000, COLOUR.to_vec()));
    let grey = [(12, false, high_throughput::LOSSLESS), (12, false, high_throughput::LOSSY)];
    for (stored, signed, stream) in grey.into_iter().chain([(16, true, high_throughput::RELAID)]) {
        files.push(high_throughput::file(&Phantom::draw(stored, signed), stream));
    }
    files.push(high_throughput::file(&colour(), high_throughput::COLOUR));
    assert!(files.iter().all(|file| read(file).is_ok()), "only good files are worth damaging");
    files
}

fn try_everything(bytes: &[u8]) {
    let _ = header(bytes);
    let _ = stored_values(bytes);
    let probe = probe(bytes);
    if let Ok(radiograph) = read(bytes) {
        let probe = probe.expect("what can be read can be probed");
        let image = &radiograph.image;
        assert_eq!((probe.height as usize, probe.width as usize), (image.height, image.width));
        assert!(radiograph.image.pixels().iter().all(|x| (0.0..=1.0).contains(x)));
        let _ = gate(&radiograph);
    }
}

fn config() -> ProptestConfig {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u32>().unwrap());
    let seed = u64::from(number("FUZZ_SEED").unwrap_or(7));
    ProptestConfig {
        cases: number("FUZZ_CASES").unwrap_or(2000),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

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

    #[test]
    fn noise_in_a_compressed_picture_never_panics(
        kind in 0usize..4,
        parameters in prop::collection::vec(any::<u8>(), 10),
        mut noise in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let (syntax, header) = &compressed()[kind];
        let mut stream = header.clone();
        if kind == 1 {
            // The coding parameters of JPEG-LS, small numbers more often than not.
            let small = parameters.iter().enumerate().map(|(i, b)| if i % 2 == 0 { b & 1 } else { *b });
            let at = stream.len() - 10;
            stream.splice(at..at, [0xFF, 0xF8, 0, 13, 1].into_iter().chain(small));
        }
        noise.iter_mut().filter(|b| **b == 0xFF).for_each(|b| *b = 0); // no markers
        stream.extend(noise);
        try_everything(&Phantom::draw(12, false).file_around(syntax, stream));
    }
}

/// Transfer syntax and everything before the entropy-coded data of grey streams, 29 x 37.
fn compressed() -> [(&'static str, Vec<u8>); 4] {
    let frame = |marker: u8, bits: u8| {
        vec![0xFF, 0xD8, 0xFF, marker, 0, 11, bits, 0, ROWS as u8, 0, COLUMNS as u8, 1, 1, 0x11, 0]
    };
    let scan = |last: [u8; 3]| [&[0xFF, 0xDA, 0, 8, 1, 1, 0][..], &last].concat();
    // Codes of 2, 3, … 9 bits; for coefficients and for differences.
    let huffman = |kind: u8| {
        let symbols = [0, 1, 2, 3, 0x14, 5, 0x26, 0xF0];
        [&[0xFF, 0xC4, 0, 27, kind, 0][..], &[1; 8], &[0; 7], &symbols].concat()
    };
    let quantization = [&[0xFF, 0xDB, 0, 67, 0][..], &[200; 64]].concat();
    [
        (uids::JPEGLS_LOSSLESS, [frame(0xF7, 12), scan([0, 0, 0])].concat()),
        (uids::JPEGLS_NEAR_LOSSLESS, [frame(0xF7, 12), scan([3, 0, 0])].concat()),
        (
            uids::JPEG_EXTENDED12_BIT,
            [frame(0xC1, 12), quantization, huffman(0), huffman(0x10), scan([0, 63, 0])].concat(),
        ),
        (uids::JPEG_LOSSLESS, [frame(0xC3, 12), huffman(0), scan([1, 0, 0])].concat()),
    ]
}
