//! How much memory a large study needs on its way to the network's input.
//!
//! Alone in its file: the allocator counts for the whole process.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use graph::Preprocess;
use radiograph::elements::Encoding;
use radiograph::{gate, network_input, read};

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, 1 << 30);

const ROWS: u16 = 3072;
const COLUMNS: u16 = 2944;
/// Nine megapixels of 16 bits.
const PIXEL_BYTES: usize = 2 * ROWS as usize * COLUMNS as usize;
/// What a study may take besides its own bytes.
const ALLOWANCE: usize = 40_000_000;

#[test]
fn a_study_of_nine_megapixels_needs_its_own_bytes_and_forty_megabytes() {
    for (name, write) in
        [("uncompressed", uncompressed as fn() -> _), ("RLE lossless", run_lengths)]
    {
        let file: Vec<u8> = write();
        let before = ALLOCATOR.max_allocated();
        assert!(before <= file.len() + ALLOWANCE, "{name}: the test itself takes {before} bytes");
        let radiograph = read(&file).unwrap();
        gate(&radiograph).unwrap();
        let input = network_input(&radiograph.image, &Preprocess::PRIOR);
        let shown = radiograph.image.resize(1024, 981).to_gray8();
        assert_eq!((input.len(), shown.len()), (224 * 224, 1024 * 981));
        let beside = ALLOCATOR.max_allocated() - file.len();
        println!("{name}: {} bytes of file and {beside} beside it", file.len());
        assert!(beside <= ALLOWANCE, "{name}: {beside} bytes beside the file, at most {ALLOWANCE}");
    }
}

/// Everything before the pixel data, with room for `pixels` more bytes.
fn head(syntax: &str, pixels: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pixels + 4096);
    bytes.resize(128, 0);
    bytes.extend_from_slice(b"DICM");
    let mut put = |tag: Tag, vr: VR, value: &[u8]| {
        Encoding::EXPLICIT_LITTLE_ENDIAN.put(&mut bytes, tag, vr, value).unwrap();
    };
    let even = |text: &str, padding: &str| {
        let padding = if text.len() % 2 == 1 { padding } else { "" };
        [text, padding].concat().into_bytes()
    };
    put(tags::TRANSFER_SYNTAX_UID, VR::UI, &even(syntax, "\0"));
    put(tags::SOP_INSTANCE_UID, VR::UI, b"2.25.9\0\0");
    put(tags::MODALITY, VR::CS, b"DX");
    put(tags::BODY_PART_EXAMINED, VR::CS, b"CHEST ");
    put(tags::SAMPLES_PER_PIXEL, VR::US, &1u16.to_le_bytes());
    put(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, &even("MONOCHROME1", " "));
    for (tag, value) in [
        (tags::ROWS, ROWS),
        (tags::COLUMNS, COLUMNS),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 16),
        (tags::HIGH_BIT, 15),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        put(tag, VR::US, &value.to_le_bytes());
    }
    bytes
}

/// Something to see everywhere.
fn value(at: usize) -> u16 {
    let (y, x) = (at / usize::from(COLUMNS), at % usize::from(COLUMNS));
    (y * 11 + x * 7 + x * y / 97) as u16
}

fn uncompressed() -> Vec<u8> {
    let mut bytes = head(uids::EXPLICIT_VR_LITTLE_ENDIAN, PIXEL_BYTES);
    bytes.extend_from_slice(b"\xe0\x7f\x10\0OW\0\0");
    bytes.extend((PIXEL_BYTES as u32).to_le_bytes());
    bytes.extend((0..PIXEL_BYTES / 2).flat_map(|at| value(at).to_le_bytes()));
    bytes
}

/// Literal runs of 128 bytes: as long as RLE can be.
fn run_lengths() -> Vec<u8> {
    let segment = PIXEL_BYTES / 2 / 128 * 129;
    let stream = 64 + 2 * segment;
    let mut bytes = head(uids::RLE_LOSSLESS, stream + 64);
    bytes.extend_from_slice(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff");
    bytes.extend_from_slice(b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0");
    bytes.extend((stream as u32).to_le_bytes());
    let header = [2, 64, 64 + segment as u32];
    bytes.extend((0..16).flat_map(|at| header.get(at).unwrap_or(&0).to_le_bytes()));
    for byte in [1, 0] {
        for first in (0..PIXEL_BYTES / 2).step_by(128) {
            bytes.push(127);
            bytes.extend((first..first + 128).map(|at| value(at).to_le_bytes()[byte]));
        }
    }
    bytes.extend_from_slice(b"\xfe\xff\xdd\xe0\0\0\0\0");
    bytes
}
