//! Grey JPEG-LS, lossless and near-lossless (ITU-T T.87). Letters are those of the standard.

use crate::RadiographError;
use crate::markers::{DRI, Frame, SOS, Segments, u16_at};

/// The samples of `frame`, row by row. Its size must have been bounded.
pub(crate) fn decode(stream: &[u8], frame: &Frame) -> Result<Vec<u16>, RadiographError> {
    if frame.process != SOF55 || frame.components != 1 || !(2..=16).contains(&frame.precision) {
        return Err(damaged("not a grey JPEG-LS stream of 2 to 16 bits"));
    }
    let mut preset = None;
    let mut segments = Segments { rest: stream };
    loop {
        match segments.next()? {
            (LSE, [1, values @ ..]) => preset = Some(Preset::parse(values)?),
            (LSE, _) => return Err(damaged("mapping tables are not supported")),
            (DRI, interval) if interval.iter().any(|byte| *byte != 0) => {
                return Err(damaged("restart intervals are not supported"));
            }
            (SOS, [1, _id, _table, near, _interleave, 0, ..]) => {
                let coding = Coding::new(frame.precision, (*near).into(), preset)?;
                return coding.decode(segments.rest, frame.height, frame.width);
            }
            (SOS, _) => return Err(damaged("scan is not of one component")),
            _ => {}
        }
    }
}

const SOF55: u8 = 0xF7;
const LSE: u8 = 0xF8;

/// Coding parameters written in the stream; 0: the default.
struct Preset {
    maxval: i32,
    thresholds: [i32; 3],
    reset: i32,
}

impl Preset {
    fn parse(values: &[u8]) -> Result<Self, RadiographError> {
        let word = |i: usize| u16_at(values, 2 * i).map(i32::from);
        Ok(Self { maxval: word(0)?, thresholds: [word(1)?, word(2)?, word(3)?], reset: word(4)? })
    }
}

/// What stays the same during a scan.
struct Coding {
    maxval: i32,
    near: i32,
    range: i32,
    /// Bits of a mapped error.
    qbpp: u32,
    /// Longest code.
    limit: u32,
    thresholds: [i32; 3],
    reset: i32,
}

impl Coding {
    fn new(precision: u8, near: i32, preset: Option<Preset>) -> Result<Self, RadiographError> {
        let largest = (1 << precision) - 1;
        let or_default = |value: i32, default: i32| if value == 0 { default } else { value };
        let maxval = preset.as_ref().map_or(largest, |preset| or_default(preset.maxval, largest));
        if maxval > largest || near > 255.min(maxval / 2) {
            return Err(damaged("coding parameters are out of range"));
        }
        let defaults = default_thresholds(maxval, near);
        let thresholds = preset.as_ref().map_or(defaults, |preset| {
            std::array::from_fn(|i| or_default(preset.thresholds[i], defaults[i]))
        });
        let reset = preset.as_ref().map_or(64, |preset| or_default(preset.reset, 64));
        let [t1, t2, t3] = thresholds;
        if !(near < t1 && t1 <= t2 && t2 <= t3 && t3 <= maxval) || reset < 3 {
            return Err(damaged("coding parameters are out of range"));
        }
        let range = (maxval + 2 * near) / (2 * near + 1) + 1;
        let bits = |n: i32| 32 - (n - 1).leading_zeros(); // ⌈log2 n⌉
        let bpp = bits(maxval + 1).max(2);
        let limit = 2 * (bpp + bpp.max(8));
        Ok(Self { maxval, near, range, qbpp: bits(range), limit, thresholds, reset })
    }

    fn decode(
        &self,
        data: &[u8],
        height: usize,
        width: usize,
    ) -> Result<Vec<u16>, RadiographError> {
        let mut state = State::new(self.range, Bits::new(data));
        let mut pixels = Vec::with_capacity(height * width);
        // Rows with one sample more on either side: [0] is left of the first, [width + 1] right.
        let mut above = vec![0; width + 2];
        let mut row = vec![0; width + 2];
        for _ in 0..height {
            above[width + 1] = above[width];
            row[0] = above[1];
            self.row(&mut state, &above, &mut row)?;
            pixels.extend(row[1..=width].iter().map(|sample| *sample as u16));
            std::mem::swap(&mut above, &mut row);
        }
        Ok(pixels)
    }

    fn row(
        &self,
        state: &mut State<'_>,
        above: &[i32],
        row: &mut [i32],
    ) -> Result<(), RadiographError> {
        let end = row.len() - 1;
        let mut x = 1;
        while x < end {
            let (a, b, c, d) = (row[x - 1], above[x], above[x - 1], above[x + 1]);
            let gradients = [d - b, b - c, c - a];
            if gradients.iter().any(|gradient| gradient.abs() > self.near) {
                row[x] = self.regular(state, gradients, [a, b, c])?;
                x += 1;
                continue;
            }
            let length = state.run(end - x)?;
            row[x..x + length].fill(a);
            x += length;
            if x < end {
                row[x] = self.interruption(state, a, above[x])?;
                x += 1;
            }
        }
        Ok(())
    }

    /// A sample predicted from its neighbours (A.4 to A.6).
    fn regular(
        &self,
        state: &mut State<'_>,
        gradients: [i32; 3],
        [a, b, c]: [i32; 3],
    ) -> Result<i32, RadiographError> {
        let [q1, q2, q3] = gradients.map(|gradient| self.quantized(gradient));
        let q = 81 * q1 + 9 * q2 + q3;
        let sign = q.signum();
        let context = &mut state.contexts[q.unsigned_abs() as usize];
        let median = if c >= a.max(b) {
            a.min(b)
        } else if c <= a.min(b) {
            a.max(b)
        } else {
            a + b - c
        };
        let prediction = (median + sign * context.c).clamp(0, self.maxval);
        let k = context.k(context.a);
        let mapped = state.bits.golomb(k, self.limit, self.qbpp)?;
        let flipped = self.near == 0 && k == 0 && 2 * context.b <= -context.n;
        let error = match (mapped & 1 == 1, flipped) {
            (false, false) => mapped >> 1,
            (true, false) => -(mapped >> 1) - 1,
            (true, true) => mapped >> 1,
            (false, true) => -(mapped >> 1) - 1,
        };
        context.update(error, self.near, self.reset);
        Ok(self.sample(prediction, sign * error))
    }

    /// The sample that ends a run (A.7.2).
    fn interruption(&self, state: &mut State<'_>, a: i32, b: i32) -> Result<i32, RadiographError> {
        let alike = i32::from((a - b).abs() <= self.near);
        let context = &mut state.contexts[(365 + alike) as usize];
        let k = context.k(context.a.saturating_add(alike * (context.n >> 1)));
        let limit = self.limit - J[state.run_index] - 1;
        let mapped = state.bits.golomb(k, limit, self.qbpp)?;
        let odd = (mapped + alike) & 1;
        let size = (mapped + alike + odd) / 2;
        let negative = i32::from(k != 0 || 2 * context.negatives >= context.n) == odd;
        let error = if negative { -size } else { size };
        context.update_interruption(error, (mapped + 1 - alike) >> 1, self.reset);
        state.run_index = state.run_index.saturating_sub(1);
        let (prediction, sign) = match alike {
            1 => (a, 1),
            _ => (b, if a > b { -1 } else { 1 }),
        };
        Ok(self.sample(prediction, sign * error))
    }

    fn quantized(&self, gradient: i32) -> i32 {
        let [t1, t2, t3] = self.thresholds;
        let size = gradient.abs();
        let level = if size <= self.near {
            0
        } else {
            1 + i32::from(size >= t1) + i32::from(size >= t2) + i32::from(size >= t3)
        };
        level * gradient.signum()
    }

    /// Prediction plus error, modulo the range (A.4.5).
    fn sample(&self, prediction: i32, error: i32) -> i32 {
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

/// C.2.4.1.1.
fn default_thresholds(maxval: i32, near: i32) -> [i32; 3] {
    let within = |value: i32, low: i32| if value > maxval || value < low { low } else { value };
    let basic = if maxval >= 128 {
        let factor = (maxval.min(4095) + 128) / 256;
        [factor + 2, 4 * factor + 3, 17 * factor + 4]
    } else {
        let factor = 256 / (maxval + 1);
        [3 / factor, 7 / factor, 21 / factor]
    };
    let least = if maxval >= 128 { [0, 0, 0] } else { [2, 3, 4] };
    let t1 = within((basic[0] + 3 * near).max(least[0]), near + 1);
    let t2 = within((basic[1] + 5 * near).max(least[1]), t1);
    let t3 = within((basic[2] + 7 * near).max(least[2]), t2);
    [t1, t2, t3]
}

/// What is learnt during a scan.
struct State<'a> {
    bits: Bits<'a>,
    /// 365 of regular mode, two of run interruption.
    contexts: Vec<Context>,
    run_index: usize,
}

impl<'a> State<'a> {
    fn new(range: i32, bits: Bits<'a>) -> Self {
        let context = Context { a: ((range + 32) / 64).max(2), b: 0, c: 0, n: 1, negatives: 0 };
        Self { bits, contexts: vec![context; 367], run_index: 0 }
    }

    /// How many of `left` samples repeat the one before (A.7.1).
    fn run(&mut self, left: usize) -> Result<usize, RadiographError> {
        let mut length = 0;
        while self.bits.bit()? == 1 {
            let stretch = 1 << J[self.run_index];
            if length + stretch <= left && self.run_index < 31 {
                self.run_index += 1;
            }
            length += stretch;
            if length >= left {
                return Ok(left);
            }
        }
        length += self.bits.take(J[self.run_index])? as usize;
        if length >= left {
            return Err(damaged("a run is longer than its row"));
        }
        Ok(length)
    }
}

/// Statistics of one kind of neighbourhood.
#[derive(Clone)]
struct Context {
    /// Sum of error sizes.
    a: i32,
    /// Sum of errors.
    b: i32,
    /// Correction of the prediction.
    c: i32,
    /// How many.
    n: i32,
    /// How many negative errors (run interruption).
    negatives: i32,
}

impl Context {
    /// The Golomb parameter.
    fn k(&self, a: i32) -> u32 {
        (0..24).find(|k| i64::from(self.n) << k >= a.into()).unwrap_or(24)
    }

    fn update(&mut self, error: i32, near: i32, reset: i32) {
        self.a = self.a.saturating_add(error.abs());
        self.b += error * (2 * near + 1);
        if self.n == reset {
            self.a >>= 1;
            self.b >>= 1;
            self.n >>= 1;
        }
        self.n += 1;
        if self.b <= -self.n {
            self.b = (self.b + self.n).max(1 - self.n);
            self.c = (self.c - 1).max(-128);
        } else if self.b > 0 {
            self.b = (self.b - self.n).min(0);
            self.c = (self.c + 1).min(127);
        }
    }

    fn update_interruption(&mut self, error: i32, size: i32, reset: i32) {
        self.negatives += i32::from(error < 0);
        self.a = self.a.saturating_add(size);
        if self.n == reset {
            self.a >>= 1;
            self.n >>= 1;
            self.negatives >>= 1;
        }
        self.n += 1;
    }
}

/// Bits of a run's length by run index.
const J: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

/// Entropy-coded bits: after a byte of ones, a byte has only seven.
struct Bits<'a> {
    data: &'a [u8],
    /// The `count` highest bits have been taken from `data` and not yet been used.
    buffer: u64,
    count: u32,
    after_ones: bool,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, buffer: 0, count: 0, after_ones: false }
    }

    /// As many as there are, up to 56.
    fn fill(&mut self) {
        while self.count <= 56 {
            let [byte, rest @ ..] = self.data else { return };
            if self.after_ones && byte & 0x80 != 0 {
                return; // a marker
            }
            let bits = if self.after_ones { 7 } else { 8 };
            self.after_ones = *byte == 0xFF;
            self.buffer |= u64::from(*byte) << (64 - bits - self.count);
            self.count += bits;
            self.data = rest;
        }
    }

    /// The next `count` (up to 32) bits.
    fn take(&mut self, count: u32) -> Result<u32, RadiographError> {
        if count == 0 {
            return Ok(0);
        }
        if self.count < count {
            self.fill();
            if self.count < count {
                return Err(damaged("entropy-coded data ends early"));
            }
        }
        let bits = self.buffer >> (64 - count);
        self.buffer <<= count;
        self.count -= count;
        Ok(bits as u32)
    }

    fn bit(&mut self) -> Result<u32, RadiographError> {
        self.take(1)
    }

    /// A limited-length Golomb code (A.5.3).
    fn golomb(&mut self, k: u32, limit: u32, qbpp: u32) -> Result<i32, RadiographError> {
        let longest = limit - qbpp - 1;
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > longest {
                return Err(damaged("a code is too long"));
            }
        }
        let value = if zeros < longest { zeros << k | self.take(k)? } else { self.take(qbpp)? + 1 };
        i32::try_from(value)
            .ok()
            .filter(|value| *value < 1 << 20)
            .ok_or_else(|| damaged("a code is too large"))
    }
}

fn damaged(reason: &str) -> RadiographError {
    RadiographError::Decode { format: "JPEG-LS", reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T.87 annex H.3: a picture and its complete stream.
    #[test]
    fn the_standards_own_example_decodes() {
        #[rustfmt::skip]
        let stream = [
            0xFF, 0xD8, 0xFF, 0xF7, 0x00, 0x0B, 0x08, 0x00, 0x04, 0x00, 0x04, 0x01, 0x01, 0x11, 0x00,
            0xFF, 0xDA, 0x00, 0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00,
            0xC0, 0x00, 0x00, 0x6C, 0x80, 0x20, 0x8E, 0x01, 0xC0, 0x00, 0x00, 0x57, 0x40, 0x00, 0x00,
            0x6E, 0xE6, 0x00, 0x00, 0x01, 0xBC, 0x18, 0x00, 0x00, 0x05, 0xD8, 0x00, 0x00, 0x91, 0x60,
            0xFF, 0xD9,
        ];
        let frame = Frame::find(&stream).unwrap();
        assert_eq!((frame.height, frame.width, frame.precision), (4, 4, 8));
        let picture = [0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145];
        assert_eq!(decode(&stream, &frame).unwrap(), picture);
        for cut in 0..stream.len() - 4 {
            assert!(decode(&stream[..cut], &frame).is_err(), "{cut}");
        }
    }
}
