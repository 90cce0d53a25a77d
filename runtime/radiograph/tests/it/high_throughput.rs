//! HTJ2K streams that `high_throughput/make.py` made of the phantom with OpenJPH 0.26.3, and what OpenJPEG 2.5.4 decodes of them.

use crate::{jpeg2000, support::Phantom};
use dicom_core::{PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use radiograph::{TransferSyntax, read, stored_values};

pub(crate) const LOSSLESS: &[u8] = include_bytes!("high_throughput/lossless.j2k");
const SIGNED: &[u8] = include_bytes!("high_throughput/signed.j2k");
pub(crate) const COLOUR: &[u8] = include_bytes!("high_throughput/colour.j2k");
const HILLS: &[u8] = include_bytes!("high_throughput/hills.j2k");
pub(crate) const LOSSY: &[u8] = include_bytes!("high_throughput/lossy.j2k");
const LOSSY_BY_OPENJPEG: &[u8] = include_bytes!("high_throughput/lossy.i16");
pub(crate) const RELAID: &[u8] = include_bytes!("high_throughput/relaid.j2k");
const RELAID_BY_OPENJPEG: &[u8] = include_bytes!("high_throughput/relaid.i16");
const SPLIT: &[u8] = include_bytes!("high_throughput/split.j2k");

pub(crate) const SYNTAXES: [TransferSyntax; 3] = [
    TransferSyntax::Htj2kLossless,
    TransferSyntax::Htj2kLosslessByResolution,
    TransferSyntax::Htj2k,
];

pub(crate) fn file(phantom: &Phantom, stream: &[u8]) -> Vec<u8> {
    phantom.file_around(TransferSyntax::Htj2k.uid(), stream.to_vec())
}

fn values(phantom: &Phantom, stream: &[u8]) -> Vec<i32> {
    stored_values(&file(phantom, stream)).unwrap().values
}

fn refusal(stream: &[u8]) -> String {
    read(&file(&Phantom::draw(12, false), stream)).map(drop).unwrap_err().to_string()
}

fn words(bytes: &[u8]) -> impl Iterator<Item = i32> {
    bytes.as_chunks().0.iter().map(|word| i16::from_le_bytes(*word).into())
}

#[test]
fn lossless_pictures_come_back_exactly_in_every_syntax() {
    for (signed, stream) in [(false, LOSSLESS), (true, SIGNED)] {
        let phantom = Phantom::draw(12, signed);
        for syntax in SYNTAXES {
            let file = phantom.file_around(syntax.uid(), stream.to_vec());
            let found = stored_values(&file).unwrap();
            assert_eq!(found.values, phantom.values, "{}", syntax.name());
            let plain = phantom.file();
            let plain = read(&plain).unwrap().image;
            assert!(read(&file).unwrap().image == plain, "{}", syntax.name());
        }
    }
}

#[test]
fn lossy_pictures_are_openjpegs_within_one_step() {
    let found = values(&Phantom::draw(12, false), LOSSY);
    assert_eq!(found.len(), words(LOSSY_BY_OPENJPEG).count());
    let far = found.iter().zip(words(LOSSY_BY_OPENJPEG)).map(|(a, b)| a.abs_diff(b));
    assert!(far.max().unwrap() <= 1);
}

/// No fused or reordered operation of any processor may come in: these are the bits of all.
#[test]
fn lossy_pictures_are_the_same_on_every_processor() {
    use sha2::{Digest, Sha256};
    let found = values(&Phantom::draw(12, false), LOSSY);
    let bytes: Vec<u8> = found.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(
        hex::encode(Sha256::digest(&bytes)),
        "6935573488ec09034978ed5d3a8dae0252560b8fdf5053cd3f44f43ccd148611"
    );
}

#[test]
fn colours_in_tiles_come_back_exactly_in_their_order() {
    let phantom = jpeg2000::colour();
    let expected = stored_values(
        &phantom.file_around(TransferSyntax::Jpeg2000.uid(), jpeg2000::COLOUR.to_vec()),
    );
    assert_eq!(values(&phantom, COLOUR), expected.unwrap().values);
}

#[test]
fn bands_of_several_blocks_come_back_exactly() {
    let (rows, columns) = (150, 201);
    let phantom = Phantom::draw(8, false)
        .with(tags::ROWS, VR::US, PrimitiveValue::from(rows as u16))
        .with(tags::COLUMNS, VR::US, PrimitiveValue::from(columns as u16));
    let hill = |at: i32| ((at % columns).pow(2) + (at / columns).pow(2)) >> 5 & 255;
    assert!(values(&phantom, HILLS).into_iter().eq((0..rows * columns).map(hill)));
}

/// Packets by component, markers around them, passes that refine.
#[test]
fn refined_blocks_are_openjpegs() {
    let found = values(&Phantom::draw(16, true), RELAID);
    assert!(found.into_iter().eq(words(RELAID_BY_OPENJPEG)));
}

/// Cleanup passes in the first layer, refinement in the second: the blocks are the same.
#[test]
fn layers_add_to_the_same_blocks() {
    let found = values(&Phantom::draw(16, true), SPLIT);
    assert!(found.into_iter().eq(words(RELAID_BY_OPENJPEG)));
}

#[test]
fn a_stream_that_is_cut_is_refused_wherever_it_is_cut() {
    for stream in [LOSSLESS, LOSSY, COLOUR, RELAID] {
        let phantom = match stream {
            COLOUR => jpeg2000::colour(),
            RELAID => Phantom::draw(16, true),
            _ => Phantom::draw(12, false),
        };
        jpeg2000::is_refused_wherever_it_is_cut(stream, |stream| file(&phantom, stream));
    }
}

#[test]
fn a_stream_of_the_other_kind_is_refused_by_name() {
    let refusal = refusal(jpeg2000::LOSSLESS);
    assert_eq!(
        refusal,
        "HTJ2K cannot be decoded: code-block style 0x00, expected that of HTJ2K alone (0x40 or 0x48)"
    );
}

/// A marker segment's place and what it must say, by what the refusal names.
#[test]
fn what_is_not_supported_is_refused_by_name() {
    let at = |marker: [u8; 2]| LOSSLESS.windows(2).position(|two| two == marker).unwrap();
    let (coding, steps, tile) = (at([0xFF, 0x52]), at([0xFF, 0x5C]), at([0xFF, 0x90]));
    for (place, byte, expected) in [
        (coding + 1, 0x5E, "regions of interest (RGN)"),
        (coding + 1, 0x5F, "changes of progression (POC)"),
        (coding + 1, 0x60, "packed packet headers (PPM, PPT)"),
        (coding + 1, 0x76, "marker FF76 in the header is not supported"),
        (coding + 5, 5, "progression 5, expected 0 to 4"),
        (coding + 7, 0, "0 layers"),
        (coding + 6, 4, "more packets in a tile than it has bytes"),
        (coding + 9, 33, "33 levels"),
        (coding + 10, 9, "blocks of 2^11x2^6"),
        (coding + 12, 0xC0, "code-block style 0xc0"),
        (coding + 13, 2, "wavelet 2, expected 0 (9/7) or 1 (5/3)"),
        (coding + 13, 0, "a wavelet and steps that do not belong together"),
        (steps + 5, 0xF8, "31 bit-planes in a band, at most 29 are read"),
        (tile + 5, 1, "tile 1 of 1"),
        (tile + 10, 1, "part 1 of tile 0, expected its part 0"),
        (tile + 9, 255, "cut in tile 0"),
    ] {
        let mut stream = LOSSLESS.to_vec();
        stream[place] = byte;
        let refusal = refusal(&stream);
        assert!(refusal.starts_with("HTJ2K cannot be decoded: "), "{refusal}");
        assert!(refusal.contains(expected), "{refusal}, expected {expected}");
    }
}

/// A few hundred bytes that claim forty million samples take memory for these, not for what else they claim.
#[test]
fn a_header_that_claims_millions_of_blocks_is_refused() {
    let at = LOSSLESS.windows(2).position(|two| two == [0xFF, 0x52]).unwrap();
    let mut stream = LOSSLESS.to_vec();
    (stream[at + 10], stream[at + 11]) = (0, 0); // blocks of 4x4
    for (offset, size) in [(8, 6000u32), (12, 6000), (24, 6000), (28, 6000)] {
        stream[offset..offset + 4].copy_from_slice(&size.to_be_bytes());
    }
    let phantom = Phantom::draw(12, false)
        .with(tags::ROWS, VR::US, PrimitiveValue::from(6000u16))
        .with(tags::COLUMNS, VR::US, PrimitiveValue::from(6000u16));
    let error = read(&file(&phantom, &stream)).map(drop).unwrap_err().to_string();
    assert_eq!(error, "HTJ2K cannot be decoded: more than 1048576 blocks in a tile");
}
