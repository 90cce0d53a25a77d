//! One figure over several runs that differ by their seed alone.

use super::Estimate;

/// Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// Mean with its 95 % interval by Student's t; `None` for fewer than two runs.
///
/// It says how much the seed matters, not how much the test patients do: that is [`super::bootstrap`].
pub fn over_runs(values: &[f64]) -> Option<Estimate> {
    let n = values.len();
    if n < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    let error = (squares / (n - 1) as f64 / n as f64).sqrt();
    let reach = STUDENT.get(n - 2).copied().unwrap_or(1.960) * error;
    Some(Estimate { value: mean, low: mean - reach, high: mean + reach })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        // Deviation 1, standard error 1/√3, t(2) = 4.303.
        let estimate = over_runs(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(estimate.value, 2.0);
        assert!((estimate.high - 2.0 - 4.303 / 3f64.sqrt()).abs() < 1e-9);
        assert_eq!(over_runs(&[1.0]), None);
        assert_eq!(over_runs(&[0.5; 40]).unwrap().low, 0.5);
    }
}
