//! The range whose 256 codes have the least squared error on the histogram.

use crate::{Histogram, QuantParams, Range};

/// Ends are tried at this many fractions of what was seen.
const STEPS: usize = 64;

/// Searches the upper end with the lower one fixed, then the lower, then the upper once more:
/// the two interact only through the common step.
pub(crate) fn range(histogram: &Histogram, seen: Range) -> Range {
    let bins: Vec<(f32, f64)> = middles(histogram, seen);
    let error = |range: Range| squared_error(&bins, range.activation());
    let mut best = seen;
    for end in [End::Hi, End::Lo, End::Hi] {
        let (mut least, around) = (error(best), best);
        for step in 1..=STEPS {
            let fraction = step as f32 / STEPS as f32;
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

/// Middle and count of each bin, moved into what was seen (the outer bins reach further).
fn middles(histogram: &Histogram, seen: Range) -> Vec<(f32, f64)> {
    let half = histogram.width() / 2.0;
    histogram
        .bins()
        .map(|(edge, count)| (((edge + half) as f32).clamp(seen.lo, seen.hi), count as f64))
        .collect()
}

fn squared_error(bins: &[(f32, f64)], params: QuantParams) -> f64 {
    bins.iter()
        .map(|&(x, count)| {
            let error = f64::from(x - params.round_trip(x));
            count * error * error
        })
        .sum()
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
}
