//! Entropy-coded bits of JPEG-LS: after a byte of ones, a byte has only seven.

use super::Fault;
use crate::markers::has_ones;

#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The `count` highest bits come next. Those below are of `data`, or zero.
    buffer: u64,
    count: u32,
    after_ones: bool,
    fault: Fault,
}

/// No code stands for this number, or a larger one.
pub(super) const TOO_LARGE: u32 = 1 << 20;

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, buffer: 0, count: 0, after_ones: false, fault: Fault::CodeTooLarge }
    }

    /// The next `count` (up to 32) bits.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, Fault> {
        if count == 0 {
            return Ok(0);
        }
        if self.count < count {
            self.fill_slowly();
            if self.count < count {
                return Err(Fault::EndsEarly);
            }
        }
        let bits = self.buffer >> (64 - count);
        self.buffer <<= count;
        self.count -= count;
        Ok(bits as u32)
    }

    /// A limited-length Golomb code (A.5.3): up to `longest` zeros and a one, then `k` or `qbpp` bits.
    /// From [`TOO_LARGE`] on it is not one, and [`Self::fault`] says why.
    #[inline(always)]
    pub(super) fn golomb(&mut self, k: u32, longest: u32, qbpp: u32) -> u32 {
        self.fill();
        let zeros = (self.buffer | 1).leading_zeros();
        let length = zeros + 1 + k;
        if zeros >= longest || length > self.count {
            return self.golomb_slowly(k, longest, qbpp);
        }
        let rest = self.buffer << (zeros + 1);
        self.buffer = rest << k;
        self.count -= length;
        zeros << k | (rest >> 1 >> (63 - k)) as u32
    }

    /// Bit by bit: for the longest codes, and for those at the end of the data.
    #[cold]
    fn golomb_slowly(&mut self, k: u32, longest: u32, qbpp: u32) -> u32 {
        let mut value = || {
            let mut zeros = 0;
            while self.take(1)? == 0 {
                zeros += 1;
                if zeros > longest {
                    return Err(Fault::CodeTooLong);
                }
            }
            if zeros < longest { Ok(zeros << k | self.take(k)?) } else { Ok(self.take(qbpp)? + 1) }
        };
        value().unwrap_or_else(|fault| {
            self.fault = fault;
            TOO_LARGE
        })
    }

    /// Why the last code was none.
    pub(super) fn fault(&self) -> Fault {
        self.fault
    }

    /// At least 32 bits, if there are so many.
    #[inline(always)]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(next) = self.data.first_chunk() {
            let next = u64::from_be_bytes(*next);
            if !has_ones(next) && !self.after_ones {
                self.buffer |= next >> self.count;
                let bytes = (63 - self.count) / 8;
                self.data = &self.data[bytes as usize..];
                self.count += 8 * bytes;
                return;
            }
        }
        self.fill_slowly();
    }

    /// As many as there are, up to 64.
    #[cold]
    fn fill_slowly(&mut self) {
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
}
