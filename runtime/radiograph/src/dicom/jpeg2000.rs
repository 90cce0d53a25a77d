//! JPEG 2000 streams, decoded by `hayro-jpeg2000`, which has no `unsafe` code.
//!
//! Built without its features `simd` and `std`: with them it uses fused multiply-adds where a
//! processor has them, and lossy pictures would differ by processor.

use crate::{RadiographError, contain::contain, markers::u16_at};
use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

/// What the SIZ marker segment says, and the stream that begins with it.
pub(crate) struct Head<'a> {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Of each component.
    pub(super) parts: Vec<Part>,
    /// From the SIZ segment's marker on.
    pub(super) stream: &'a [u8],
}

#[derive(Clone, Copy)]
pub(super) struct Part {
    /// Bits a sample.
    pub(super) precision: u8,
    signed: bool,
}

impl<'a> Head<'a> {
    pub(crate) fn parse(stream: &'a [u8]) -> Result<Self, RadiographError> {
        let begin = &stream[..stream.len().min(1024)]; // boxes of a JP2 file may come first
        let at = begin.windows(4).position(|w| w == b"\xff\x4f\xff\x51");
        let stream = &stream[at.ok_or_else(|| damaged("no SIZ segment"))?..];
        let siz = stream.get(4..).unwrap_or_default();
        let word = |at: usize| -> Result<u32, RadiographError> {
            Ok(u32::from(u16_at(siz, at)?) << 16 | u32::from(u16_at(siz, at + 2)?))
        };
        let width = word(4)?.saturating_sub(word(12)?);
        let height = word(8)?.saturating_sub(word(16)?);
        let tiles = u64::from(width.div_ceil(word(20)?.max(1)))
            * u64::from(height.div_ceil(word(24)?.max(1)));
        if tiles > 65_535 {
            return Err(damaged(&format!("{tiles} tiles, at most 65535 are allowed")));
        }
        let components = usize::from(u16_at(siz, 36)?);
        let parts =
            siz.get(38..38 + 3 * components).ok_or_else(|| damaged("a short SIZ segment"))?;
        let parts = parts.as_chunks().0.iter().map(Part::parse).collect::<Result<_, _>>()?;
        Ok(Self { height: height as usize, width: width as usize, parts, stream })
    }

    pub(crate) fn components(&self) -> usize {
        self.parts.len()
    }

    /// The samples, row by row, side by side; of negative ones the lowest bits. Their number must have
    /// been bounded.
    pub(crate) fn decode(&self) -> Result<Vec<u16>, RadiographError> {
        refuse_unknown_coding(self.stream, self.parts.len())?;
        contain("JPEG 2000", || {
            let settings = DecodeSettings {
                resolve_palette_indices: false,
                strict: true,
                target_resolution: None,
            };
            let image = Image::new(self.stream, &settings)?;
            let mut context = DecoderContext::default();
            let decoded = image.decode(&mut context)?;
            let planes: Vec<_> = decoded.components().iter().map(|part| part.samples()).collect();
            let pixels = self.height * self.width;
            if planes.len() != self.parts.len() || planes.iter().any(|plane| plane.len() != pixels)
            {
                return Ok(None);
            }
            let mut samples = vec![0; pixels * planes.len()];
            for (first, (plane, part)) in planes.iter().zip(&self.parts).enumerate() {
                let places = samples[first..].iter_mut().step_by(planes.len());
                places.zip(*plane).for_each(|(place, sample)| *place = part.sample(*sample));
            }
            Ok::<_, hayro_jpeg2000::DecodeError>(Some(samples))
        })?
        .ok_or_else(|| damaged("its components are not of one size"))
    }
}

impl Part {
    fn parse([depth, across, down]: &[u8; 3]) -> Result<Self, RadiographError> {
        if [*across, *down] != [1, 1] {
            return Err(damaged("subsampled components are not supported"));
        }
        let (precision, signed) = ((depth & 0x7F) + 1, depth & 0x80 != 0);
        if precision > 16 {
            return Err(damaged(&format!("{precision} bits a sample, expected at most 16")));
        }
        Ok(Self { precision, signed })
    }

    /// The nearest whole number of the precision; ties go to the even one, as with OpenJPEG. The
    /// decoder takes signed samples for unsigned ones, half of the range too high.
    pub(super) fn sample(self, decoded: f32) -> u16 {
        const ROUNDING: f32 = (1 << 23) as f32; // adding it leaves no bits for a fraction
        let white: f32 = (u16::MAX >> (16 - self.precision)).into();
        let bits = (decoded.clamp(0.0, white) + ROUNDING).to_bits() as u16;
        if self.signed { bits.wrapping_sub(1 << (self.precision - 1)) } else { bits }
    }

    /// A sample of the precision from a whole number around zero.
    pub(super) fn whole(self, decoded: i32) -> u16 {
        let half = 1 << (self.precision - 1);
        let sample = decoded.clamp(-half, half - 1);
        (if self.signed { sample } else { sample + half }) as u16
    }
}

/// Refuses what the decoder would take for something else: extensions, HTJ2K among them, and tiles of
/// a colour picture that are coded in ways of their own. What is damaged, the decoder refuses.
fn refuse_unknown_coding(stream: &[u8], components: usize) -> Result<(), RadiographError> {
    let (mut at, mut next_tile) = (2, None);
    while let (Ok(marker), Ok(length)) = (u16_at(stream, at), u16_at(stream, at + 2)) {
        let body = stream.get(at + 4..).unwrap_or_default();
        // COD: style, progression, layers, transform; levels, width, height, style of blocks.
        let blocks = match marker {
            SOD | EOC => {
                let Some(tile) = next_tile.filter(|tile| *tile > at) else { return Ok(()) };
                at = tile;
                continue;
            }
            SOT => {
                let size = body.get(2..).and_then(|body| body.first_chunk());
                let size = size.map_or(0, |size| u32::from_be_bytes(*size) as usize);
                next_tile = Some(at + size);
                None
            }
            COD if next_tile.is_some() && components > 1 => {
                return Err(damaged("tiles of different coding are not supported"));
            }
            COD => body.get(8),
            COC => body.get(5),
            _ => None,
        };
        if marker == CAP || blocks.is_some_and(|style| style & HIGH_THROUGHPUT != 0) {
            return Err(damaged("extensions such as HTJ2K are not of this transfer syntax"));
        }
        at += 2 + usize::from(length);
    }
    Ok(())
}

const CAP: u16 = 0xFF50;
const COD: u16 = 0xFF52;
const COC: u16 = 0xFF53;
const SOT: u16 = 0xFF90;
const SOD: u16 = 0xFF93;
const EOC: u16 = 0xFFD9;
const HIGH_THROUGHPUT: u8 = 0x40;

fn damaged(reason: &str) -> RadiographError {
    RadiographError::Decode { format: "JPEG 2000", reason: reason.into() }
}
