//! What is remembered of a tensor's values, and the ways to make a range of it.

use crate::energy::EnergyClasses;
use crate::{CalibrationError, Histogram, Range, entropy, mse};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Weight of the newest image in the moving average (TensorFlow's and PyTorch's 0.01 is for training).
const MOMENTUM: f32 = 0.1;

/// Gathers the values of one tensor, image by image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Observer {
    histogram: Histogram,
    #[serde(default)]
    classes: EnergyClasses,
    seen: Option<Range>,
    average: Option<Range>,
    non_finite: u64,
}

/// How a range is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Everything seen.
    MinMax,
    /// Minimum and maximum of each image, averaged with a fading memory. Depends on the order.
    MovingAverage,
    /// All but a share of the values, half of it at either end; in percent, such as 99.99.
    Percentile(f64),
    /// The range whose codes keep most of the distribution (Kullback-Leibler).
    Entropy,
    /// The range whose codes have the least squared error.
    Mse,
    /// Per tensor, by what the choice does to the network's outputs; resolved by the exporter.
    Auto,
    /// The range whose codes have the least squared error relative to each image's own mean square, clipping counted
    /// twice: neither a few images beyond all others nor the many pooled decide alone.
    ImageMse,
}

impl Method {
    /// What the exporter uses unless told otherwise.
    pub const USUAL: Self = Self::ImageMse;

    /// Every method that makes a range by itself, for comparisons.
    pub const ALL: [Self; 6] = [
        Self::MinMax,
        Self::MovingAverage,
        Self::Percentile(99.99),
        Self::Entropy,
        Self::Mse,
        Self::ImageMse,
    ];
}

impl Observer {
    /// Remembers the values of one image.
    pub fn observe(&mut self, values: &[f32]) {
        let mut image: Option<Range> = None;
        let mut non_finite = 0;
        for &x in values {
            if x.is_finite() {
                let point = Range { lo: x, hi: x };
                image = Some(image.map_or(point, |range| range.union(point)));
            } else {
                non_finite += 1;
            }
        }
        self.non_finite += non_finite;
        let Some(image) = image else { return };
        if non_finite == 0 {
            let reach = image.hi.abs().max(image.lo.abs());
            self.histogram.add(values, reach);
            self.classes.add(values, reach);
        }
        self.seen = Some(self.seen.map_or(image, |seen| seen.union(image)));
        self.average = Some(self.average.map_or(image, |average| Range {
            lo: average.lo + MOMENTUM * (image.lo - average.lo),
            hi: average.hi + MOMENTUM * (image.hi - average.hi),
        }));
    }

    /// The range `method` chooses; it always contains zero.
    pub fn range(&self, method: Method) -> Result<Range, CalibrationError> {
        let seen = self.seen()?.with_zero();
        Ok(match method {
            Method::MinMax => seen,
            Method::MovingAverage => self.average.unwrap_or(seen).with_zero(),
            Method::Percentile(percent) => {
                // Outer edges of the bins where the tails reach their share, never beyond what was seen.
                let tail = self.histogram.total() as f64 * (1.0 - percent / 100.0) / 2.0;
                let width = self.histogram.width();
                let lo = quantile(self.histogram.bins(), tail).map_or(seen.lo, |edge| edge as f32);
                let hi = quantile(self.histogram.bins().rev(), tail)
                    .map_or(seen.hi, |edge| (edge + width) as f32);
                Range { lo: lo.max(seen.lo), hi: hi.min(seen.hi) }.with_zero()
            }
            Method::Entropy => entropy::range(&self.histogram, seen),
            Method::Mse => mse::range(&self.histogram, seen),
            Method::ImageMse | Method::Auto => mse::range_by_image(&self.classes, seen),
        })
    }

    /// The smallest and largest value, if there were any and all were finite.
    pub fn seen(&self) -> Result<Range, CalibrationError> {
        if self.non_finite > 0 {
            return Err(CalibrationError::NonFinite { count: self.non_finite });
        }
        self.seen.ok_or(CalibrationError::Empty)
    }

    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }
}

/// Edge of the first bin at which more than `tail` values have been passed.
fn quantile(bins: impl Iterator<Item = (f64, u64)>, tail: f64) -> Option<f64> {
    let mut passed = 0;
    for (edge, count) in bins {
        passed += count;
        if passed as f64 > tail {
            return Some(edge);
        }
    }
    None
}

impl FromStr for Method {
    type Err = CalibrationError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let unknown = || CalibrationError::Method { name: name.into() };
        Ok(match name {
            "minmax" => Self::MinMax,
            "moving-average" => Self::MovingAverage,
            "percentile" => Self::Percentile(99.99),
            "entropy" => Self::Entropy,
            "mse" => Self::Mse,
            "image-mse" => Self::ImageMse,
            "auto" => Self::Auto,
            _ => {
                let percent = name.strip_prefix("percentile:").ok_or_else(unknown)?;
                let percent = percent.parse().map_err(|_| unknown())?;
                if !(50.0..=100.0).contains(&percent) {
                    return Err(unknown());
                }
                Self::Percentile(percent)
            }
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinMax => f.write_str("minmax"),
            Self::MovingAverage => f.write_str("moving-average"),
            Self::Percentile(percent) => write!(f, "percentile:{percent}"),
            Self::Entropy => f.write_str("entropy"),
            Self::Mse => f.write_str("mse"),
            Self::ImageMse => f.write_str("image-mse"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of a half-normal kind with one outlier a hundred times the rest.
    fn observed() -> Observer {
        let mut observer = Observer::default();
        for image in 0..20 {
            let values: Vec<f32> = (0..5000)
                .map(|i| (((i * 37 + image * 11) % 5000) as f32 / 5000.0).powi(2))
                .collect();
            observer.observe(&values);
        }
        observer.observe(&[100.0]);
        observer
    }

    #[test]
    fn every_method_keeps_zero_and_stays_within_what_was_seen() {
        let observer = observed();
        for method in Method::ALL {
            let Range { lo, hi } = observer.range(method).unwrap();
            assert!(lo <= 0.0 && (0.0..=100.0).contains(&hi), "{method}: {lo} {hi}");
        }
    }

    #[test]
    fn percentile_ignores_a_lone_outlier_and_minmax_does_not() {
        let observer = observed();
        assert_eq!(observer.range(Method::MinMax).unwrap().hi, 100.0);
        let hi = observer.range(Method::Percentile(99.99)).unwrap().hi;
        assert!((0.9..1.1).contains(&hi), "{hi}");
    }

    #[test]
    fn a_hundred_percent_is_minmax() {
        let observer = observed();
        let all = observer.range(Method::Percentile(100.0)).unwrap();
        assert_eq!(all, observer.range(Method::MinMax).unwrap());
    }

    #[test]
    fn ranges_do_not_depend_on_the_order_of_the_images() {
        let images: Vec<Vec<f32>> =
            (1..9).map(|i| (0..300).map(|j| ((i * j) as f32).sin() * i as f32).collect()).collect();
        let (mut forth, mut back) = (Observer::default(), Observer::default());
        images.iter().for_each(|image| forth.observe(image));
        images.iter().rev().for_each(|image| back.observe(image));
        for method in [
            Method::MinMax,
            Method::Percentile(99.0),
            Method::Entropy,
            Method::Mse,
            Method::ImageMse,
        ] {
            assert_eq!(forth.range(method), back.range(method), "{method}");
        }
    }

    #[test]
    fn nan_and_nothing_are_errors() {
        let mut observer = Observer::default();
        assert_eq!(observer.range(Method::MinMax), Err(CalibrationError::Empty));
        observer.observe(&[1.0, f32::NAN, f32::INFINITY]);
        let error = CalibrationError::NonFinite { count: 2 };
        assert_eq!(observer.range(Method::MinMax), Err(error));
    }

    #[test]
    fn names_survive_parsing() {
        for method in Method::ALL.into_iter().chain([Method::Auto, Method::ImageMse]) {
            assert_eq!(method.to_string().parse(), Ok(method));
        }
        assert!("percentile:101".parse::<Method>().is_err());
        assert!("max".parse::<Method>().is_err());
    }
}
