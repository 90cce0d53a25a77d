//! Palette colour: stored values are places in tables of red, green and blue (PS3.3 C.7.6.3.1.5).

use super::{lut::Lut, values::Elements};
use crate::{RadiographError, raster};
use dicom_dictionary_std::tags;

#[derive(Debug)]
pub(crate) struct Palette([Lut; 3]);

impl Palette {
    /// `signed`: whether stored values may be negative.
    pub(crate) fn parse(elements: &Elements<'_>, signed: bool) -> Result<Self, RadiographError> {
        let [red, green, blue] = [
            (
                (
                    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                    "RedPaletteColorLookupTableDescriptor",
                ),
                (tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA, "RedPaletteColorLookupTableData"),
            ),
            (
                (
                    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                    "GreenPaletteColorLookupTableDescriptor",
                ),
                (tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA, "GreenPaletteColorLookupTableData"),
            ),
            (
                (
                    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                    "BluePaletteColorLookupTableDescriptor",
                ),
                (tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA, "BluePaletteColorLookupTableData"),
            ),
        ]
        .map(|(descriptor, data)| Lut::of_elements(elements, descriptor, data, signed));
        Ok(Self([red?, green?, blue?]))
    }

    /// Luma in [0, 1].
    pub(crate) fn grey(&self, stored: f64) -> f64 {
        raster::luma([0, 1, 2].map(|colour| self.0[colour].at(stored) / self.0[colour].largest))
    }
}
