//! Functions of one number, the same bits on every processor: `libm` in pure Rust, no fused multiply-add.

/// `1 / (1 + e^−x)`
pub fn sigmoid(x: f32) -> f32 {
    if x >= 0.0 {
        1.0 / (1.0 + libm::expf(-x))
    } else {
        // e^−x would overflow to infinity for large −x: harmless, but this form keeps all digits.
        let e = libm::expf(x);
        e / (1.0 + e)
    }
}

/// `½ + ½ x / (1 + |x|)`: between 0 and 1, ½ at 0, and unlike [`sigmoid`] still rising where `x` is large. What is beyond a
/// million counts as that.
pub(crate) fn squash(x: f32) -> f32 {
    let x = x.clamp(-1e6, 1e6);
    0.5 + 0.5 * x / (1.0 + x.abs())
}

/// [`sigmoid`] of a finite number, within a few units in the last place: additions and multiplications in one order, of
/// which compilers make vectors.
#[inline(always)]
pub(crate) fn sigmoid_of_finite(x: f32) -> f32 {
    let e = exp_of_negative(-x.abs());
    let share = 1.0 / (1.0 + e);
    if x >= 0.0 { share } else { e * share }
}

/// `e^x` for `x ≤ 0`, by `2^n · e^r` with `|r| ≤ ½ ln 2`; what is below the smallest normal number counts as that.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    /// Adding it leaves the nearest integer in the lowest bits.
    const MAGIC: f32 = 12_582_912.0;
    /// `ln 2` in two parts; the first has zeros at its end, so that products with `n` are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let sum = [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let sum = sum.into_iter().fold(1.0 / 720.0, |sum, factor| sum * r + factor);
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127);
    sum * f32::from_bits(exponent << 23)
}

/// `ln(p / (1 − p))` of a share above 0 and below 1.
pub(crate) fn logit(share: f32) -> f32 {
    libm::logf(share / (1.0 - share))
}

/// From the first to the last.
pub(crate) fn mean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = values.len() as f32;
    values.fold(0.0, |sum, x| sum + x) / count
}

/// Products of the same places, summed in eight lanes, then the lanes from the first to the last: an order of which
/// compilers make vectors.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dots(a, [b])[0]
}

/// [`dot`] of `a` with each of `others`, which are as long: sums that do not wait for each other.
#[inline(always)]
pub(crate) fn dots<const N: usize>(a: &[f32], others: [&[f32]; N]) -> [f32; N] {
    let (whole, rest) = a.as_chunks::<8>();
    let others = others.map(|b| {
        let (others, rest) = b[..a.len()].as_chunks::<8>();
        (&others[..whole.len()], rest)
    });
    let mut sums = [[0.0_f32; 8]; N];
    for (at, a) in whole.iter().enumerate() {
        for (lanes, (b, _)) in sums.iter_mut().zip(&others) {
            for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(&b[at])) {
                *lane += a * b;
            }
        }
    }
    for (lanes, (_, b)) in sums.iter_mut().zip(&others) {
        for (lane, (a, b)) in lanes.iter_mut().zip(rest.iter().zip(*b)) {
            *lane += a * b;
        }
    }
    sums.map(|lanes| lanes.iter().fold(0.0, |sum, x| sum + x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sigmoid_of_the_bank_is_the_other_one_within_a_few_units_in_the_last_place() {
        let values: Vec<f32> = (-40_000..=40_000).map(|at| at as f32 / 397.0).collect();
        for x in &values {
            let found = sigmoid_of_finite(*x);
            let exact = 1.0 / (1.0 + (-f64::from(*x)).exp());
            let error = (f64::from(found) - exact).abs();
            assert!(error <= 5e-7 * exact + 1e-37, "{x}: {found} {exact}");
        }
    }
}
