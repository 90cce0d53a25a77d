//! JPEG 2000 streams, decoded by a Rust translation of OpenJPEG.
//!
//! That translation is full of `unsafe` code, which is why this is a cargo feature and off by
//! default: a panic in it is contained, a wrong memory access would not be.

use super::{pixel_layout::PixelLayout, samples::Store};
use crate::{RadiographError, cells::Cells, contain::contain};
use jpeg2k::{DecodeParameters, Image};

/// `[height, width, components]` from the SIZ marker segment.
pub(crate) fn size(stream: &[u8]) -> Result<[usize; 3], RadiographError> {
    let begin = &stream[..stream.len().min(1024)]; // boxes of a JP2 file may come first
    let marker = begin.windows(4).position(|w| w == b"\xff\x4f\xff\x51");
    let siz = marker.and_then(|at| stream.get(at + 4..at + 42));
    let siz = siz.ok_or_else(|| damaged("no SIZ segment".into()))?;
    let word = |at: usize| u32::from_be_bytes([siz[at], siz[at + 1], siz[at + 2], siz[at + 3]]);
    let width = word(4).saturating_sub(word(12));
    let height = word(8).saturating_sub(word(16));
    let tiles =
        u64::from(width.div_ceil(word(20).max(1))) * u64::from(height.div_ceil(word(24).max(1)));
    if tiles > 65_535 {
        return Err(damaged(format!("{tiles} tiles, at most 65535 are allowed")));
    }
    let components = u16::from_be_bytes([siz[36], siz[37]]);
    Ok([height as usize, width as usize, components.into()])
}

/// Samples; the stream's size must have been compared with the header's.
pub(crate) fn decode(
    layout: &PixelLayout,
    stream: &[u8],
) -> Result<Store<'static>, RadiographError> {
    let components: Vec<Vec<i32>> = contain("JPEG 2000", || {
        let image = Image::from_bytes_with(stream, DecodeParameters::new().strict(true))?;
        Ok::<_, jpeg2k::error::Error>(
            image.components().iter().map(|c| c.data().to_vec()).collect(),
        )
    })?;
    let pixels = layout.rows * layout.columns;
    if components.len() != layout.samples || components.iter().any(|c| c.len() != pixels) {
        return Err(damaged("its components are not of one size".into()));
    }
    let samples = (0..pixels).flat_map(|i| components.iter().map(move |c| c[i]));
    Ok(if layout.stored > 16 {
        let bytes = samples.flat_map(i32::to_le_bytes).collect();
        Store::Quads { bytes, big_endian: false }
    } else {
        Store::Cells(Cells::Words(samples.map(|sample| sample as u16).collect()))
    })
}

fn damaged(reason: String) -> RadiographError {
    RadiographError::Decode { format: "JPEG 2000", reason }
}
