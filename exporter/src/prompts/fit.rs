//! Probabilities and thresholds of findings in words, fitted on images whose truth is known.
//!
//! Scores of phrases order images; what they are worth in probability, images say: Platt's sigmoid over the logit of the
//! score, then a threshold by Youden's J. Where patients are too few, or the score falls where the finding is, nothing is
//! fitted, and the prompt says why.

use super::linear::sigmoid;
use language::Platt;
use metrics::{ranking::Ranking, threshold::Criterion};
use std::collections::BTreeSet;

/// Fewer patients of either kind say nothing of a threshold; as for other operating points.
pub(crate) const LEAST: usize = 10;

/// What images say of one finding: its raw score, in `[0, 1]`, and whether the image has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) patient: String,
    pub(crate) raw: f32,
    pub(crate) positive: bool,
}

/// The sigmoid, or why there is none.
pub(crate) fn platt(known: &[Known]) -> Result<Platt, String> {
    let patients = |positive: bool| {
        let own = known.iter().filter(|image| image.positive == positive);
        own.map(|image| image.patient.as_str()).collect::<BTreeSet<_>>().len()
    };
    let (with, without) = (patients(true), patients(false));
    if with < LEAST || without < LEAST {
        return Err(format!("patients: {with} with it and {without} without, expected {LEAST}"));
    }
    let points: Vec<(f64, bool)> =
        known.iter().map(|image| (logit(image.raw), image.positive)).collect();
    let [slope, offset] = sigmoid_of(&points).ok_or("no sigmoid fits the scores")?;
    if slope <= 0.0 || !(slope as f32).is_normal() {
        return Err(format!("the score does not rise where the finding is (slope {slope:.3})"));
    }
    Ok(Platt { slope: slope as f32, offset: offset as f32 })
}

/// The probability of a raw score, as the scorer computes it.
pub(crate) fn calibrated(Platt { slope, offset }: Platt, raw: f32) -> f32 {
    language::sigmoid(slope * (raw / (1.0 - raw)).ln() + offset)
}

/// Youden's threshold of probabilities.
pub(crate) fn threshold(probabilities: &[f32], truth: &[bool]) -> Option<f32> {
    let ranking = Ranking::new(probabilities, truth);
    Criterion::Youden.weighted_threshold(&ranking, &vec![1; truth.len()])
}

/// As the box computes it, but for the last bits.
fn logit(raw: f32) -> f64 {
    let raw = f64::from(raw).clamp(1e-6, 1.0 - 1e-6);
    (raw / (1.0 - raw)).ln()
}

/// Slope and offset by maximum likelihood, Newton's method with Platt's targets (Platt 1999; Lin, Lin & Weng 2007), which
/// keep the slope finite where the classes are apart.
fn sigmoid_of(points: &[(f64, bool)]) -> Option<[f64; 2]> {
    let count = |class: bool| points.iter().filter(|(_, own)| *own == class).count() as f64;
    let (with, without) = (count(true), count(false));
    let target = |positive: bool| match positive {
        true => (with + 1.0) / (with + 2.0),
        false => 1.0 / (without + 2.0),
    };
    let loss = |[slope, offset]: [f64; 2]| -> f64 {
        points
            .iter()
            .map(|&(x, positive)| {
                let z = slope * x + offset;
                // ln(1 + e^z) − t·z, without overflow.
                z.max(0.0) + (-z.abs()).exp().ln_1p() - target(positive) * z
            })
            .sum()
    };
    let mut at = [0.0, ((with + 1.0) / (without + 1.0)).ln()];
    let mut now = loss(at);
    for _ in 0..100 {
        let (mut gradient, mut hessian) = ([0.0; 2], [1e-9, 0.0, 1e-9]);
        for &(x, positive) in points {
            let p = sigmoid(at[0] * x + at[1]);
            let (off, weight) = (p - target(positive), p * (1.0 - p));
            gradient[0] += off * x;
            gradient[1] += off;
            hessian[0] += weight * x * x;
            hessian[1] += weight * x;
            hessian[2] += weight;
        }
        if gradient.iter().all(|g| g.abs() < 1e-9 * points.len() as f64) {
            break;
        }
        let [a, b, c] = hessian;
        let determinant = a * c - b * b;
        let step = [
            -(c * gradient[0] - b * gradient[1]) / determinant,
            -(a * gradient[1] - b * gradient[0]) / determinant,
        ];
        let next = (0..40).map(|halved| 0.5_f64.powi(halved)).find_map(|share| {
            let next = [at[0] + share * step[0], at[1] + share * step[1]];
            let loss = loss(next);
            (loss < now).then_some((next, loss))
        });
        let Some((next, loss)) = next else { break };
        (at, now) = (next, loss);
    }
    at.iter().all(|x| x.is_finite()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::noise::Noise;

    /// Images whose truth is drawn with the probability that this sigmoid gives their score.
    fn drawn(count: usize, [slope, offset]: [f64; 2]) -> Vec<Known> {
        let mut noise = Noise(7);
        let mut uniform = || (noise.below(1 << 24) as f64 + 0.5) / f64::from(1 << 24);
        (0..count)
            .map(|at| {
                let x = 4.0 * uniform() - 2.0;
                let raw = sigmoid(x) as f32;
                let positive = uniform() < sigmoid(slope * x + offset);
                Known { patient: at.to_string(), raw, positive }
            })
            .collect()
    }

    #[test]
    fn the_sigmoid_that_images_were_drawn_by_is_found() {
        let Platt { slope, offset } = platt(&drawn(20_000, [3.0, -1.0])).unwrap();
        assert!((slope - 3.0).abs() < 0.15 && (offset + 1.0).abs() < 0.1, "{slope} {offset}");
    }

    #[test]
    fn the_mean_of_the_fitted_probabilities_is_the_share_that_has_the_finding() {
        // Where the derivative by the offset is nought, but for Platt's targets.
        let known = drawn(3000, [1.0, -2.0]);
        let Platt { slope, offset } = platt(&known).unwrap();
        let p = |image: &Known| sigmoid(f64::from(slope) * logit(image.raw) + f64::from(offset));
        let mean = known.iter().map(p).sum::<f64>() / known.len() as f64;
        let share = known.iter().filter(|image| image.positive).count() as f64 / known.len() as f64;
        assert!((mean - share).abs() < 2e-3, "{mean} {share}");
    }

    #[test]
    fn a_score_that_falls_where_the_finding_is_is_not_turned_round() {
        let error = platt(&drawn(2000, [-1.0, 0.0])).unwrap_err();
        assert!(error.contains("does not rise"), "{error}");
    }

    #[test]
    fn few_patients_fit_nothing_however_many_their_images() {
        let mut known = drawn(400, [3.0, 0.0]);
        known.iter_mut().for_each(|image| image.patient = (image.raw > 0.5).to_string());
        let error = platt(&known).unwrap_err();
        assert!(error.contains("expected 10"), "{error}");
    }

    #[test]
    fn classes_that_are_apart_have_a_finite_slope() {
        let apart = (0..40).map(|at| Known {
            patient: at.to_string(),
            raw: if at < 20 { 0.2 } else { 0.8 },
            positive: at >= 20,
        });
        let Platt { slope, .. } = platt(&apart.collect::<Vec<_>>()).unwrap();
        assert!(slope.is_finite() && slope > 1.0 && slope < 50.0, "{slope}");
    }
}
