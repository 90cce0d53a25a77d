//! Stored values → what a display shows, in [0, 1] (PS3.3 C.11, PS3.4 N.2).
//!
//! Where the header has several ways, the first of these is taken: VOI LUT, first window, the full
//! range of the values in the picture (padding excluded). Every step is f64 in a fixed order and
//! `libm`, and the result of up to 16 bits is tabulated, so that it is exact and fast.

use super::{lut::Lut, pixel_layout::PixelLayout, values::Elements};
use crate::RadiographError;
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
    Linear { center: f64, width: f64 },
    LinearExact { center: f64, width: f64 },
    Sigmoid { center: f64, width: f64 },
}

impl Display {
    pub(crate) fn parse(
        elements: &Elements<'_>,
        layout: &PixelLayout,
    ) -> Result<Self, RadiographError> {
        let modality = Modality::parse(elements, layout)?;
        let signed = layout.signed || modality.at(layout.smallest()) < 0.0;
        Ok(Self {
            voi: Voi::parse(elements, signed)?,
            inverted: layout.photometric == "MONOCHROME1",
            padding: padding(elements, layout)?,
            modality,
        })
    }

    /// The displayed picture for the stored values of one frame.
    pub(crate) fn apply(&self, layout: &PixelLayout, stored: Vec<i32>) -> Vec<f32> {
        let range = match self.voi {
            Voi::FullRange => self.range(&stored),
            _ => (0.0, 1.0),
        };
        if layout.stored > 16 {
            return stored.into_iter().map(|value| self.show(value, range)).collect();
        }
        let smallest = layout.smallest();
        let table: Vec<f32> =
            (0..1 << layout.stored).map(|i| self.show(smallest + i, range)).collect();
        // In place: a large picture is 50 MB.
        stored.into_iter().map(|value| table[(value - smallest) as usize]).collect()
    }

    /// Smallest and largest modality value in the picture; padding does not count.
    fn range(&self, stored: &[i32]) -> (f64, f64) {
        let ends = |(low, high): (i32, i32), value: i32| (low.min(value), high.max(value));
        let inside = stored.iter().copied().filter(|value| !self.is_padding(*value));
        let (low, high) = match (&self.modality, &self.padding) {
            (Modality::Lut(_), _) => {
                let values = inside.map(|value| self.modality.at(value));
                let nothing = (f64::INFINITY, f64::NEG_INFINITY);
                return values.fold(nothing, |(low, high), x| (low.min(x), high.max(x)));
            }
            // Without the filter, which compilers do not vectorise.
            (Modality::Rescale { .. }, None) => {
                stored.iter().copied().fold((i32::MAX, i32::MIN), ends)
            }
            (Modality::Rescale { .. }, Some(_)) => inside.fold((i32::MAX, i32::MIN), ends),
        };
        let [a, b] = [low, high].map(|value| self.modality.at(value));
        if low > high { (0.0, 0.0) } else { (a.min(b), a.max(b)) }
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
        match elements.text(tags::VOILUT_FUNCTION).as_str() {
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

/// Pixel Padding Value, to Pixel Padding Range Limit where that is present.
fn padding(
    elements: &Elements<'_>,
    layout: &PixelLayout,
) -> Result<Option<RangeInclusive<i32>>, RadiographError> {
    // The VR of these depends on the sign of the pixels, which implicit VR does not say.
    let sample = |value: i64| layout.value(value as u32);
    let value = elements.integer(tags::PIXEL_PADDING_VALUE, "PixelPaddingValue")?.map(sample);
    let limit =
        elements.integer(tags::PIXEL_PADDING_RANGE_LIMIT, "PixelPaddingRangeLimit")?.map(sample);
    Ok(value.map(|value| {
        let limit = limit.unwrap_or(value);
        value.min(limit)..=value.max(limit)
    }))
}
