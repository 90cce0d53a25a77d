//! Pixel data → stored values.

use super::{
    codestream,
    elements::Elements,
    rle,
    scan::{DataSet, RawPixels},
};
use crate::{RadiographError, limits, raster};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::borrow::Cow;

/// What is stored for each sample: frame by frame, row by row, colour samples side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredValues {
    pub rows: usize,
    pub columns: usize,
    pub frames: usize,
    /// 1 (grey) or 3 (colour).
    pub samples: usize,
    pub values: Vec<i32>,
}

/// How samples are laid out, from the Image Pixel module; checked to be consistent.
#[derive(Clone, Debug)]
pub(crate) struct PixelLayout {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) frames: usize,
    pub(crate) samples: usize,
    pub(crate) photometric: String,
    /// Bits of a sample's cell: 8, 16 or 32.
    pub(crate) allocated: u32,
    /// Bits of a sample.
    pub(crate) stored: u32,
    /// Where in its cell a sample begins.
    shift: u32,
    pub(crate) signed: bool,
    /// Colour planes one after the other, instead of samples side by side.
    planar: bool,
}

impl PixelLayout {
    pub(crate) fn parse(elements: &Elements<'_>) -> Result<Self, RadiographError> {
        let count = |tag, name| elements.count(tag, name);
        let rows = count(tags::ROWS, "Rows")?;
        let columns = count(tags::COLUMNS, "Columns")?;
        let frames = elements.frames()?;
        let samples = count(tags::SAMPLES_PER_PIXEL, "SamplesPerPixel")?;
        limits::check(rows.into(), columns.into(), samples.into())?;
        let photometric = elements.text(tags::PHOTOMETRIC_INTERPRETATION);
        check_photometric(&photometric, samples)?;

        let allocated = count(tags::BITS_ALLOCATED, "BitsAllocated")?;
        expect("BitsAllocated", allocated, matches!(allocated, 8 | 16 | 32), "8, 16 or 32")?;
        let stored = count(tags::BITS_STORED, "BitsStored")?;
        expect("BitsStored", stored, stored <= allocated, "at most BitsAllocated")?;
        let high = match elements.integer(tags::HIGH_BIT, "HighBit")? {
            None => stored - 1,
            Some(high) => u32::try_from(high).unwrap_or(u32::MAX),
        };
        let fits = high < allocated && high + 1 >= stored;
        expect("HighBit", high, fits, "at least BitsStored - 1 and below BitsAllocated")?;
        let sign = elements.integer(tags::PIXEL_REPRESENTATION, "PixelRepresentation")?;
        let planar = elements.integer(tags::PLANAR_CONFIGURATION, "PlanarConfiguration")?;
        Ok(Self {
            rows: rows as usize,
            columns: columns as usize,
            frames: frames as usize,
            samples: samples as usize,
            photometric,
            allocated,
            stored,
            shift: high + 1 - stored,
            signed: sign == Some(1),
            planar: planar == Some(1),
        })
    }

    pub(crate) fn is_colour(&self) -> bool {
        self.samples == 3
    }

    /// The smallest value a sample can have.
    pub(crate) fn smallest(&self) -> i32 {
        if self.signed { i32::MIN >> (32 - self.stored) } else { 0 }
    }

    /// The value of a sample from its lowest bits; what is above them is not part of it.
    pub(crate) fn value(&self, bits: u32) -> i32 {
        let unused = 32 - self.stored;
        if self.signed {
            (bits << unused) as i32 >> unused
        } else {
            (bits << unused >> unused) as i32
        }
    }

    pub(crate) fn is_planar(&self) -> bool {
        self.planar
    }

    pub(crate) fn samples_per_frame(&self) -> usize {
        self.rows * self.columns * self.samples
    }

    pub(crate) fn bytes_per_sample(&self) -> usize {
        self.allocated as usize / 8
    }
}

fn check_photometric(photometric: &str, samples: u32) -> Result<(), RadiographError> {
    let expected = match photometric {
        "" => return Err(RadiographError::Missing { name: "PhotometricInterpretation" }),
        "MONOCHROME1" | "MONOCHROME2" => 1,
        "RGB" | "YBR_FULL" | "YBR_FULL_422" | "YBR_ICT" | "YBR_RCT" => 3,
        found => {
            return Err(RadiographError::Value {
                name: "PhotometricInterpretation",
                found: found.chars().take(20).collect(),
                expected: "MONOCHROME1, MONOCHROME2, RGB or YBR",
            });
        }
    };
    let wanted = if expected == 1 { "1 for monochrome" } else { "3 for colour" };
    expect("SamplesPerPixel", samples, samples == expected, wanted)
}

fn expect(
    name: &'static str,
    found: u32,
    valid: bool,
    expected: &'static str,
) -> Result<(), RadiographError> {
    if valid {
        return Ok(());
    }
    Err(RadiographError::Value { name, found: found.to_string(), expected })
}

/// Stored values of every frame.
pub(crate) fn all_frames(
    layout: &PixelLayout,
    data_set: &DataSet<'_>,
) -> Result<StoredValues, RadiographError> {
    let frames = layout.frames as u64;
    let samples = layout.samples_per_frame() as u64 * frames;
    if samples > limits::SAMPLES {
        return Err(RadiographError::TooMany { samples, frames });
    }
    let mut values = Vec::new();
    for index in 0..layout.frames {
        values.extend(frame(layout, data_set, index)?);
    }
    let PixelLayout { rows, columns, frames, samples, .. } = *layout;
    Ok(StoredValues { rows, columns, frames, samples, values })
}

/// Stored values of the first frame.
pub(crate) fn first_frame(
    layout: &PixelLayout,
    data_set: &DataSet<'_>,
) -> Result<Vec<i32>, RadiographError> {
    frame(layout, data_set, 0)
}

/// Displayed grey picture of a colour frame.
pub(crate) fn luma(layout: &PixelLayout, stored: &[i32]) -> Vec<f32> {
    let white = f64::from(u32::MAX >> (32 - layout.stored));
    let luma = |p: &[i32]| raster::luma([p[0].into(), p[1].into(), p[2].into()]);
    stored.chunks_exact(3).map(|pixel| (luma(pixel) / white) as f32).collect()
}

fn frame(
    layout: &PixelLayout,
    data_set: &DataSet<'_>,
    index: usize,
) -> Result<Vec<i32>, RadiographError> {
    match data_set.pixels.as_ref().ok_or(RadiographError::Missing { name: "PixelData" })? {
        RawPixels::Native { bytes, claimed, vr } => {
            let big_endian = data_set.syntax.is_big_endian() && *vr != VR::UN;
            let bytes = match (layout.allocated, vr) {
                (8, VR::OW) if big_endian => swapped(bytes),
                _ => Cow::Borrowed(*bytes),
            };
            Ok(native(layout, native_frame(layout, &bytes, *claimed, index)?, big_endian))
        }
        RawPixels::Encapsulated { offsets, fragments } => {
            let stream = frame_stream(layout, offsets, fragments, index)?;
            let values = if data_set.syntax == super::TransferSyntax::RleLossless {
                native(layout, &rle::decode(layout, &stream)?, false)
            } else {
                codestream::decode(layout, data_set.syntax, &stream)?
            };
            Ok(values)
        }
    }
}

/// The bytes of one uncompressed frame.
fn native_frame<'a>(
    layout: &PixelLayout,
    bytes: &'a [u8],
    claimed: u64,
    index: usize,
) -> Result<&'a [u8], RadiographError> {
    if layout.photometric != "RGB" && layout.is_colour() {
        return Err(RadiographError::Value {
            name: "PhotometricInterpretation",
            found: layout.photometric.clone(),
            expected: "RGB or monochrome in uncompressed pixel data",
        });
    }
    let length = layout.samples_per_frame() * layout.bytes_per_sample();
    let expected = length as u64 * layout.frames as u64;
    let found = claimed.min(bytes.len() as u64);
    if found < expected {
        return Err(RadiographError::PixelLength { found, expected });
    }
    // Old writers pad (PS3.5 8.1.1). What is no padding, a whole row or more of it, means that the
    // header is about another picture.
    let excess = &bytes[expected as usize..];
    let is_padding = || claimed == found && excess.iter().all(|byte| *byte == excess[0]);
    let row = (length / layout.rows) as u64;
    if claimed >= expected + row.max(2) && !is_padding() {
        return Err(RadiographError::PixelLength { found: claimed, expected });
    }
    Ok(&bytes[index * length..][..length])
}

/// Stored values from cells of `allocated` bits.
fn native(layout: &PixelLayout, bytes: &[u8], big_endian: bool) -> Vec<i32> {
    let cell = |bits: u32| layout.value(bits >> layout.shift);
    let values: Vec<i32> = match (layout.allocated, big_endian) {
        (8, _) => bytes.iter().map(|b| cell((*b).into())).collect(),
        (16, false) => cells(bytes, |b| cell(u16::from_le_bytes(b).into())),
        (16, true) => cells(bytes, |b| cell(u16::from_be_bytes(b).into())),
        (_, false) => cells(bytes, |b| cell(u32::from_le_bytes(b))),
        (_, true) => cells(bytes, |b| cell(u32::from_be_bytes(b))),
    };
    if layout.is_colour() && layout.planar { interleaved(&values) } else { values }
}

/// Bytes in big-endian words come in pairs, the later one first.
fn swapped(bytes: &[u8]) -> Cow<'static, [u8]> {
    bytes.chunks(2).flat_map(|pair| pair.iter().rev()).copied().collect()
}

fn cells<const N: usize>(bytes: &[u8], cell: impl Fn([u8; N]) -> i32) -> Vec<i32> {
    bytes.as_chunks().0.iter().map(|bytes| cell(*bytes)).collect()
}

/// Three planes → samples side by side.
fn interleaved(planes: &[i32]) -> Vec<i32> {
    let pixels = planes.len() / 3;
    (0..pixels).flat_map(|i| [planes[i], planes[pixels + i], planes[2 * pixels + i]]).collect()
}

/// The compressed bytes of one frame, joined from its fragments.
fn frame_stream<'a>(
    layout: &PixelLayout,
    offsets: &[u32],
    fragments: &[&'a [u8]],
    index: usize,
) -> Result<Cow<'a, [u8]>, RadiographError> {
    let of_frame = if layout.frames == 1 {
        fragments
    } else if fragments.len() == layout.frames {
        &fragments[index..=index]
    } else {
        by_offset(offsets, fragments, index).ok_or_else(|| {
            RadiographError::Structure(format!(
                "{} fragments for {} frames, and no table that says which is whose",
                fragments.len(),
                layout.frames
            ))
        })?
    };
    match of_frame {
        [] => Err(RadiographError::Structure("pixel data has no fragments".into())),
        [[]] => Err(RadiographError::Structure("pixel data is an empty fragment".into())),
        [one] => Ok(Cow::Borrowed(one)),
        several => Ok(Cow::Owned(several.concat())),
    }
}

/// The fragments of a frame according to the basic offset table.
fn by_offset<'f, 'a>(
    offsets: &[u32],
    fragments: &'f [&'a [u8]],
    index: usize,
) -> Option<&'f [&'a [u8]]> {
    let mut starts = Vec::with_capacity(fragments.len() + 1); // with 8 bytes of item header each
    let mut at = 0u64;
    for fragment in fragments {
        starts.push(at);
        at += fragment.len() as u64 + 8;
    }
    starts.push(at);
    let find = |offset: u64| starts.iter().position(|start| *start == offset);
    let first = find((*offsets.get(index)?).into())?;
    let end = match offsets.get(index + 1) {
        Some(next) => find((*next).into())?,
        None => fragments.len(),
    };
    fragments.get(first..end)
}
