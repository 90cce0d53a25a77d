//! Whether a probability of 0.8 is right eight times in ten.

use serde::Serialize;

/// One bin of a reliability curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    pub count: usize,
    /// Mean probability stated.
    pub stated: f64,
    /// Share that was positive.
    pub observed: f64,
}

/// `bins` equal parts of `[0, 1]`; empty ones are left out.
pub fn curve(probabilities: &[f32], truth: &[bool], bins: usize) -> Vec<Bin> {
    let bin_of = |p: f32| ((p * bins as f32) as usize).min(bins - 1);
    let bin = |number: usize| {
        let members: Vec<_> =
            probabilities.iter().zip(truth).filter(|(p, _)| bin_of(**p) == number).collect();
        let count = members.len();
        (count > 0).then(|| Bin {
            count,
            stated: members.iter().map(|(p, _)| f64::from(**p)).sum::<f64>() / count as f64,
            observed: members.iter().filter(|(_, t)| **t).count() as f64 / count as f64,
        })
    };
    (0..bins).filter_map(bin).collect()
}

/// Expected calibration error: mean gap between stated and observed, weighted by bin size.
pub fn expected_error(curve: &[Bin]) -> Option<f64> {
    let total: usize = curve.iter().map(|bin| bin.count).sum();
    let gaps = curve.iter().map(|bin| bin.count as f64 * (bin.stated - bin.observed).abs());
    (total > 0).then(|| gaps.sum::<f64>() / total as f64)
}

/// Mean squared distance of the probability to the truth.
pub fn brier(probabilities: &[f32], truth: &[bool]) -> Option<f64> {
    let squares = probabilities.iter().zip(truth).map(|(&p, &t)| {
        let distance = f64::from(p) - f64::from(u8::from(t));
        distance * distance
    });
    (!truth.is_empty()).then(|| squares.sum::<f64>() / truth.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_compare_what_was_said_with_what_came() {
        let bins = curve(&[0.1, 0.1, 0.9, 0.9, 1.0], &[false, false, true, false, true], 2);
        assert_eq!(bins.len(), 2);
        assert_eq!((bins[0].count, bins[0].observed), (2, 0.0));
        assert!((bins[1].stated - 2.8 / 3.0).abs() < 1e-6);
        let error = expected_error(&bins).unwrap();
        assert!((error - (2.0 * 0.1 + 3.0 * (2.8 / 3.0 - 2.0 / 3.0)) / 5.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_has_no_error() {
        assert_eq!(expected_error(&curve(&[], &[], 10)), None);
        assert_eq!(brier(&[], &[]), None);
    }

    #[test]
    fn brier_is_the_mean_square() {
        assert_eq!(brier(&[1.0, 0.5], &[true, false]), Some(0.125));
    }
}
