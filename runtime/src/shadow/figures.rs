//! Figures as people read them.

use super::agreement::{Difference, Times};
use results::BundleId;

/// A bundle as people tell it from others.
pub(super) fn called(BundleId { id, version, digest, .. }: &BundleId) -> String {
    let short: String = digest.chars().take(12).collect();
    format!("{id} {version} ({short})")
}

/// A figure, or a dash where it does not exist.
pub(super) fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

pub(super) fn difference(Difference { mean, limits }: &Difference) -> String {
    match limits {
        Some([low, high]) => format!("{mean:+.3} [{low:+.3}, {high:+.3}]"),
        None => format!("{mean:+.3}"),
    }
}

pub(super) fn times(times: Option<&Times>) -> String {
    let said = |t: &Times| format!("{:.1} ms, 95 % below {:.1} ms", t.median, t.p95);
    times.map_or_else(|| "-".into(), said)
}
