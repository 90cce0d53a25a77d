//! MLPerf's early stopping: which latency may be reported as a percentile after so few queries.
//!
//! With `n` queries and percentile `p`, up to `t = max{k : BinomCDF(k; n, 1 − p) ≤ 0.01}` latencies can lie
//! above the percentile with a doubt of 1 %. The `t − 1` highest are discarded and the next one is reported.

/// How sure we are that the reported latency is not below the percentile.
const DOUBT: f64 = 0.01;

/// How many of the highest of `queries` latencies to discard for `percentile` (0.9, 0.99);
/// `None` if there are too few queries to say anything.
pub(crate) fn discarded(queries: u64, percentile: f64) -> Option<u64> {
    let (n, over) = (queries as f64, 1.0 - percentile);
    // BinomCDF by its recurrence P(k+1) = P(k) · (n − k)/(k + 1) · over/percentile, in logarithms.
    let mut term = n * percentile.ln();
    let mut cumulated = f64::NEG_INFINITY;
    let mut allowed = None;
    for k in 0..=queries {
        // ln(eᵃ + eᵇ)
        let (low, high) = if cumulated < term { (cumulated, term) } else { (term, cumulated) };
        cumulated = if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() };
        if cumulated > DOUBT.ln() {
            break;
        }
        allowed = Some(k);
        let k = k as f64;
        term += ((n - k) / (k + 1.0) * over / percentile).ln();
    }
    allowed?.checked_sub(1)
}

/// The latency to report for `percentile`, from latencies in ascending order.
pub(crate) fn reported(sorted: &[f64], percentile: f64) -> Option<f64> {
    let discarded = usize::try_from(discarded(sorted.len() as u64, percentile)?).ok()?;
    sorted.get(sorted.len().checked_sub(discarded + 1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_published_logs_discard_as_many() {
        for (queries, percentile, expected) in [
            (935_541, 0.9, 92_878),
            (553_349, 0.9, 54_814),
            (242_410, 0.9, 23_896),
            (276_475, 0.99, 2_642),
            (270_336, 0.99, 2_582),
        ] {
            assert_eq!(discarded(queries, percentile), Some(expected), "{queries} {percentile}");
        }
    }

    #[test]
    fn the_smallest_runs_that_say_anything() {
        for (percentile, least) in [(0.9, 64), (0.99, 662)] {
            assert_eq!(discarded(least, percentile), Some(0));
            assert_eq!(discarded(least - 1, percentile), None);
        }
    }

    #[test]
    fn the_reported_latency_is_the_highest_not_discarded() {
        let sorted: Vec<f64> = (0..64).map(f64::from).collect();
        assert_eq!(reported(&sorted, 0.9), Some(63.0));
        assert_eq!(reported(&sorted[..10], 0.9), None);
    }
}
