//! Stored values → what a display shows, in [0, 1] (PS3.3 C.11, PS3.4 N.2).
//!
//! Where the header has several ways, the first of these is taken: VOI LUT, first window, the full
//! range of the values in the picture (padding excluded). Every step is f64 in a fixed order and
//! `libm`, and the result of up to 16 bits is tabulated, so that it is exact and fast.

use super::{
    lut::Lut, palette::Palette, pixel_layout::PixelLayout, samples::Samples, values::Elements,
};
use crate::{
    Image, RadiographError,
    cells::{Cells, Table},
};
use dicom_dictionary_std::tags;
use std::ops::RangeInclusive;

/// How to show the stored values of one picture.
#[derive(Debug)]
pub(crate) struct Display {
    modality: Modality,
    voi: Voi,
    /// MONOCHROME1: the smallest value is white.
    inverted: bool,
    /// Stored values outside the picture, shown black.
    padding: Option<RangeInclusive<i32>>,
}

#[derive(Debug)]
enum Modality {
    Rescale { slope: f64, intercept: f64 },
    Lut(Lut),
}

#[derive(Debug)]
enum Voi {
    FullRange,
    Lut(Lut),
    Palette(Palette),
    Linear { center: f64, width: f64 },
    LinearExact { center: f64, width: f64 },
    Sigmoid { center: f64, width: f64 },
}

impl Display {
    pub(crate) fn parse(
        elements: &Elements<'_>,
        layout: &PixelLayout,
    ) -> Result<Self, RadiographError> {
        if layout.photometric == "PALETTE COLOR" {
            let modality = Modality::Rescale { slope: 1.0, intercept: 0.0 };
            let voi = Voi::Palette(Palette::parse(elements, layout.signed)?);
            return Ok(Self { modality, voi, inverted: false, padding: None });
        }
        let modality = Modality::parse(elements, layout)?;
        let signed = layout.signed || modality.at(layout.smallest()) < 0.0;
        Ok(Self {
            voi: Voi::parse(elements, signed)?,
            inverted: layout.photometric == "MONOCHROME1",
            padding: padding(elements, layout)?,
            modality,
        })
    }

    /// The displayed picture of one grey frame.
    pub(crate) fn image<'a>(
        &self,
        layout: &PixelLayout,
        samples: Samples<'a>,
    ) -> Result<Image<'a>, RadiographError> {
        let (rows, columns) = (layout.rows, layout.columns);
        if layout.stored > 16 {
            let range = self.range_of(|| samples.values(layout));
            let greys = samples.values(layout).map(|value| self.show(value, range)).collect();
            return Image::new(rows, columns, greys);
        }
        let (cells, shift) = samples.narrow();
        let range = self.range(layout, &cells, shift);
        let shown: Vec<f32> =
            (0..1 << layout.stored).map(|bits| self.show(layout.value(bits), range)).collect();
        let table = Table::of(&cells, |cell| shown[cell >> shift & (shown.len() - 1)]);
        Image::tabulated(rows, columns, cells, table)
    }

    /// Smallest and largest modality value in the picture, where a display needs them; padding does not count.
    fn range(&self, layout: &PixelLayout, cells: &Cells<'_>, shift: u32) -> (f64, f64) {
        match (&self.voi, &self.modality) {
            (Voi::FullRange, Modality::Rescale { .. }) => {
                let found = ends(layout, cells, shift, self.padding.as_ref());
                self.range_of(|| found.into_iter().flatten())
            }
            (Voi::FullRange, Modality::Lut(_)) => {
                let value = |cell| layout.value(u32::from(cell) >> shift);
                self.range_of(|| cells.found().map(value))
            }
            _ => UNUSED,
        }
    }

    /// As [`Self::range`], from all values.
    fn range_of<I: Iterator<Item = i32>>(&self, values: impl FnOnce() -> I) -> (f64, f64) {
        if !matches!(self.voi, Voi::FullRange) {
            return UNUSED;
        }
        let inside = values().filter(|value| !self.is_padding(*value));
        let ends = |(low, high): (f64, f64), value| {
            let x = self.modality.at(value);
            (low.min(x), high.max(x))
        };
        let nothing = (f64::INFINITY, f64::NEG_INFINITY);
        inside.fold(nothing, ends)
    }

    fn show(&self, stored: i32, range: (f64, f64)) -> f32 {
        if self.is_padding(stored) {
            return 0.0;
        }
        let shown = self.voi.at(self.modality.at(stored), range).clamp(0.0, 1.0);
        (if self.inverted { 1.0 - shown } else { shown }) as f32
    }

    fn is_padding(&self, stored: i32) -> bool {
        self.padding.as_ref().is_some_and(|padding| padding.contains(&stored))
    }
}

impl Modality {
    fn parse(elements: &Elements<'_>, layout: &PixelLayout) -> Result<Self, RadiographError> {
        if let Some(item) =
            elements.items(tags::MODALITY_LUT_SEQUENCE, "ModalityLUTSequence")?.first()
        {
            return Lut::parse(item, layout.signed).map(Self::Lut);
        }
        let slope = elements.decimal(tags::RESCALE_SLOPE, "RescaleSlope")?.unwrap_or(1.0);
        let intercept =
            elements.decimal(tags::RESCALE_INTERCEPT, "RescaleIntercept")?.unwrap_or(0.0);
        if slope == 0.0 {
            let (found, expected) = ("0".into(), "anything else");
            return Err(RadiographError::Value { name: "RescaleSlope", found, expected });
        }
        Ok(Self::Rescale { slope, intercept })
    }

    fn at(&self, stored: i32) -> f64 {
        match self {
            Self::Rescale { slope, intercept } => f64::from(stored) * slope + intercept,
            Self::Lut(lut) => lut.at(stored.into()),
        }
    }
}

impl Voi {
    fn parse(elements: &Elements<'_>, signed: bool) -> Result<Self, RadiographError> {
        if let Some(item) = elements.items(tags::VOILUT_SEQUENCE, "VOILUTSequence")?.first() {
            return Lut::parse(item, signed).map(Self::Lut);
        }
        let center = elements.decimal(tags::WINDOW_CENTER, "WindowCenter")?;
        let width = elements.decimal(tags::WINDOW_WIDTH, "WindowWidth")?;
        let (center, width) = match (center, width) {
            (None, None) => return Ok(Self::FullRange),
            (Some(_), None) => return Err(RadiographError::Missing { name: "WindowWidth" }),
            (None, Some(_)) => return Err(RadiographError::Missing { name: "WindowCenter" }),
            (Some(center), Some(width)) => (center, width),
        };
        let too_narrow = |expected| {
            let found = width.to_string();
            Err(RadiographError::Value { name: "WindowWidth", found, expected })
        };
        match elements.text(tags::VOILUT_FUNCTION).to_ascii_uppercase().as_str() {
            "" | "LINEAR" if width >= 1.0 => Ok(Self::Linear { center, width }),
            "" | "LINEAR" => too_narrow("at least 1"),
            "LINEAR_EXACT" | "SIGMOID" if width <= 0.0 => too_narrow("more than 0"),
            "LINEAR_EXACT" => Ok(Self::LinearExact { center, width }),
            "SIGMOID" => Ok(Self::Sigmoid { center, width }),
            found => Err(RadiographError::Value {
                name: "VOILUTFunction",
                found: format!("{found:?}"),
                expected: "LINEAR, LINEAR_EXACT or SIGMOID",
            }),
        }
    }

    /// `range` is that of the picture's values.
    fn at(&self, x: f64, range: (f64, f64)) -> f64 {
        match self {
            Self::FullRange => {
                let (low, high) = range;
                if high > low { (x - low) / (high - low) } else { 0.0 }
            }
            Self::Lut(lut) => lut.at(x) / lut.largest,
            Self::Palette(palette) => palette.grey(x),
            // PS3.3 C.11.2.1.2.1: the centre of n values lies half a value below n / 2.
            Self::Linear { center, width } => {
                let (middle, reach) = (center - 0.5, width - 1.0);
                if x <= middle - reach / 2.0 {
                    0.0
                } else if x > middle + reach / 2.0 {
                    1.0
                } else {
                    (x - middle) / reach + 0.5
                }
            }
            Self::LinearExact { center, width } => (x - center) / width + 0.5,
            Self::Sigmoid { center, width } => 1.0 / (1.0 + libm::exp(-4.0 * (x - center) / width)),
        }
    }
}

/// The range of a display that needs none.
const UNUSED: (f64, f64) = (0.0, 1.0);

/// The smallest and the largest value that is not padding; `None` if all are.
///
/// Values are compared as u16 of the same order, which every processor does for many at once.
fn ends(
    layout: &PixelLayout,
    cells: &Cells<'_>,
    shift: u32,
    padding: Option<&RangeInclusive<i32>>,
) -> Option<[i32; 2]> {
    let unused = 16 - layout.stored;
    let sign = if layout.signed { 1 << 15 } else { 0 };
    let key = |bits: u16| (bits << unused) ^ sign;
    let (mut low, mut high) = (u16::MAX, 0);
    let mut join = |(least, most): (u16, u16)| (low, high) = (low.min(least), high.max(most));
    match padding.map(|padding| [padding.start(), padding.end()].map(|end| key(*end as u16))) {
        None => cells.each_part(|part| {
            join(ends_of(part, |cell| (key(cell >> shift), key(cell >> shift))));
        }),
        Some([first, last]) => cells.each_part(|part| {
            join(ends_of(part, |cell| {
                let key = key(cell >> shift);
                let padding = u16::from(key.wrapping_sub(first) <= last - first).wrapping_neg();
                (key | padding, key & !padding)
            }));
        }),
    }
    let value = |key: u16| layout.value(((key ^ sign) >> unused).into());
    (low <= high).then(|| [low, high].map(value))
}

/// The least and the largest of the pairs that `keys` gives. Compilers vectorise this loop, but no fold and no branch.
fn ends_of(cells: &[u16], keys: impl Fn(u16) -> (u16, u16)) -> (u16, u16) {
    let (mut low, mut high) = (u16::MAX, 0);
    for cell in cells {
        let (least, most) = keys(*cell);
        low = low.min(least);
        high = high.max(most);
    }
    (low, high)
}

/// Pixel Padding Value, to Pixel Padding Range Limit where that is present. A value that no sample can
/// have is no padding: cut to the bits of a sample, 65535 would be the white of 12 bits.
fn padding(
    elements: &Elements<'_>,
    layout: &PixelLayout,
) -> Result<Option<RangeInclusive<i32>>, RadiographError> {
    let value = elements.integer(tags::PIXEL_PADDING_VALUE, "PixelPaddingValue")?;
    let name = "PixelPaddingRangeLimit";
    let limit = elements.integer(tags::PIXEL_PADDING_RANGE_LIMIT, name)?;
    let Some(value) = value else { return Ok(None) };
    let first = layout.value_of(value);
    let Some(limit) = limit else { return Ok(first.map(|first| first..=first)) };
    match (first, layout.value_of(limit)) {
        (Some(first), Some(last)) => Ok(Some(first.min(last)..=first.max(last))),
        _ => Err(RadiographError::Value {
            name,
            found: format!("{limit}, where PixelPaddingValue is {value}"),
            expected: "values that samples can have",
        }),
    }
}

#[cfg(test)]
mod tests;
