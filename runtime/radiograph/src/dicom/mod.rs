//! DICOM files: structure, header, stored values, displayed picture.
//!
//! ```text
//! part10    bytes → meta group, transfer syntax, data set (inflated if deflated)
//! scan      data set → elements and pixel data, by the reader in `elements`
//! values    values of elements       header  elements → Header, and likewise pixel_layout, display
//! attributes  elements as the file has them, for objects about the same study
//! pixels    pixel data → samples, in the file's bytes where they are not compressed
//! display   samples → cells and the grey of each value, in [0, 1]
//! ```
//!
//! dicom-object is not used: it builds nested sequences by recursion, so an adversary's 20 000
//! levels must not reach it, and takes values of VR UN for lists of bytes. Nor is dicom-pixeldata:
//! it decodes all frames, trusts lengths, and has no VOI LUT in more than 8 bits of precision.

mod attributes;
mod codestream;
mod display;
mod header;
mod htj2k;
mod huffman;
mod jpeg12;
mod jpeg2000;
mod jpeg_lossless;
mod jpeg_ls;
mod lut;
mod palette;
mod part10;
mod pixel_layout;
mod pixels;
mod rle;
mod samples;
mod scan;
mod syntax;
mod values;

pub use attributes::{Attribute, AttributeValue, attributes};
pub use header::Header;
pub(crate) use part10::meta_offset;
pub use pixels::StoredValues;
pub use syntax::TransferSyntax;

use crate::{Image, Radiograph, RadiographError, Source};
use display::Display;
use part10::Part10;
use pixel_layout::PixelLayout;
use scan::DataSet;
use std::borrow::Cow;

/// The header of a DICOM file, without looking at its pixels.
pub fn header(bytes: &[u8]) -> Result<Header, RadiographError> {
    let file = Part10::parse(bytes)?;
    let data_set = DataSet::scan(&file.data_set, file.syntax)?;
    Header::parse(&data_set.elements, file.syntax)
}

/// As [`header()`]; `bytes` may end within the pixels.
pub(crate) fn header_before_pixels(bytes: &[u8]) -> Result<Header, RadiographError> {
    let file = Part10::parse(bytes)?;
    let elements = DataSet::scan_header(&file.data_set, file.syntax)?;
    Header::parse(&elements, file.syntax)
}

/// What is stored for every sample of every frame, before any look-up table or inversion.
pub fn stored_values(bytes: &[u8]) -> Result<StoredValues, RadiographError> {
    let file = Part10::parse(bytes)?;
    let data_set = DataSet::scan(&file.data_set, file.syntax)?;
    let layout = PixelLayout::parse(&data_set.elements)?;
    pixels::all_frames(&layout, &data_set)
}

/// The first frame as displayed; uncompressed pixels stay in `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<Radiograph<'_>, RadiographError> {
    let file = Part10::parse(bytes)?;
    match file.data_set {
        Cow::Borrowed(data_set) => displayed(data_set, file.syntax),
        Cow::Owned(inflated) => Ok(displayed(&inflated, file.syntax)?.into_owned()),
    }
}

fn displayed(bytes: &[u8], syntax: TransferSyntax) -> Result<Radiograph<'_>, RadiographError> {
    let data_set = DataSet::scan(bytes, syntax)?;
    let header = Header::parse(&data_set.elements, syntax)?;
    let layout = PixelLayout::parse(&data_set.elements)?;
    let samples = pixels::first_frame(&layout, &data_set)?;
    let layout = layout.with_stored(samples.stored);
    let image = if layout.is_colour() {
        Image::new(layout.rows, layout.columns, pixels::luma(&layout, &samples))?
    } else {
        Display::parse(&data_set.elements, &layout)?.image(&layout, samples)?
    };
    Ok(Radiograph { image, source: Source::Dicom(Box::new(header)) })
}
