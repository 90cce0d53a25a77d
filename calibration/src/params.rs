//! Ranges and the affine map between real values and eight bits (DESIGN §3).

use serde::{Deserialize, Serialize};

/// Real values an eight-bit tensor can hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    pub lo: f32,
    pub hi: f32,
}

/// `q = clamp(round_ties_even(x / scale) + zero, 0, 255)`, `x = (q − zero) · scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantParams {
    pub scale: f32,
    /// The code of exactly 0.0: padding and the lower clamp of ReLU are codes too.
    pub zero: i32,
}

impl Range {
    /// This range, stretched to contain zero.
    pub fn with_zero(self) -> Self {
        Self { lo: self.lo.min(0.0), hi: self.hi.max(0.0) }
    }

    /// The smallest range that holds both.
    pub fn union(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    /// Asymmetric unsigned eight bits. A range that is a single point becomes scale 1.
    pub fn activation(self) -> QuantParams {
        let Self { lo, hi } = self.with_zero();
        let scale = ((f64::from(hi) - f64::from(lo)) / 255.0) as f32;
        if !scale.is_normal() {
            return QuantParams { scale: 1.0, zero: 0 };
        }
        let zero = (-f64::from(lo) / f64::from(scale)).round_ties_even();
        QuantParams { scale, zero: zero.clamp(0.0, 255.0) as i32 }
    }

    /// Unsigned eight bits with the zero in the middle, for consumers that want symmetric activations.
    pub fn symmetric(self) -> QuantParams {
        let reach = self.hi.abs().max(self.lo.abs());
        let scale = (f64::from(reach) / 127.0) as f32;
        if !scale.is_normal() {
            return QuantParams { scale: 1.0, zero: 128 };
        }
        QuantParams { scale, zero: 128 }
    }
}

impl QuantParams {
    /// The code of `x`.
    pub fn quantize(self, x: f32) -> u8 {
        ((x / self.scale).round_ties_even() + self.zero as f32).clamp(0.0, 255.0) as u8
    }

    /// What the code stands for.
    pub fn dequantize(self, q: u8) -> f32 {
        (i32::from(q) - self.zero) as f32 * self.scale
    }

    /// The value closest to `x` that can be held.
    pub fn round_trip(self, x: f32) -> f32 {
        self.dequantize(self.quantize(x))
    }

    /// The values of codes 0 and 255.
    pub fn range(self) -> Range {
        Range { lo: self.dequantize(0), hi: self.dequantize(255) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_always_exact() {
        for (lo, hi) in [(-1.0, 3.0), (0.0, 6.0), (-7.3, 0.0), (0.5, 2.0), (-9.0, -2.0)] {
            let params = Range { lo, hi }.activation();
            assert_eq!(params.round_trip(0.0), 0.0, "{lo} {hi}");
            assert!((0..=255).contains(&params.zero));
        }
    }

    #[test]
    fn a_range_after_relu_starts_at_code_zero() {
        assert_eq!(Range { lo: 0.0, hi: 4.2 }.activation().zero, 0);
    }

    #[test]
    fn values_inside_are_at_most_half_a_step_off() {
        let params = Range { lo: -2.0, hi: 5.0 }.activation();
        for i in -200..=500 {
            let x = i as f32 / 100.0;
            // Rounding the zero point can move an end of the range by half a step.
            assert!((params.round_trip(x) - x).abs() <= params.scale * 1.001, "{x}");
        }
    }

    #[test]
    fn degenerate_ranges_still_hold_zero() {
        for (lo, hi) in [(0.0, 0.0), (1e-45, 1e-45)] {
            let params = Range { lo, hi }.activation();
            assert_eq!(params, QuantParams { scale: 1.0, zero: 0 });
        }
    }

    #[test]
    fn symmetric_ranges_centre_zero() {
        let params = Range { lo: -1.0, hi: 2.54 }.symmetric();
        assert_eq!(params.zero, 128);
        assert!((params.range().hi - 2.54).abs() < 1e-6);
    }
}
