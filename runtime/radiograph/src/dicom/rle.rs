//! RLE Lossless (PS3.5 annex G): one PackBits segment for every byte of a sample.

use super::pixel_layout::PixelLayout;
use crate::RadiographError;

/// Little-endian samples of one frame, side by side or in planes as the layout says.
///
/// Segments hold, sample by sample, the most significant bytes first.
pub(crate) fn decode(layout: &PixelLayout, stream: &[u8]) -> Result<Vec<u8>, RadiographError> {
    let width = layout.bytes_per_sample();
    let pixels = layout.rows * layout.columns;
    let expected = layout.samples * width;
    let mut words = stream.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
    let header: Vec<usize> = words.by_ref().take(16).map(|word| word as usize).collect();
    let count = header.first().copied().unwrap_or_default();
    if header.len() < 16 || count != expected {
        return Err(damaged(format!("{count} segments, expected {expected}")));
    }
    let mut frame = vec![0; pixels * expected];
    for segment in 0..count {
        let start = header[1 + segment];
        let end = if segment + 1 < count { header[2 + segment] } else { stream.len() };
        let bytes = stream
            .get(start..end)
            .filter(|_| start >= 64)
            .ok_or_else(|| damaged(format!("segment {segment} is at bytes {start}..{end}")))?;
        let plane = unpack(bytes, pixels).ok_or_else(|| {
            damaged(format!("segment {segment} ends before its {pixels} bytes are complete"))
        })?;
        let (sample, byte) = (segment / width, width - 1 - segment % width);
        // Planes stay planes, so that the layout's own planar configuration is made true.
        let (first, step) = if layout.planar {
            (sample * pixels * width + byte, width)
        } else {
            (sample * width + byte, expected)
        };
        for (cell, value) in frame[first..].iter_mut().step_by(step).zip(plane) {
            *cell = value;
        }
    }
    Ok(frame)
}

/// `count` bytes; `None` if `packed` ends before.
fn unpack(mut packed: &[u8], count: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let (control, rest) = packed.split_first()?;
        packed = match control {
            0..=127 => {
                let (literal, rest) = rest.split_at_checked(usize::from(*control) + 1)?;
                out.extend_from_slice(literal);
                rest
            }
            128 => rest,
            _ => {
                let (value, rest) = rest.split_first()?;
                out.resize(out.len() + 257 - usize::from(*control), *value);
                rest
            }
        };
    }
    out.truncate(count);
    Some(out)
}

fn damaged(reason: String) -> RadiographError {
    RadiographError::Decode { format: "RLE", reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the TIFF specification, from which DICOM takes PackBits.
    #[test]
    fn packbits_unpacks_the_published_example() {
        let packed = *b"\xfe\xaa\x02\x80\x00\x2a\xfd\xaa\x03\x80\x00\x2a\x22\xf7\xaa";
        let unpacked = *b"\xaa\xaa\xaa\x80\x00\x2a\xaa\xaa\xaa\xaa\x80\x00\x2a\x22\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa";
        assert_eq!(unpack(&packed, unpacked.len()).unwrap(), unpacked);
        assert_eq!(unpack(&packed, unpacked.len() + 1), None);
    }
}
