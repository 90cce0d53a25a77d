//! What is learnt during a scan: statistics of each kind of neighbourhood.

use super::Coding;

/// Statistics of regular mode.
#[derive(Clone, Copy)]
pub(super) struct Context {
    /// Sum of error sizes.
    a: i32,
    /// Sum of errors.
    b: i32,
    /// Correction of the prediction.
    pub(super) c: i32,
    /// How many.
    n: i32,
}

impl Context {
    pub(super) fn new(coding: &Coding) -> Self {
        Self { a: first_a(coding), b: 0, c: 0, n: 1 }
    }

    /// The Golomb parameter.
    #[inline(always)]
    pub(super) fn k(&self) -> u32 {
        parameter(self.a, self.n)
    }

    /// The error that a code stands for (A.5.2); `k` is [`Self::k`].
    #[inline(always)]
    pub(super) fn error(&self, mapped: u32, k: u32, is_lossless: bool) -> i32 {
        // All ones if small numbers mean the other sign.
        let flipped = ((2 * self.b + self.n - 1) & (k as i32 - 1)) >> 31;
        let flipped = if is_lossless { flipped } else { 0 };
        (mapped >> 1) as i32 ^ -((mapped & 1) as i32) ^ flipped
    }

    /// Learns from an error (A.6). Without branches: errors are noise.
    #[inline(always)]
    pub(super) fn update(&mut self, error: i32, near: i32, reset: i32) {
        let halve = i32::from(self.n == reset);
        let n = (self.n >> halve) + 1;
        let b = (self.b + error * (2 * near + 1)) >> halve;
        let [is_low, is_high] = [b + n - 1, -b].map(|x| x >> 31); // all ones: b <= -n, b > 0
        self.a = self.a.saturating_add(error.abs()) >> halve;
        self.b = (b + (n & is_low) - (n & is_high)).max(1 - n).min(0);
        self.c = (self.c + is_low - is_high).clamp(-128, 127);
        self.n = n;
    }
}

/// Statistics of what ends a run.
#[derive(Clone, Copy)]
pub(super) struct Interruption {
    /// Sum of error sizes.
    a: i32,
    n: i32,
    /// How many errors were negative.
    negatives: i32,
}

impl Interruption {
    pub(super) fn new(coding: &Coding) -> Self {
        Self { a: first_a(coding), n: 1, negatives: 0 }
    }

    /// The Golomb parameter; `alike`: whether left and above agree.
    pub(super) fn k(&self, alike: bool) -> u32 {
        let half = if alike { self.n >> 1 } else { 0 };
        parameter(self.a.saturating_add(half), self.n)
    }

    /// The error that a code stands for (A.7.2.1).
    pub(super) fn error(&self, mapped: u32, alike: bool, k: u32) -> i32 {
        let mapped = mapped as i32 + i32::from(alike);
        let is_odd = mapped & 1 == 1;
        let size = (mapped + 1) >> 1;
        let is_negative = (k != 0 || 2 * self.negatives >= self.n) == is_odd;
        if is_negative { -size } else { size }
    }

    pub(super) fn update(&mut self, error: i32, mapped: u32, alike: bool, reset: i32) {
        let halve = i32::from(self.n == reset);
        let size = (mapped as i32 + 1 - i32::from(alike)) >> 1;
        self.negatives = (self.negatives + i32::from(error < 0)) >> halve;
        self.a = self.a.saturating_add(size) >> halve;
        self.n = (self.n >> halve) + 1;
    }
}

fn first_a(coding: &Coding) -> i32 {
    ((coding.range + 32) / 64).max(2)
}

/// The smallest `k` with `n << k >= a`. `n` is positive, `a` not negative and, since no error is
/// larger, at most `n << 20`.
#[inline(always)]
fn parameter(a: i32, n: i32) -> u32 {
    let k = (n | 1).leading_zeros().saturating_sub((a | 1).leading_zeros());
    k + u32::from(n << k < a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golomb_parameter_is_the_standards() {
        let around = |bit: i32| [-1, 0, 1].map(|near| near + (1 << bit));
        for a in (0..26).flat_map(around) {
            for n in [1, 2, 3, 4, 31, 32, 33, 63, 64, 65_535] {
                let defined = (0..).find(|k| i64::from(n) << k >= i64::from(a)).unwrap();
                assert_eq!(parameter(a, n), defined, "{a} {n}");
            }
        }
    }
}
