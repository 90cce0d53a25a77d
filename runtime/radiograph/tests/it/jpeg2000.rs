//! JPEG 2000 streams that OpenJPEG 2.5.4 made of the phantom (`phantom-*.j2k`), and what it decodes of the lossy one.

use crate::{
    high_throughput,
    support::{Phantom, ROWS},
};
use dicom_core::{PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use radiograph::{RadiographError, read, stored_values};

pub(crate) const LOSSLESS: &[u8] = include_bytes!("phantom-lossless.j2k");
const SIGNED: &[u8] = include_bytes!("phantom-signed.j2k");
pub(crate) const LOSSY: &[u8] = include_bytes!("phantom-lossy.j2k");
const LOSSY_BY_OPENJPEG: &[u8] = include_bytes!("phantom-lossy.u16");
pub(crate) const COLOUR: &[u8] = include_bytes!("phantom-colour.j2k");

fn file(phantom: &Phantom, stream: &[u8]) -> Vec<u8> {
    phantom.file_around(uids::JPEG2000, stream.to_vec())
}

#[test]
fn lossless_pictures_come_back_exactly() {
    for (signed, stream) in [(false, LOSSLESS), (true, SIGNED)] {
        let phantom = Phantom::draw(12, signed);
        assert_eq!(stored_values(&file(&phantom, stream)).unwrap().values, phantom.values);
    }
}

#[test]
fn lossy_pictures_are_openjpegs_within_one_step() {
    let found = stored_values(&file(&Phantom::draw(12, false), LOSSY)).unwrap().values;
    let expected = LOSSY_BY_OPENJPEG.as_chunks().0.iter().map(|word| u16::from_le_bytes(*word));
    assert_eq!(found.len(), expected.len());
    assert!(
        found.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected.into()) <= 1)
    );
}

pub(crate) fn colour() -> Phantom {
    let phantom = Phantom { photometric: "YBR_RCT", ..Phantom::draw(8, false) };
    phantom.with(tags::SAMPLES_PER_PIXEL, VR::US, PrimitiveValue::from(3u16))
}

/// Their grey would be below black.
#[test]
fn colours_of_signed_samples_are_refused_by_name() {
    let phantom = colour().with(tags::PIXEL_REPRESENTATION, VR::US, PrimitiveValue::from(1u16));
    let error = read(&file(&phantom, COLOUR)).unwrap_err().to_string();
    assert!(error.contains("PixelRepresentation") && error.contains("0 for colour"), "{error}");
}

/// Red is the phantom, green the same upside down, blue the same mirrored.
#[test]
fn colours_come_back_exactly_in_their_order() {
    let phantom = colour();
    let values = stored_values(&file(&phantom, COLOUR)).unwrap().values;
    let rows: Vec<_> = Phantom::draw(12, false).values.iter().map(|v| v >> 4).collect();
    let rows: Vec<_> = rows.chunks(rows.len() / ROWS).collect();
    for (y, (row, found)) in rows.iter().zip(values.chunks(3 * rows[0].len())).enumerate() {
        for (x, pixel) in found.chunks(3).enumerate() {
            assert_eq!(pixel, [row[x], rows[ROWS - 1 - y][x], row[row.len() - 1 - x]]);
        }
    }
}

/// What is left of a stream in `file`, with an end marker or without, is refused or has all samples.
pub(crate) fn is_refused_wherever_it_is_cut(stream: &[u8], file: impl Fn(&[u8]) -> Vec<u8>) {
    let whole = stored_values(&file(stream)).unwrap();
    for cut in 0..stream.len() {
        for end in [&[][..], &[0xFF, 0xD9]] {
            if let Ok(found) = stored_values(&file(&[&stream[..cut], end].concat())) {
                assert!(found == whole, "cut at {cut} of {}", stream.len());
            }
        }
    }
}

#[test]
fn a_stream_that_is_cut_is_refused_wherever_it_is_cut() {
    for stream in [LOSSLESS, LOSSY, COLOUR] {
        let phantom = match stream == COLOUR {
            true => colour(),
            false => Phantom::draw(12, false),
        };
        is_refused_wherever_it_is_cut(stream, |stream| file(&phantom, stream));
    }
}

#[test]
fn htj2k_in_files_of_the_older_syntaxes_is_refused_by_name() {
    let error = read(&file(&Phantom::draw(12, false), high_throughput::LOSSLESS)).unwrap_err();
    let line = error.to_string();
    assert!(matches!(error, RadiographError::Decode { .. }) && line.contains("HTJ2K"), "{line}");
}
