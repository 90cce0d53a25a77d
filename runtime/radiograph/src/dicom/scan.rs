//! A data set cut into its elements and pixel data. Reading stops at the pixel data, so that what follows it (padding,
//! signatures, garbage) cannot do harm.

use super::TransferSyntax;
use super::element_reader::{Encoding, RawPixels, Reader};
use super::elements::Elements;
use crate::RadiographError;

/// A data set cut into its top-level elements.
pub(crate) struct DataSet<'a> {
    pub(crate) syntax: TransferSyntax,
    /// Elements before the pixel data.
    pub(crate) elements: Elements<'a>,
    pub(crate) pixels: Option<RawPixels<'a>>,
}

impl<'a> DataSet<'a> {
    pub(crate) fn scan(bytes: &'a [u8], syntax: TransferSyntax) -> Result<Self, RadiographError> {
        let mut reader = Reader::new(bytes, Encoding::of(syntax));
        let (found, pixels) = reader.top_level()?;
        let elements = Elements::top_level(found)?;
        let pixels = pixels.map(|element| reader.pixels(&element, syntax)).transpose()?;
        Ok(Self { syntax, elements, pixels })
    }

    /// The elements before the pixel data, if there is any.
    pub(super) fn scan_top_level(
        bytes: &'a [u8],
        syntax: TransferSyntax,
    ) -> Result<Elements<'a>, RadiographError> {
        let (found, _) = Reader::new(bytes, Encoding::of(syntax)).top_level()?;
        Elements::top_level(found)
    }

    /// The elements before the pixel data, within which `bytes` may end.
    pub(crate) fn scan_header(
        bytes: &'a [u8],
        syntax: TransferSyntax,
    ) -> Result<Elements<'a>, RadiographError> {
        let (found, pixels) = Reader::new(bytes, Encoding::of(syntax)).top_level()?;
        let elements = Elements::top_level(found)?;
        pixels.map(|_| elements).ok_or(RadiographError::Missing { name: "PixelData" })
    }
}
