//! PNG and JPEG: grey pictures that are already displayed.

use crate::{Image, RadiographError, contain::contain, limits};
use image::{DynamicImage, ImageDecoder, codecs::png::PngDecoder};
use jpeg_decoder::{Decoder, PixelFormat};
use std::io::Cursor;

/// 1 to 16 bits a sample, grey, colour or palette; transparency is ignored.
pub(crate) fn png(bytes: &[u8]) -> Result<Image, RadiographError> {
    let size = contain("PNG", || PngDecoder::new(Cursor::new(bytes)))?.dimensions();
    limits::check(size.1.into(), size.0.into(), 1)?;
    let picture = contain("PNG", || {
        let mut allowed = image::Limits::default();
        allowed.max_alloc = Some(limits::FRAME * 8); // 16-bit RGBA
        let decoder = PngDecoder::with_limits(Cursor::new(bytes), allowed)?;
        DynamicImage::from_decoder(decoder)
    })?;
    let pixels = match &picture {
        DynamicImage::ImageLuma8(p) => grey(p, 1, 255.0),
        DynamicImage::ImageLumaA8(p) => grey(p, 2, 255.0),
        DynamicImage::ImageRgb8(p) => colour(p, 3, 255.0),
        DynamicImage::ImageRgba8(p) => colour(p, 4, 255.0),
        DynamicImage::ImageLuma16(p) => grey(p, 1, 65535.0),
        DynamicImage::ImageLumaA16(p) => grey(p, 2, 65535.0),
        DynamicImage::ImageRgb16(p) => colour(p, 3, 65535.0),
        DynamicImage::ImageRgba16(p) => colour(p, 4, 65535.0),
        _ => {
            let reason = format!("{:?} samples are not supported", picture.color());
            return Err(RadiographError::Decode { format: "PNG", reason });
        }
    };
    Image::new(picture.height() as usize, picture.width() as usize, pixels)
}

/// 8 bits a sample, grey or colour.
///
/// Decoded by `jpeg-decoder` without CPU-specific code: faster decoders round differently from
/// CPU to CPU.
pub(crate) fn jpeg(bytes: &[u8]) -> Result<Image, RadiographError> {
    let mut decoder = Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(limits::FRAME as usize * 3);
    let info = contain("JPEG", || decoder.read_info().map(|()| decoder.info()))?;
    let Some(info) = info else {
        return Err(RadiographError::Decode { format: "JPEG", reason: "no frame".into() });
    };
    let (height, width) = (info.height.into(), info.width.into());
    limits::check(height, width, 1)?;
    let samples = match info.pixel_format {
        PixelFormat::L8 => 1,
        PixelFormat::RGB24 => 3,
        found @ (PixelFormat::L16 | PixelFormat::CMYK32) => {
            let reason = format!("{found:?} pixels, expected 8-bit grey or RGB");
            return Err(RadiographError::Decode { format: "JPEG", reason });
        }
    };
    let decoded = contain("JPEG", || decoder.decode())?;
    let pixels = if samples == 1 { grey(&decoded, 1, 255.0) } else { colour(&decoded, 3, 255.0) };
    Image::new(info.height.into(), info.width.into(), pixels)
}

/// The first of every `samples` values, `white` being 1.
fn grey<T: Copy + Into<f64>>(values: &[T], samples: usize, white: f64) -> Vec<f32> {
    values.chunks_exact(samples).map(|pixel| (pixel[0].into() / white) as f32).collect()
}

/// Luma of the first three of every `samples` values, `white` being 1.
fn colour<T: Copy + Into<f64>>(values: &[T], samples: usize, white: f64) -> Vec<f32> {
    let luma = |p: &[T]| luma([p[0].into(), p[1].into(), p[2].into()]);
    values.chunks_exact(samples).map(|pixel| (luma(pixel) / white) as f32).collect()
}

/// ITU-R 601 luma, as Pillow's `convert("L")`; equal samples give exactly their value.
pub(crate) fn luma([red, green, blue]: [f64; 3]) -> f64 {
    (299.0 * red + 587.0 * green + 114.0 * blue) / 1000.0
}
