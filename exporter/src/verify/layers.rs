//! How far each quantized tensor is from its float counterpart.

use serde::Serialize;
use std::collections::BTreeMap;

/// One tensor over all images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LayerError {
    pub(crate) layer: String,
    /// Signal to quantization noise, `10·log10(Σ x² / Σ (x − y)²)`; more is better.
    pub(crate) sqnr_db: f64,
    pub(crate) cosine: f64,
}

/// Sums over images, tensor by tensor.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerErrors {
    sums: BTreeMap<String, Sums>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    xx: f64,
    yy: f64,
    xy: f64,
    noise: f64,
}

impl LayerErrors {
    /// Adds one image's `float` values of a tensor and what the integers stood for.
    pub(crate) fn add(&mut self, tensor: &str, float: &[f32], int8: &[f32]) {
        let sums = self.sums.entry(tensor.into()).or_default();
        for (&x, &y) in float.iter().zip(int8) {
            let (x, y) = (f64::from(x), f64::from(y));
            sums.xx += x * x;
            sums.yy += y * y;
            sums.xy += x * y;
            sums.noise += (x - y) * (x - y);
        }
    }

    /// Worst first.
    pub(crate) fn worst_first(&self) -> Vec<LayerError> {
        let mut errors: Vec<LayerError> = self
            .sums
            .iter()
            .map(|(layer, sums)| LayerError {
                layer: layer.clone(),
                sqnr_db: sums.sqnr_db(),
                cosine: sums.xy / (sums.xx * sums.yy).sqrt().max(f64::MIN_POSITIVE),
            })
            .collect();
        errors.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
        errors
    }
}

impl Sums {
    /// At most 200 dB, so that an exact tensor has a number too.
    fn sqnr_db(self) -> f64 {
        (10.0 * (self.xx / self.noise.max(f64::MIN_POSITIVE)).log10()).min(200.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_noise_is_twenty_decibels() {
        let mut errors = LayerErrors::default();
        errors.add("good", &[1.0, -1.0], &[1.0, -1.0]);
        errors.add("bad", &[1.0, -1.0], &[1.1, -1.1]);
        let worst = errors.worst_first();
        assert_eq!(worst[0].layer, "bad");
        assert!((worst[0].sqnr_db - 20.0).abs() < 1e-4);
        assert!((worst[0].cosine - 1.0).abs() < 1e-9);
        assert_eq!(worst[1].sqnr_db, 200.0);
    }
}
