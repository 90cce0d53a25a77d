//! Rows of a scan: each sample is predicted from its neighbours, or repeats the one before.
//!
//! ```text
//! c b d    above
//! a x      the row that is decoded
//! ```
//!
//! A sample cannot begin before the one to its left is known. So what depends on the row above alone
//! is computed for the whole row before, and the rest has as few steps in sequence as possible.

use super::{
    Coding, Fault,
    bits::{Bits, TOO_LARGE},
    contexts::{Context, Interruption},
};

/// The samples of a scan, row by row.
pub(super) fn decode(
    coding: &Coding,
    data: &[u8],
    [height, width]: [usize; 2],
) -> Result<Vec<u16>, Fault> {
    let mut scan = Scan {
        coding,
        levels: (-coding.maxval..=coding.maxval)
            .map(|gradient| coding.level(gradient) as i8)
            .collect(),
        contexts: [Context::new(coding); 365],
        interruptions: [Interruption::new(coding); 2],
        run_index: 0,
        bits: Bits::new(data),
    };
    let mut samples = Vec::with_capacity(height * width);
    // Rows with one sample more on either side: [0] is left of the first, [width + 1] right.
    let mut above = vec![0; width + 2];
    let mut row = vec![0; width + 2];
    let mut halves = vec![0; width + 2];
    let is_plain = coding.near == 0 && coding.maxval & (coding.maxval + 1) == 0;
    for _ in 0..height {
        above[width + 1] = above[width];
        row[0] = above[1];
        coding.halves(&above, &mut halves);
        match is_plain {
            true => scan.row::<true>(&halves, &above, &mut row)?,
            false => scan.row::<false>(&halves, &above, &mut row)?,
        }
        samples.extend(row[1..=width].iter().map(|sample| *sample as u16));
        std::mem::swap(&mut above, &mut row);
    }
    Ok(samples)
}

struct Scan<'a> {
    coding: &'a Coding,
    /// Of every gradient, from -maxval on.
    levels: Vec<i8>,
    /// By the size of the number that three levels make.
    contexts: [Context; 365],
    /// Of runs that end between unlike and between like neighbours.
    interruptions: [Interruption; 2],
    run_index: usize,
    bits: Bits<'a>,
}

impl Scan<'_> {
    /// `PLAIN`: lossless, of a range that is a power of two.
    fn row<const PLAIN: bool>(
        &mut self,
        halves: &[i32],
        above: &[i32],
        row: &mut [i32],
    ) -> Result<(), Fault> {
        let end = row.len() - 1;
        let (halves, above) = (&halves[..=end], &above[..=end]);
        let mut bits = self.bits; // a copy stays in registers
        let mut x = 1;
        let (mut a, mut b, mut c) = (row[0], above[1], above[0]);
        while x < end {
            let level = self.levels[(c - a + self.coding.maxval) as usize];
            let q = halves[x] + i32::from(level);
            if q != 0 {
                a = self.regular::<PLAIN>(&mut bits, q, [a, b, c])?;
                row[x] = a;
            } else {
                let length = self.run(&mut bits, end - x)?;
                row[x..x + length].fill(a);
                x += length;
                if x == end {
                    break;
                }
                a = self.interruption(&mut bits, a, above[x])?;
                row[x] = a;
            }
            (b, c) = (above[x + 1], above[x]);
            x += 1;
        }
        self.bits = bits;
        Ok(())
    }

    /// A sample predicted from its neighbours (A.4 to A.6); `q`: the levels of their gradients.
    #[inline(always)]
    fn regular<const PLAIN: bool>(
        &mut self,
        bits: &mut Bits<'_>,
        q: i32,
        [a, b, c]: [i32; 3],
    ) -> Result<i32, Fault> {
        let coding = self.coding;
        let sign = q >> 31; // 0, or all ones
        let signed = |value: i32| (value ^ sign) - sign;
        let context = &mut self.contexts[signed(q) as usize];
        let median = a.min(b).max(a.max(b).min(a + b - c));
        let prediction = (median + signed(context.c)).max(0).min(coding.maxval);
        let k = context.k();
        let mapped = bits.golomb(k, coding.limit - coding.qbpp - 1, coding.qbpp);
        if mapped >= TOO_LARGE {
            return Err(bits.fault());
        }
        let error = context.error(mapped, k, PLAIN || coding.near == 0);
        context.update(error, if PLAIN { 0 } else { coding.near }, coding.reset);
        Ok(coding.sample::<PLAIN>(prediction, signed(error)))
    }

    /// How many of `left` samples repeat the one before (A.7.1).
    fn run(&mut self, bits: &mut Bits<'_>, left: usize) -> Result<usize, Fault> {
        let mut length = 0;
        while bits.take(1)? == 1 {
            let stretch = 1 << J[self.run_index];
            if length + stretch <= left && self.run_index < 31 {
                self.run_index += 1;
            }
            length += stretch;
            if length >= left {
                return Ok(left);
            }
        }
        length += bits.take(J[self.run_index])? as usize;
        if length < left { Ok(length) } else { Err(Fault::RunTooLong) }
    }

    /// The sample that ends a run (A.7.2).
    fn interruption(&mut self, bits: &mut Bits<'_>, a: i32, b: i32) -> Result<i32, Fault> {
        let coding = self.coding;
        let alike = (a - b).abs() <= coding.near;
        let context = &mut self.interruptions[usize::from(alike)];
        let k = context.k(alike);
        let limit = coding.limit - J[self.run_index] - 1;
        let mapped = bits.golomb(k, limit - coding.qbpp - 1, coding.qbpp);
        if mapped >= TOO_LARGE {
            return Err(bits.fault());
        }
        let error = context.error(mapped, alike, k);
        context.update(error, mapped, alike, coding.reset);
        self.run_index = self.run_index.saturating_sub(1);
        Ok(match alike {
            true => coding.sample::<false>(a, error),
            false => coding.sample::<false>(b, if a > b { -error } else { error }),
        })
    }
}

impl Coding {
    /// What the row above makes of the context of each sample: 81 q1 + 9 q2.
    fn halves(&self, above: &[i32], halves: &mut [i32]) {
        for (half, neighbours) in halves[1..].iter_mut().zip(above.windows(3)) {
            let [c, b, d] = *neighbours else { continue };
            *half = 81 * self.level(d - b) + 9 * self.level(b - c);
        }
    }

    /// -4 … 4 (A.3.3).
    #[inline(always)]
    fn level(&self, gradient: i32) -> i32 {
        let [t1, t2, t3] = self.thresholds;
        let size = gradient.abs();
        let is = |beyond: bool| i32::from(beyond);
        let level = is(size > self.near) + is(size >= t1) + is(size >= t2) + is(size >= t3);
        if gradient < 0 { -level } else { level }
    }

    /// Prediction plus error, modulo the range (A.4.5).
    #[inline(always)]
    fn sample<const PLAIN: bool>(&self, prediction: i32, error: i32) -> i32 {
        if PLAIN && (-self.maxval..=self.maxval).contains(&error) {
            return (prediction + error) & self.maxval;
        }
        let step = 2 * self.near + 1;
        let sample = prediction.wrapping_add(error.wrapping_mul(step));
        let period = self.range * step;
        let wrapped = if sample < -self.near {
            sample.wrapping_add(period)
        } else if sample > self.maxval + self.near {
            sample.wrapping_sub(period)
        } else {
            sample
        };
        wrapped.clamp(0, self.maxval)
    }
}

/// Bits of a run's length by run index.
const J: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];
