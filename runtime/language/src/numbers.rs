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

/// `ln(p / (1 − p))` of a share above 0 and below 1.
pub(crate) fn logit(share: f32) -> f32 {
    libm::logf(share / (1.0 - share))
}

/// From the first to the last.
pub(crate) fn mean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = values.len() as f32;
    values.fold(0.0, |sum, x| sum + x) / count
}

/// Products of the same places, summed in eight lanes, then the lanes from the first to the last: an order that
/// compilers can vectorise.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * b;
    }
    lanes.iter().fold(0.0, |sum, x| sum + x)
}
