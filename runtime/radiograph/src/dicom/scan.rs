//! A data set cut into its elements and pixel data. Reading stops at the pixel data, so that what follows it (padding,
//! signatures, garbage) cannot do harm.

use super::{TransferSyntax, values::Elements};
use crate::{
    RadiographError,
    elements::{Fragments, Head, Reader},
    limits,
};
use dicom_core::VR;
use dicom_dictionary_std::tags;

/// A data set cut into its top-level elements.
pub(crate) struct DataSet<'a> {
    pub(crate) syntax: TransferSyntax,
    /// Elements before the pixel data.
    pub(crate) elements: Elements<'a>,
    pub(crate) pixels: Option<RawPixels<'a>>,
}

/// The value of `PixelData`.
pub(crate) enum RawPixels<'a> {
    Native {
        /// As many as are there, which may be fewer than claimed.
        bytes: &'a [u8],
        claimed: u64,
        vr: VR,
    },
    Encapsulated(Fragments<'a>),
}

impl<'a> DataSet<'a> {
    pub(crate) fn scan(bytes: &'a [u8], syntax: TransferSyntax) -> Result<Self, RadiographError> {
        let mut reader = Reader::new(bytes, syntax.encoding());
        let (elements, pixels) = top_level(&mut reader)?;
        let Some(head) = pixels else { return Ok(Self { syntax, elements, pixels: None }) };
        let bytes = reader.rest();
        let pixels = match head.length {
            Some(length) if !syntax.is_encapsulated() => RawPixels::Native {
                bytes: &bytes[..bytes.len().min(length as usize)],
                claimed: length.into(),
                vr: head.vr.unwrap_or(VR::OW),
            },
            None if syntax.is_encapsulated() => RawPixels::Encapsulated(reader.fragments()?),
            length => {
                let found = if length.is_some() { "one value" } else { "fragments" };
                let name = syntax.name();
                let reason = format!("pixel data is {found}, which {name} does not allow");
                return Err(RadiographError::Structure(reason));
            }
        };
        Ok(Self { syntax, elements, pixels: Some(pixels) })
    }

    /// The elements before the pixel data, if there is any.
    pub(super) fn scan_top_level(
        bytes: &'a [u8],
        syntax: TransferSyntax,
    ) -> Result<Elements<'a>, RadiographError> {
        Ok(top_level(&mut Reader::new(bytes, syntax.encoding()))?.0)
    }

    /// The elements before the pixel data, within which `bytes` may end.
    pub(crate) fn scan_header(
        bytes: &'a [u8],
        syntax: TransferSyntax,
    ) -> Result<Elements<'a>, RadiographError> {
        let (elements, pixels) = top_level(&mut Reader::new(bytes, syntax.encoding()))?;
        pixels.map(|_| elements).ok_or(RadiographError::Missing { name: "PixelData" })
    }
}

/// Every element before the pixel data, and the head of that if it is there.
fn top_level<'a>(reader: &mut Reader<'a>) -> Result<(Elements<'a>, Option<Head>), RadiographError> {
    let mut found = Vec::new();
    let mut pixels = None;
    while !reader.is_at_end() {
        let head = reader.head()?;
        if head.tag == tags::PIXEL_DATA {
            pixels = Some(head);
            break;
        }
        found.push(reader.rest_of(&head)?);
        if reader.position() > limits::HEADER_BYTES {
            let reason = format!("more than {} bytes of header", limits::HEADER_BYTES);
            return Err(RadiographError::Structure(reason));
        }
    }
    Ok((Elements::top_level(found)?, pixels))
}
