//! Marker segments, which JPEG and JPEG-LS streams begin with (T.81 annex B).

use crate::RadiographError;

pub(crate) const SOI: u8 = 0xD8;
pub(crate) const EOI: u8 = 0xD9;
pub(crate) const SOS: u8 = 0xDA;
pub(crate) const DRI: u8 = 0xDD;

/// Marker segments before the entropy-coded data, which is `rest` after [`SOS`].
pub(crate) struct Segments<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Segments<'a> {
    /// A marker and what belongs to it.
    pub(crate) fn next(&mut self) -> Result<(u8, &'a [u8]), RadiographError> {
        loop {
            match self.rest {
                [0xFF, 0xFF, ..] => self.rest = &self.rest[1..], // fill byte
                [0xFF, SOI | 0x00 | 0x01 | 0xD0..=0xD7, rest @ ..] => self.rest = rest,
                [0xFF, EOI, ..] | [] => return Err(damaged("ends before its picture begins")),
                [0xFF, marker, rest @ ..] => {
                    let length = usize::from(u16_at(rest, 0)?);
                    let body = rest.get(2..length).ok_or_else(|| damaged("cut in a segment"))?;
                    self.rest = &rest[length..];
                    return Ok((*marker, body));
                }
                [_, rest @ ..] => self.rest = rest, // stray bytes, which libjpeg passes over too
            }
        }
    }
}

/// What a frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bits a sample.
    pub(crate) precision: u8,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) components: usize,
    /// The marker: `SOF0` … `SOF15`, or `SOF55` of JPEG-LS.
    pub(crate) process: u8,
    /// The quantization table of the first component.
    pub(crate) quantization: usize,
}

impl Frame {
    /// Of the first frame in a stream.
    pub(crate) fn find(stream: &[u8]) -> Result<Self, RadiographError> {
        let mut segments = Segments { rest: stream };
        loop {
            let (marker, body) = segments.next()?;
            if is_frame(marker) {
                return Self::parse(marker, body);
            }
        }
    }

    pub(crate) fn parse(process: u8, body: &[u8]) -> Result<Self, RadiographError> {
        let [precision, h1, h0, w1, w0, components, _id, _sampling, quantization, ..] = *body
        else {
            return Err(damaged("frame header is too short"));
        };
        Ok(Self {
            precision,
            height: u16::from_be_bytes([h1, h0]).into(),
            width: u16::from_be_bytes([w1, w0]).into(),
            components: components.into(),
            process,
            quantization: usize::from(quantization & 3),
        })
    }
}

/// SOF0 … SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS.
pub(crate) fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF | 0xF7) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, RadiographError> {
    match bytes.get(at..) {
        Some([high, low, ..]) => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(damaged("cut in a segment")),
    }
}

/// Whether one of the eight bytes is 0xFF: the first of a marker, or stuffed.
#[inline(always)]
pub(crate) fn has_ones(bytes: u64) -> bool {
    const LOWEST: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = u64::from_ne_bytes([128; 8]);
    let zeros = !bytes;
    zeros.wrapping_sub(LOWEST) & bytes & HIGHEST != 0
}

fn damaged(reason: &str) -> RadiographError {
    RadiographError::Decode { format: "JPEG", reason: reason.into() }
}
