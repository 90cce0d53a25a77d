//! JPEG files: grey, colour and CMYK pictures of 8 bits a sample, as displayed.
//!
//! Decoded by `jpeg-decoder` without CPU-specific code: faster decoders round differently from CPU
//! to CPU. What its colours are and which way up it is, we find out ourselves.

use crate::{
    Image, RadiographError,
    cells::Cells,
    contain::contain,
    exif::Orientation,
    limits,
    markers::{Frame, SOS, Segments, is_frame},
    raster::{self, luma},
    size,
};
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

pub(crate) fn read(bytes: &[u8]) -> Result<Image<'static>, RadiographError> {
    let head = Head::read(bytes)?;
    let mut decoder = Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(limits::FRAME as usize * 4);
    decoder.set_color_transform(head.colours.transform());
    let decoded = contain("JPEG", || decoder.decode())?;
    let format = decoder.info().map(|info| info.pixel_format);
    let Frame { height, width, .. } = head.frame;
    let pixels = match (head.colours, format) {
        (Colours::Grey, Some(PixelFormat::L8)) => {
            let cells = Cells::Bytes(decoded.into());
            return head.orientation.apply(raster::cells(height, width, cells, 255.0)?);
        }
        (Colours::Rgb | Colours::YCbCr, Some(PixelFormat::RGB24)) => {
            raster::colour(&decoded, 3, 255.0)
        }
        (Colours::Cmyk | Colours::Ycck, Some(PixelFormat::CMYK32)) => {
            // Luma of inks (255: all of it) on white paper, as Pillow's `convert("L")`.
            let paper = |ink: u8| f64::from(255 - ink) / 255.0;
            let pixel = |[c, m, y, k]: &[u8; 4]| {
                luma([*c, *m, *y].map(|ink| paper(ink) * paper(*k))) as f32
            };
            decoded.as_chunks().0.iter().map(pixel).collect()
        }
        (_, found) => {
            let reason = format!("{found:?} pixels, expected those of its header");
            return Err(RadiographError::Decode { format: "JPEG", reason });
        }
    };
    head.orientation.apply(Image::new(height, width, pixels)?)
}

/// What stands before the first scan.
pub(crate) struct Head {
    frame: Frame,
    colours: Colours,
    orientation: Orientation,
}

impl Head {
    /// Refuses whatever [`read`] would refuse before decoding.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, RadiographError> {
        let mut segments = Segments { rest: bytes };
        let (mut frame, mut is_jfif, mut adobe, mut exif) = (None, false, None, None);
        loop {
            match segments.next()? {
                (SOS, _) => break,
                (marker, body) if is_frame(marker) => {
                    let ids = body.get(6..).unwrap_or_default().chunks(3).map(|part| part[0]);
                    frame = frame.or(Some((Frame::parse(marker, body)?, ids.collect::<Vec<_>>())));
                }
                (APP0, [b'J', b'F', b'I', b'F', 0, ..]) => is_jfif = true,
                (APP1, [b'E', b'x', b'i', b'f', 0, _, data @ ..]) => exif = exif.or(Some(data)),
                (APP14, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => {
                    adobe = Some(*transform);
                }
                _ => {}
            }
        }
        let failed = |reason: String| RadiographError::Decode { format: "JPEG", reason };
        let (frame, ids) = frame.ok_or_else(|| failed("no frame".into()))?;
        size::check_frame(frame.height as u64, frame.width as u64, 1)?;
        if frame.precision != 8 {
            return Err(failed(format!("{} bits a sample, expected 8", frame.precision)));
        }
        let colours = Colours::of(&frame, &ids, is_jfif, adobe).ok_or_else(|| {
            failed(format!(
                "{} components, expected 1, 3, or 4 with Adobe's marker",
                frame.components
            ))
        })?;
        let orientation = exif.map_or(Orientation::UPRIGHT, Orientation::of_exif);
        Ok(Self { frame, colours, orientation })
    }

    /// Displayed `[height, width]`.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.orientation.size([self.frame.height, self.frame.width])
    }
}

const APP0: u8 = 0xE0;
const APP1: u8 = 0xE1;
const APP14: u8 = 0xEE;

/// What the components mean, by libjpeg's rules, which every viewer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    Grey,
    Rgb,
    YCbCr,
    /// The complements of the inks, as Adobe's programs store them. Without their marker nobody knows
    /// whether it is the inks themselves.
    Cmyk,
    Ycck,
}

impl Colours {
    fn of(frame: &Frame, ids: &[u8], is_jfif: bool, adobe: Option<u8>) -> Option<Self> {
        Some(match (frame.components, adobe) {
            (1, _) => Self::Grey,
            (3, _) if is_jfif => Self::YCbCr,
            (3, Some(0)) => Self::Rgb,
            (3, Some(_)) => Self::YCbCr,
            (3, None) if ids == b"RGB" => Self::Rgb,
            (3, None) => Self::YCbCr,
            (4, Some(0)) => Self::Cmyk,
            (4, Some(_)) => Self::Ycck,
            _ => return None,
        })
    }

    fn transform(self) -> ColorTransform {
        match self {
            Self::Grey => ColorTransform::Grayscale,
            Self::Rgb => ColorTransform::RGB,
            Self::YCbCr => ColorTransform::YCbCr,
            Self::Cmyk => ColorTransform::CMYK,
            Self::Ycck => ColorTransform::YCCK,
        }
    }
}
