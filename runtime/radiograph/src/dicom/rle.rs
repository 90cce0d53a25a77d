//! RLE Lossless (PS3.5 annex G): one PackBits segment for every byte of a sample.

use super::pixel_layout::PixelLayout;
use crate::RadiographError;

/// Little-endian samples of one frame, side by side or in planes as the layout says.
///
/// Segments hold, sample by sample, the most significant bytes first. They are unpacked together,
/// part by part: what they unpack to would fill as much memory as the frame.
pub(crate) fn decode(layout: &PixelLayout, stream: &[u8]) -> Result<Vec<u8>, RadiographError> {
    let width = layout.bytes_per_sample();
    let pixels = layout.rows * layout.columns;
    let segments = segments(stream, layout.samples * width)?;
    let mut segments: Vec<Segment<'_>> = segments.into_iter().map(Segment::new).collect();
    let mut frame = vec![0; pixels * segments.len()];
    for first in (0..pixels).step_by(PART) {
        let count = PART.min(pixels - first);
        for (number, segment) in segments.iter_mut().enumerate() {
            segment.unpack(count).ok_or_else(|| {
                damaged(format!("segment {number} ends before its {pixels} bytes are complete"))
            })?;
        }
        if let [high, low] = &mut segments[..] {
            let pairs = frame[2 * first..].as_chunks_mut().0.iter_mut();
            let halves = low.bytes[..count].iter().zip(&high.bytes[..count]);
            pairs.zip(halves).for_each(|(pair, (low, high))| *pair = [*low, *high]);
        } else {
            for (number, segment) in segments.iter().enumerate() {
                let (sample, byte) = (number / width, width - 1 - number % width);
                // Planes stay planes, so that the layout's own planar configuration is made true.
                let (start, step) = match layout.planar {
                    true => ((sample * pixels + first) * width, width),
                    false => ((first * layout.samples + sample) * width, segments.len()),
                };
                let cells = frame[start + byte..].iter_mut().step_by(step);
                cells.zip(&segment.bytes[..count]).for_each(|(cell, value)| *cell = *value);
            }
        }
        for segment in &mut segments {
            // Makes room: the first `count` have been used.
            segment.bytes.copy_within(count..segment.count, 0);
            segment.count -= count;
        }
    }
    Ok(frame)
}

/// Bytes of a segment that are unpacked at once.
const PART: usize = 4096;

/// The `expected` segments that the header lists.
fn segments(stream: &[u8], expected: usize) -> Result<Vec<&[u8]>, RadiographError> {
    let words = stream.as_chunks().0.iter().take(16);
    let header: Vec<usize> = words.map(|word| u32::from_le_bytes(*word) as usize).collect();
    let count = header.first().copied().unwrap_or_default();
    if header.len() < 16 || count != expected {
        return Err(damaged(format!("{count} segments, expected {expected}")));
    }
    let segment = |segment: usize| {
        let start = header[1 + segment];
        let end = if segment + 1 < count { header[2 + segment] } else { stream.len() };
        let bytes = stream.get(start..end).filter(|_| start >= 64);
        bytes.ok_or_else(|| damaged(format!("segment {segment} is at bytes {start}..{end}")))
    };
    (0..count).map(segment).collect()
}

struct Segment<'a> {
    packed: &'a [u8],
    /// The first `count` have been unpacked.
    bytes: Vec<u8>,
    count: usize,
}

impl<'a> Segment<'a> {
    fn new(packed: &'a [u8]) -> Self {
        Self { packed, bytes: vec![0; PART + LONGEST], count: 0 }
    }

    /// At least `count` bytes; `None` if there are not so many.
    fn unpack(&mut self, count: usize) -> Option<()> {
        while self.count < count {
            let out = &mut self.bytes[self.count..];
            let (length, rest) = match short_packet(self.packed, out) {
                Some(packet) => packet,
                None => any_packet(self.packed, out)?,
            };
            self.packed = rest;
            self.count += length;
        }
        Some(())
    }
}

/// What one packet adds at most.
const LONGEST: usize = 128;

/// A packet of at most 16 bytes, as most are: how many, and what follows it.
///
/// It writes 16, and the next packet overwrites what is too much; a run and a literal differ in what
/// is selected only. Where the lower bits are noise, nobody could predict branches.
#[inline(always)]
fn short_packet<'a>(packed: &'a [u8], out: &mut [u8]) -> Option<(usize, &'a [u8])> {
    let [control, next @ ..] = packed.first_chunk::<17>()?;
    let is_literal = *control < 128;
    let length = usize::from(if is_literal { *control } else { !*control + 1 }) + 1;
    if length > 16 || *control == 128 {
        return None;
    }
    let words = next.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    let run = u64::from_ne_bytes([next[0]; 8]);
    for (to, word) in out.first_chunk_mut::<16>()?.as_chunks_mut().0.iter_mut().zip(words) {
        *to = (if is_literal { word } else { run }).to_ne_bytes();
    }
    Some((length, &packed[1 + if is_literal { length } else { 1 }..]))
}

/// As [`short_packet`], of any length; `out` has room for the longest.
fn any_packet<'a>(packed: &'a [u8], out: &mut [u8]) -> Option<(usize, &'a [u8])> {
    let (control, rest) = packed.split_first()?;
    match control {
        0..=127 => {
            let length = usize::from(*control) + 1;
            let (literal, rest) = rest.split_at_checked(length)?;
            out[..length].copy_from_slice(literal);
            Some((length, rest))
        }
        128 => Some((0, rest)),
        _ => {
            let length = 257 - usize::from(*control);
            let (value, rest) = rest.split_first()?;
            out[..length].fill(*value);
            Some((length, rest))
        }
    }
}

fn damaged(reason: String) -> RadiographError {
    RadiographError::Decode { format: "RLE", reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &[u8], count: usize) -> Option<Vec<u8>> {
        let mut segment = Segment::new(packed);
        segment.unpack(count)?;
        Some(segment.bytes[..count].to_vec())
    }

    /// The example of the TIFF specification, from which DICOM takes PackBits.
    #[test]
    fn packbits_unpacks_the_published_example() {
        let packed = *b"\xfe\xaa\x02\x80\x00\x2a\xfd\xaa\x03\x80\x00\x2a\x22\xf7\xaa";
        let unpacked = *b"\xaa\xaa\xaa\x80\x00\x2a\xaa\xaa\xaa\xaa\x80\x00\x2a\x22\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa";
        assert_eq!(unpack(&packed, unpacked.len()).unwrap(), unpacked);
        assert_eq!(unpack(&packed, unpacked.len() + 1), None);
    }
}
