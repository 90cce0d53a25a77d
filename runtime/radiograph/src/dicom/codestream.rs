//! JPEG, JPEG-LS and JPEG 2000 streams inside DICOM → samples.

use super::{
    TransferSyntax, htj2k, jpeg_lossless, jpeg_ls, jpeg12, jpeg2000, pixel_layout::PixelLayout,
    samples::Samples,
};
use crate::{RadiographError, cells::Cells, contain::contain, markers::Frame};
use jpeg_decoder::{ColorTransform, Decoder};

/// Samples of the picture in `stream`, which must be of the size the header says.
pub(crate) fn decode(
    layout: &PixelLayout,
    syntax: TransferSyntax,
    stream: &[u8],
) -> Result<Samples<'static>, RadiographError> {
    match syntax {
        TransferSyntax::JpegLsLossless | TransferSyntax::JpegLs => {
            let frame = Frame::find(stream)?;
            check_size(layout, [frame.height, frame.width, frame.components])?;
            Ok(Samples::decoded(layout, Cells::Words(jpeg_ls::decode(stream, &frame)?)))
        }
        TransferSyntax::Jpeg2000Lossless
        | TransferSyntax::Jpeg2000
        | TransferSyntax::Htj2kLossless
        | TransferSyntax::Htj2kLosslessByResolution
        | TransferSyntax::Htj2k => {
            let head = jpeg2000::Head::parse(stream)?;
            check_size(layout, [head.height, head.width, head.components()])?;
            let samples = match syntax {
                TransferSyntax::Jpeg2000Lossless | TransferSyntax::Jpeg2000 => head.decode()?,
                _ => htj2k::decode(&head)?,
            };
            Ok(Samples::decoded(layout, Cells::Words(samples)))
        }
        _ => jpeg(layout, stream),
    }
}

fn jpeg(layout: &PixelLayout, stream: &[u8]) -> Result<Samples<'static>, RadiographError> {
    let frame = Frame::find(stream)?;
    check_size(layout, [frame.height, frame.width, frame.components])?;
    let samples = if jpeg12::is_meant_for(&frame) {
        Some(jpeg12::decode(stream, &frame)?)
    } else if jpeg_lossless::is_meant_for(&frame) {
        Some(jpeg_lossless::decode(stream, &frame)?)
    } else {
        None
    };
    if let Some(samples) = samples {
        return Ok(Samples::decoded(layout, Cells::Words(samples)));
    }
    let mut decoder = Decoder::new(stream);
    decoder.set_max_decoding_buffer_size(layout.samples_per_frame() * 2);
    if layout.is_colour() {
        let is_rgb = layout.photometric == "RGB";
        let transform = if is_rgb { ColorTransform::RGB } else { ColorTransform::YCbCr };
        decoder.set_color_transform(transform);
    }
    let bytes = contain("JPEG", || decoder.decode())?;
    let cells = match bytes.len() / layout.samples_per_frame() {
        1 => Cells::Bytes(bytes.into()),
        _ => Cells::native_pairs(bytes),
    };
    Ok(Samples { has_luma: false, ..Samples::decoded(layout, cells) })
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
