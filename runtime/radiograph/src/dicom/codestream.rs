//! JPEG, JPEG-LS and JPEG 2000 streams inside DICOM → stored values.

use super::{TransferSyntax, pixels::PixelLayout};
use crate::{RadiographError, contain::contain};
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

/// Stored values of the picture in `stream`, which must be of the size the header says.
pub(crate) fn decode(
    layout: &PixelLayout,
    syntax: TransferSyntax,
    stream: &[u8],
) -> Result<Vec<i32>, RadiographError> {
    match syntax {
        TransferSyntax::JpegLsLossless | TransferSyntax::JpegLs => jpeg_ls(layout, stream),
        TransferSyntax::Jpeg2000Lossless | TransferSyntax::Jpeg2000 => jpeg_2000(layout, stream),
        _ => jpeg(layout, stream),
    }
}

fn jpeg(layout: &PixelLayout, stream: &[u8]) -> Result<Vec<i32>, RadiographError> {
    let mut decoder = Decoder::new(stream);
    decoder.set_max_decoding_buffer_size(layout.samples_per_frame() * 2);
    if layout.is_colour() {
        let is_rgb = layout.photometric == "RGB";
        let transform = if is_rgb { ColorTransform::RGB } else { ColorTransform::YCbCr };
        decoder.set_color_transform(transform);
    }
    let info = contain("JPEG", || decoder.read_info().map(|()| decoder.info()))?;
    let Some(info) = info else {
        return Err(RadiographError::Decode { format: "JPEG", reason: "no frame".into() });
    };
    let samples = match info.pixel_format {
        PixelFormat::L8 | PixelFormat::L16 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::CMYK32 => 4,
    };
    check_size(layout, [info.height.into(), info.width.into(), samples])?;
    let bytes = contain("JPEG", || decoder.decode())?;
    let width = bytes.len() / layout.samples_per_frame();
    let values: Vec<i32> = if width == 2 {
        let words = bytes.as_chunks().0.iter(); // of this machine's own byte order
        words.map(|word| layout.value(u16::from_ne_bytes(*word).into())).collect()
    } else {
        bytes.iter().map(|byte| layout.value((*byte).into())).collect()
    };
    Ok(values)
}

#[cfg(not(feature = "jpegls"))]
fn jpeg_ls(_: &PixelLayout, _: &[u8]) -> Result<Vec<i32>, RadiographError> {
    Err(RadiographError::Feature { name: "JPEG-LS", feature: "jpegls" })
}

#[cfg(not(feature = "jpeg2000"))]
fn jpeg_2000(_: &PixelLayout, _: &[u8]) -> Result<Vec<i32>, RadiographError> {
    Err(RadiographError::Feature { name: "JPEG 2000", feature: "jpeg2000" })
}

/// `[height, width, samples]` of the stream must be those of the header.
fn check_size(layout: &PixelLayout, found: [usize; 3]) -> Result<(), RadiographError> {
    let expected = [layout.rows, layout.columns, layout.samples];
    if found == expected {
        return Ok(());
    }
    let words = |[rows, columns, samples]: [usize; 3]| {
        format!("{columns} columns x {rows} rows x {samples} samples")
    };
    Err(RadiographError::Disagree { found: words(found), expected: words(expected) })
}
