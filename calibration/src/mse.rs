//! The range whose 256 codes have the least squared error, over all values or relative to each image.

use crate::energy::EnergyClasses;
use crate::{Histogram, QuantParams, Range};

/// Ends are tried at this many fractions of what was seen.
const STEPS: usize = 64;
/// Relative to each image, ends are tried at this many fractions, an eighth of an octave apart: what was seen may be
/// a hundred times what is usual.
const OCTAVE_STEPS: usize = 80;
/// 2^(−1/8)
const EIGHTH_OF_AN_OCTAVE: f32 = 0.917_004;
/// How much more a clipped value's squared error counts than a rounded one's. Roundings of a layer's inputs cancel out
/// in its sums; what is cut off, always towards zero and all over a bright image, adds up.
const CLIPPED: f64 = 2.0;

/// The least squared error over all values.
pub(crate) fn range(histogram: &Histogram, seen: Range) -> Range {
    // The middle of each bin, moved into what was seen (the outer bins reach further).
    let half = histogram.width() / 2.0;
    let middle = |edge: f64| ((edge + half) as f32).clamp(seen.lo, seen.hi);
    let bins: Vec<(f32, f64)> =
        histogram.bins().map(|(edge, count)| (middle(edge), count as f64)).collect();
    let fractions: Vec<f32> = (1..=STEPS).map(|step| step as f32 / STEPS as f32).collect();
    search(seen, &fractions, |range| squared_error(&bins, range.activation(), 1.0))
}

/// The least mean, over images, of squared error over mean square, clipping counted [`CLIPPED`] times.
pub(crate) fn range_by_image(classes: &EnergyClasses, seen: Range) -> Range {
    let within = |(x, weight): (f64, f64)| ((x as f32).clamp(seen.lo, seen.hi), weight);
    let bins: Vec<(f32, f64)> = classes.bins().into_iter().map(within).collect();
    let fractions: Vec<f32> = std::iter::successors(Some(1.0), |f| Some(f * EIGHTH_OF_AN_OCTAVE))
        .take(OCTAVE_STEPS)
        .collect();
    search(seen, &fractions, |range| squared_error(&bins, range.activation(), CLIPPED))
}

/// What lies outside the range counts `clipped` times.
fn squared_error(bins: &[(f32, f64)], params: QuantParams, clipped: f64) -> f64 {
    let Range { lo, hi } = params.range();
    bins.iter()
        .map(|&(x, weight)| {
            let error = f64::from(x - params.round_trip(x));
            let factor = if (lo..=hi).contains(&x) { 1.0 } else { clipped };
            factor * weight * error * error
        })
        .sum()
}

/// Searches the upper end with the lower one fixed, then the lower, then the upper once more:
/// the two interact only through the common step.
fn search(seen: Range, fractions: &[f32], error: impl Fn(Range) -> f64) -> Range {
    let mut best = seen;
    for end in [End::Hi, End::Lo, End::Hi] {
        let (mut least, around) = (error(best), best);
        for fraction in fractions {
            let candidate = match end {
                End::Hi => Range { hi: seen.hi * fraction, ..around },
                End::Lo => Range { lo: seen.lo * fraction, ..around },
            };
            let error = error(candidate);
            if error < least {
                (least, best) = (error, candidate);
            }
        }
    }
    best
}

enum End {
    Lo,
    Hi,
}

#[cfg(test)]
mod tests {
    use crate::{Method, Observer, Range};

    fn error(values: &[f32], range: Range) -> f64 {
        let params = range.activation();
        values.iter().map(|&x| f64::from(x - params.round_trip(x)).powi(2)).sum()
    }

    #[test]
    fn squared_error_is_at_most_that_of_minmax_and_percentile() {
        let values: Vec<f32> = (1..40_000)
            .map(|i| {
                let u = i as f32 / 40_000.0;
                -u.ln() * if i % 3 == 0 { -0.4 } else { 1.0 }
            })
            .collect();
        let mut observer = Observer::default();
        observer.observe(&values);
        let of = |method| error(&values, observer.range(method).unwrap());
        let mse = of(Method::Mse);
        assert!(mse < of(Method::MinMax), "{mse} {}", of(Method::MinMax));
        assert!(mse <= of(Method::Percentile(99.0)) * 1.02);
    }

    /// Half-normal kind of values, at most `gain`.
    fn image(gain: f32) -> Vec<f32> {
        (0..4000).map(|i| ((i * 37 % 4000) as f32 / 4000.0).powi(3) * gain).collect()
    }

    #[test]
    fn one_image_beyond_all_others_does_not_take_their_codes() {
        let mut observer = Observer::default();
        (0..400).for_each(|_| observer.observe(&image(1.0)));
        observer.observe(&image(100.0));
        let hi = |method| observer.range(method).unwrap().hi;
        assert!(hi(Method::Mse) > 50.0, "pooled, the bright one decides: {}", hi(Method::Mse));
        assert!((0.9..20.0).contains(&hi(Method::ImageMse)), "{}", hi(Method::ImageMse));
    }

    #[test]
    fn a_tenth_of_the_images_being_brighter_is_not_cut_off() {
        let mut observer = Observer::default();
        for at in 0..100 {
            observer.observe(&image(if at % 10 == 0 { 4.0 } else { 1.0 }));
        }
        let hi = observer.range(Method::ImageMse).unwrap().hi;
        assert!(hi > 3.0, "{hi}");
    }
}
