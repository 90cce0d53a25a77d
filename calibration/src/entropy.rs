//! The range whose 256 codes keep most of the distribution (TensorRT's entropy calibration).
//!
//! For each candidate range the reference distribution P is the histogram inside it, with what lies
//! outside gathered at its ends; Q is P seen through 256 codes. The candidate with the least
//! Kullback-Leibler divergence `Σ p·ln(p / q)` wins. Both ends shrink by the same fraction.

use crate::{Histogram, Range};

/// Candidates between 1/64 of the range and all of it.
const STEPS: usize = 128;
const LEAST: f64 = 1.0 / 64.0;
const CODES: usize = 256;

pub(crate) fn range(histogram: &Histogram, seen: Range) -> Range {
    // Exact zeros (half of what follows a ReLU) are held without error by every range; left in,
    // they drown the rest.
    let bins: Vec<(f64, f64)> = histogram
        .bins()
        .filter(|&(edge, _)| edge != 0.0)
        .map(|(edge, count)| (edge + histogram.width() / 2.0, count as f64))
        .collect();
    let mut best = (f64::INFINITY, seen);
    for step in (0..STEPS).rev() {
        let fraction = LEAST + (1.0 - LEAST) * (step + 1) as f64 / STEPS as f64;
        let (lo, hi) = (f64::from(seen.lo) * fraction, f64::from(seen.hi) * fraction);
        let divergence = divergence(&bins, lo, hi);
        if divergence < best.0 {
            best = (divergence, Range { lo: lo as f32, hi: hi as f32 });
        }
    }
    best.1
}

/// `Σ p·ln(p / q)` of the clipped distribution against its 256-code rendering.
fn divergence(bins: &[(f64, f64)], lo: f64, hi: f64) -> f64 {
    let inside: Vec<(f64, f64)> =
        bins.iter().copied().filter(|&(x, _)| x >= lo && x <= hi).collect();
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
        return f64::INFINITY;
    };
    let below: f64 = bins.iter().take_while(|&&(x, _)| x < first.0).map(|&(_, count)| count).sum();
    let above: f64 =
        bins.iter().rev().take_while(|&&(x, _)| x > last.0).map(|&(_, count)| count).sum();

    let code = |x: f64| (((x - lo) / (hi - lo) * CODES as f64) as usize).min(CODES - 1);
    let (mut mass, mut occupied) = ([0.0; CODES], [0.0; CODES]);
    for &(x, count) in &inside {
        mass[code(x)] += count;
        occupied[code(x)] += 1.0;
    }
    let kept: f64 = inside.iter().map(|&(_, count)| count).sum();
    let total = kept + below + above;
    let end = inside.len() - 1;
    inside
        .iter()
        .enumerate()
        .map(|(at, &(x, count))| {
            let clipped = if at == 0 { below } else { 0.0 } + if at == end { above } else { 0.0 };
            let p = (count + clipped) / total;
            let q = mass[code(x)] / occupied[code(x)] / kept;
            p * (p / q).ln()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use crate::{Method, Observer};

    #[test]
    fn a_far_outlier_does_not_stretch_the_range() {
        let mut observer = Observer::default();
        let values: Vec<f32> = (1..50_000).map(|i| -(i as f32 / 50_000.0).ln()).collect();
        observer.observe(&values);
        observer.observe(&[400.0]);
        let hi = observer.range(Method::Entropy).unwrap().hi;
        assert!(hi < 40.0, "{hi}");
        assert!(hi > 3.0, "{hi}");
    }

    #[test]
    fn a_uniform_distribution_is_kept_whole() {
        let mut observer = Observer::default();
        let values: Vec<f32> = (0..100_000).map(|i| i as f32 / 100_000.0).collect();
        observer.observe(&values);
        assert!(observer.range(Method::Entropy).unwrap().hi > 0.95);
    }
}
