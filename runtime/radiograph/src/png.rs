//! PNG files: pictures of 1 to 16 bits a sample, as displayed.

use crate::{
    Image, RadiographError,
    cells::Cells,
    contain::contain,
    exif::Orientation,
    limits,
    raster::{self, colour, grey},
    size,
};
use image::{DynamicImage, codecs::png::PngDecoder};
use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// The picture, and how many of the highest bits none of its 16-bit samples uses.
///
/// Transparency is ignored. PNG demands that samples be scaled to the whole range; some writers leave
/// 12 bits in 16 as they are. Where an sBIT chunk says so and no sample contradicts it, white is
/// 2¹²−1 and no bit is unused. Otherwise the picture is as dark as it is stored.
pub(crate) fn read(bytes: &[u8]) -> Result<(Image<'static>, u32), RadiographError> {
    let head = Head::read(&mut Cursor::new(bytes))?;
    let picture = contain("PNG", || {
        let mut allowed = image::Limits::default();
        allowed.max_alloc = Some(limits::FRAME * 8); // 16-bit RGBA
        let decoder = PngDecoder::with_limits(Cursor::new(bytes), allowed)?;
        DynamicImage::from_decoder(decoder)
    })?;
    let (mut unused, mut white) = (0, 65535.0);
    if let Some((samples, channels)) = sixteen_bits(&picture) {
        let colours = if channels > 2 { 3 } else { 1 };
        let samples = samples.chunks_exact(channels).flat_map(|pixel| &pixel[..colours]);
        let all = samples.clone().fold(0, |all, sample| all | sample);
        unused = all.leading_zeros();
        // Unscaled samples use the lower bits alone. Scaled ones that are as small have zeros there.
        let is_unscaled =
            |bits: &u32| *bits < 16 && all >> *bits == 0 && all & ((1 << (16 - *bits)) - 1) != 0;
        if let Some(bits) = head.significant_bits.filter(is_unscaled) {
            (unused, white) = (0, f64::from((1u32 << bits) - 1));
        }
    }
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let image = |pixels| Image::new(height, width, pixels);
    let image = match picture {
        DynamicImage::ImageLuma8(p) => {
            raster::cells(height, width, Cells::Bytes(p.into_raw().into()), 255.0)
        }
        DynamicImage::ImageLumaA8(p) => image(grey(&p, 2, 255.0)),
        DynamicImage::ImageRgb8(p) => image(colour(&p, 3, 255.0)),
        DynamicImage::ImageRgba8(p) => image(colour(&p, 4, 255.0)),
        DynamicImage::ImageLuma16(p) => {
            raster::cells(height, width, Cells::Words(p.into_raw()), white)
        }
        DynamicImage::ImageLumaA16(p) => image(grey(&p, 2, white)),
        DynamicImage::ImageRgb16(p) => image(colour(&p, 3, white)),
        DynamicImage::ImageRgba16(p) => image(colour(&p, 4, white)),
        _ => return Err(failed(format!("{:?} samples are not supported", picture.color()))),
    };
    Ok((head.orientation.apply(image?)?, unused))
}

/// Samples of 16 bits, and how many make a pixel.
fn sixteen_bits(picture: &DynamicImage) -> Option<(&[u16], usize)> {
    match picture {
        DynamicImage::ImageLuma16(p) => Some((p.as_raw(), 1)),
        DynamicImage::ImageLumaA16(p) => Some((p.as_raw(), 2)),
        DynamicImage::ImageRgb16(p) => Some((p.as_raw(), 3)),
        DynamicImage::ImageRgba16(p) => Some((p.as_raw(), 4)),
        _ => None,
    }
}

/// What we read of a file besides its pixels.
pub(crate) struct Head {
    /// Stored `[height, width]`.
    stored: [usize; 2],
    orientation: Orientation,
    /// The most of any channel, by the sBIT chunk.
    significant_bits: Option<u32>,
}

impl Head {
    /// Walks through all chunks: EXIF may stand behind the pixels.
    pub(crate) fn read(file: &mut (impl Read + Seek)) -> Result<Self, RadiographError> {
        let mut orientation = Orientation::UPRIGHT;
        let mut significant_bits = None;
        let unread = |error: io::Error| failed(error.to_string());
        let mut begin = [0; 24]; // signature, head of IHDR, width, height
        file.read_exact(&mut begin).map_err(unread)?;
        let number = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| begin[at + i]));
        if begin[12..16] != *b"IHDR" {
            return Err(failed("IHDR does not come first".into()));
        }
        let (width, height) = (number(16), number(20));
        size::check_frame(height.into(), width.into(), 1)?;
        file.seek(SeekFrom::Start(8)).map_err(unread)?;
        loop {
            let mut head = [0; 8];
            match file.read_exact(&mut head) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                read => read.map_err(unread)?,
            }
            let [a, b, c, d, kind @ ..] = head;
            let length = u32::from_be_bytes([a, b, c, d]);
            let mut data = Vec::new();
            if matches!(&kind, b"sBIT" | b"eXIf") && length <= EXIF_BYTES {
                file.take(length.into()).read_to_end(&mut data).map_err(unread)?;
            }
            match &kind {
                b"sBIT" => significant_bits = data.iter().take(3).max().map(|b| u32::from(*b)),
                b"eXIf" => orientation = Orientation::of_exif(&data),
                b"IEND" => break,
                _ => {}
            }
            let rest = i64::from(length) - data.len() as i64 + 4; // its CRC
            file.seek(SeekFrom::Current(rest)).map_err(unread)?;
        }
        Ok(Self { stored: [height as usize, width as usize], orientation, significant_bits })
    }

    /// Displayed `[height, width]`.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.orientation.size(self.stored)
    }
}

/// EXIF data is smaller wherever it came from a JPEG file.
const EXIF_BYTES: u32 = 1 << 20;

fn failed(reason: String) -> RadiographError {
    RadiographError::Decode { format: "PNG", reason }
}
