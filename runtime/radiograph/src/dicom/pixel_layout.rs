//! How samples are laid out: the Image Pixel module.

use super::values::Elements;
use crate::{RadiographError, size};
use dicom_dictionary_std::tags;

/// How samples are laid out, from the Image Pixel module; checked to be consistent.
#[derive(Clone, Debug)]
pub(crate) struct PixelLayout {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) frames: usize,
    pub(crate) samples: usize,
    pub(crate) photometric: String,
    /// Bits of a sample's cell: 8, 16 or 32.
    pub(crate) allocated: u32,
    /// Bits of a sample.
    pub(crate) stored: u32,
    /// Where in its cell a sample begins.
    pub(crate) shift: u32,
    pub(crate) signed: bool,
    /// Colour planes one after the other, instead of samples side by side.
    pub(crate) planar: bool,
}

impl PixelLayout {
    pub(crate) fn parse(elements: &Elements<'_>) -> Result<Self, RadiographError> {
        let count = |tag, name| elements.count(tag, name);
        let rows = count(tags::ROWS, "Rows")?;
        let columns = count(tags::COLUMNS, "Columns")?;
        let frames = elements.frames()?;
        let samples = count(tags::SAMPLES_PER_PIXEL, "SamplesPerPixel")?;
        size::check_frame(rows.into(), columns.into(), samples.into())?;
        let photometric = elements.text(tags::PHOTOMETRIC_INTERPRETATION);
        check_photometric(&photometric, samples)?;

        let allocated = count(tags::BITS_ALLOCATED, "BitsAllocated")?;
        expect("BitsAllocated", allocated, matches!(allocated, 8 | 16 | 32), "8, 16 or 32")?;
        let stored = count(tags::BITS_STORED, "BitsStored")?;
        expect("BitsStored", stored, stored <= allocated, "at most BitsAllocated")?;
        let high = match elements.integer(tags::HIGH_BIT, "HighBit")? {
            None => stored - 1,
            Some(high) => u32::try_from(high).unwrap_or(u32::MAX),
        };
        let fits = high < allocated && high + 1 >= stored;
        expect("HighBit", high, fits, "at least BitsStored - 1 and below BitsAllocated")?;
        let sign = elements.integer(tags::PIXEL_REPRESENTATION, "PixelRepresentation")?;
        let signed = sign == Some(1);
        expect("PixelRepresentation", 1, !signed || samples == 1, "0 for colour")?;
        let planar = elements.integer(tags::PLANAR_CONFIGURATION, "PlanarConfiguration")?;
        Ok(Self {
            rows: rows as usize,
            columns: columns as usize,
            frames: frames as usize,
            samples: samples as usize,
            photometric,
            allocated,
            stored,
            shift: high + 1 - stored,
            signed,
            planar: planar == Some(1),
        })
    }

    pub(crate) fn is_colour(&self) -> bool {
        self.samples == 3
    }

    /// Whether the first of three samples is luma, where no decoder has made red of it.
    pub(crate) fn has_luma(&self) -> bool {
        self.photometric.starts_with("YBR_FULL")
    }

    /// The smallest value a sample can have.
    pub(crate) fn smallest(&self) -> i32 {
        if self.signed { i32::MIN >> (32 - self.stored) } else { 0 }
    }

    /// The value of a sample that an attribute of US or SS gives; `None` if no sample can have it.
    ///
    /// Which VR it is depends on the sign of the pixels, which implicit VR does not say.
    pub(crate) fn value_of(&self, attribute: i64) -> Option<i32> {
        let extended = if self.signed { (attribute as i16).into() } else { attribute };
        let value = self.value(attribute as u32);
        (i64::from(value) == extended || attribute >> self.stored == 0).then_some(value)
    }

    /// The value of a sample from its lowest bits; what is above them is not part of it.
    pub(crate) fn value(&self, bits: u32) -> i32 {
        let unused = 32 - self.stored;
        if self.signed {
            (bits << unused) as i32 >> unused
        } else {
            (bits << unused >> unused) as i32
        }
    }

    /// As it is for the samples of a stream that may have more bits than the header says.
    pub(crate) fn with_stored(&self, stored: u32) -> Self {
        Self { stored, ..self.clone() }
    }

    pub(crate) fn samples_per_frame(&self) -> usize {
        self.rows * self.columns * self.samples
    }

    pub(crate) fn bytes_per_sample(&self) -> usize {
        self.allocated as usize / 8
    }
}

fn check_photometric(photometric: &str, samples: u32) -> Result<(), RadiographError> {
    let expected = match photometric {
        "" => return Err(RadiographError::Missing { name: "PhotometricInterpretation" }),
        "MONOCHROME1" | "MONOCHROME2" | "PALETTE COLOR" => 1,
        "RGB" | "YBR_FULL" | "YBR_FULL_422" | "YBR_ICT" | "YBR_RCT" => 3,
        found => {
            return Err(RadiographError::Value {
                name: "PhotometricInterpretation",
                found: found.chars().take(20).collect(),
                expected: "MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB or YBR",
            });
        }
    };
    let wanted = if expected == 1 { "1 for monochrome and palettes" } else { "3 for colour" };
    expect("SamplesPerPixel", samples, samples == expected, wanted)
}

fn expect(
    name: &'static str,
    found: u32,
    valid: bool,
    expected: &'static str,
) -> Result<(), RadiographError> {
    if valid {
        return Ok(());
    }
    Err(RadiographError::Value { name, found: found.to_string(), expected })
}
