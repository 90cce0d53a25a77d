//! Pixel data → stored values.

use super::{
    TransferSyntax, codestream,
    pixel_layout::PixelLayout,
    rle,
    samples::Samples,
    scan::{DataSet, RawPixels},
};
use crate::{RadiographError, elements::Fragments, limits, raster};
use dicom_core::VR;
use std::{borrow::Cow, ops::Range};

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
        let samples = frame(layout, data_set, index)?;
        values.extend(samples.values(&layout.with_stored(samples.stored)));
    }
    let PixelLayout { rows, columns, frames, samples, .. } = *layout;
    Ok(StoredValues { rows, columns, frames, samples, values })
}

/// Samples of the first frame.
pub(crate) fn first_frame<'a>(
    layout: &PixelLayout,
    data_set: &DataSet<'a>,
) -> Result<Samples<'a>, RadiographError> {
    frame(layout, data_set, 0)
}

/// Displayed grey picture of a colour frame.
pub(crate) fn luma(layout: &PixelLayout, samples: &Samples<'_>) -> Vec<f32> {
    let white = f64::from(u32::MAX >> (32 - layout.stored));
    let sample = |at| f64::from(samples.value(layout, at));
    let luma = |pixel| match samples.has_luma {
        true => sample(3 * pixel),
        false => raster::luma([0, 1, 2].map(|colour| sample(3 * pixel + colour))),
    };
    (0..samples.len() / 3).map(|pixel| (luma(pixel) / white) as f32).collect()
}

fn frame<'a>(
    layout: &PixelLayout,
    data_set: &DataSet<'a>,
    index: usize,
) -> Result<Samples<'a>, RadiographError> {
    let samples = match data_set.pixels.as_ref() {
        None => return Err(RadiographError::Missing { name: "PixelData" }),
        Some(RawPixels::Native { bytes, claimed, vr }) => {
            let big_endian = data_set.syntax.encoding().big_endian && *vr != VR::UN;
            let frame = if big_endian && (layout.allocated, *vr) == (8, VR::OW) {
                // Bytes in big-endian words come in pairs, the later one first.
                let bytes: Vec<u8> =
                    bytes.chunks(2).flat_map(|pair| pair.iter().rev()).copied().collect();
                Cow::Owned(bytes[native_frame(layout, &bytes, *claimed, index)?].to_vec())
            } else {
                Cow::Borrowed(&bytes[native_frame(layout, bytes, *claimed, index)?])
            };
            Samples::native(layout, frame, big_endian)
        }
        Some(RawPixels::Encapsulated(fragments)) => {
            let stream = frame_stream(layout, fragments, index)?;
            if data_set.syntax == TransferSyntax::RleLossless {
                Samples::native(layout, rle::decode(layout, &stream)?.into(), false)
            } else {
                codestream::decode(layout, data_set.syntax, &stream)?
            }
        }
    };
    let (found, expected) = (samples.len(), layout.samples_per_frame());
    if found != expected {
        let reason = format!("{found} samples of {expected}");
        return Err(RadiographError::Decode { format: data_set.syntax.name(), reason });
    }
    match samples.lost_bit(layout) {
        None => Ok(samples),
        Some(bit) => Err(RadiographError::Value {
            name: "BitsStored",
            found: format!("{} and leaves out bit {bit} of the picture", layout.stored),
            expected: "all of its bits, the last being HighBit",
        }),
    }
}

/// Where the bytes of one uncompressed frame are.
fn native_frame(
    layout: &PixelLayout,
    bytes: &[u8],
    claimed: u64,
    index: usize,
) -> Result<Range<usize>, RadiographError> {
    if layout.is_colour() && !matches!(layout.photometric.as_str(), "RGB" | "YBR_FULL") {
        return Err(RadiographError::Value {
            name: "PhotometricInterpretation",
            found: layout.photometric.clone(),
            expected: "RGB, YBR_FULL or monochrome in uncompressed pixel data",
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
    Ok(index * length..(index + 1) * length)
}

/// The compressed bytes of one frame, joined from its fragments.
fn frame_stream<'a>(
    layout: &PixelLayout,
    Fragments { offsets, fragments }: &Fragments<'a>,
    index: usize,
) -> Result<Cow<'a, [u8]>, RadiographError> {
    let of_frame = if layout.frames == 1 {
        &fragments[..]
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
