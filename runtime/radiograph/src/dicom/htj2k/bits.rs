//! Bits of the four streams of a code-block (T.814 7.1), the first bit lowest.
//!
//! A byte after 0xFF has seven bits, and so has one that would look like 0xFF to who reads backwards:
//! no marker can appear in a block.

/// The lowest and the highest bit of each byte.
const LOWEST: u32 = 0x0101_0101;
const HIGHEST: u32 = 0x8080_8080;

/// A stream from its first byte on. What lies past its end are bits of `beyond`.
pub(super) struct Forward<'a> {
    rest: &'a [u8],
    buffer: u64,
    length: u32,
    after_ones: bool,
    beyond: u8,
}

impl<'a> Forward<'a> {
    pub(super) fn new(bytes: &'a [u8], beyond: u8) -> Self {
        Self { rest: bytes, buffer: 0, length: 0, after_ones: false, beyond }
    }

    /// The next `count` bits, at most 32.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if self.length < 32 {
            self.fill();
        }
        let bits = self.buffer & ((1 << count) - 1);
        self.buffer >>= count;
        self.length -= count;
        bits as u32
    }

    #[inline(always)]
    fn fill(&mut self) {
        if let Some((four, rest)) = self.rest.split_first_chunk()
            && let word = u32::from_le_bytes(*four)
            && !self.after_ones
            && (!word).wrapping_sub(LOWEST) & word & HIGHEST == 0
        {
            // None of the four bytes is 0xFF.
            self.buffer |= u64::from(word) << self.length;
            (self.length, self.rest) = (self.length + 32, rest);
            return;
        }
        self.fill_bytewise();
    }

    #[cold]
    fn fill_bytewise(&mut self) {
        while self.length <= 56 {
            let byte = match self.rest.split_first() {
                None => self.beyond,
                Some((byte, rest)) => {
                    self.rest = rest;
                    *byte
                }
            };
            let bits = if self.after_ones { 7 } else { 8 };
            self.buffer |= (u64::from(byte) & ((1 << bits) - 1)) << self.length;
            self.length += bits;
            self.after_ones = byte == 0xFF;
        }
    }
}

/// A stream from its last byte to its first. What lies before that are zeros.
pub(super) struct Backward<'a> {
    rest: &'a [u8],
    buffer: u64,
    length: u32,
    after_large: bool,
}

impl<'a> Backward<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, buffer: 0, length: 0, after_large: true }
    }

    /// One that begins in the upper half of a byte, which `bytes` come before.
    pub(super) fn from_upper_half(bytes: &'a [u8], byte: u8) -> Self {
        let length = if byte >> 4 & 7 == 7 { 3 } else { 4 };
        let buffer = u64::from(byte >> 4) & ((1 << length) - 1);
        Self { rest: bytes, buffer, length, after_large: byte | 15 > 0x8F }
    }

    /// The next bits, at least 32 of them, none of which is taken.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> u64 {
        if self.length < 32 {
            self.fill();
        }
        self.buffer
    }

    /// What is left of the bits that were seen.
    #[inline(always)]
    pub(super) fn seen(&self) -> u64 {
        self.buffer
    }

    /// Takes bits that were seen.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.buffer >>= count;
        self.length -= count;
    }

    #[inline(always)]
    pub(super) fn take_seen(&mut self, count: u32) -> u32 {
        let bits = self.buffer & ((1 << count) - 1);
        self.skip(count);
        bits as u32
    }

    pub(super) fn take(&mut self, count: u32) -> u32 {
        self.peek();
        self.take_seen(count)
    }

    #[inline(always)]
    fn fill(&mut self) {
        if let Some((rest, four)) = self.rest.split_last_chunk()
            && let word = u32::from_be_bytes(*four)
            && (word & !HIGHEST).wrapping_add(LOWEST) & HIGHEST == 0
        {
            // None of the four bytes has seven ones.
            self.buffer |= u64::from(word) << self.length;
            (self.length, self.rest) = (self.length + 32, rest);
            self.after_large = four[0] > 0x8F;
            return;
        }
        self.fill_bytewise();
    }

    #[cold]
    fn fill_bytewise(&mut self) {
        while self.length <= 56 {
            let byte = match self.rest.split_last() {
                None => 0,
                Some((byte, rest)) => {
                    self.rest = rest;
                    *byte
                }
            };
            let bits = if self.after_large && byte & 0x7F == 0x7F { 7 } else { 8 };
            self.buffer |= (u64::from(byte) & ((1 << bits) - 1)) << self.length;
            self.length += bits;
            self.after_large = byte > 0x8F;
        }
    }
}

/// Runs of zeros (the MEL coder of T.814 7.3.3), highest bit first.
pub(super) struct Runs<'a> {
    rest: &'a [u8],
    /// The last byte of the stream, which shares its lower half with another stream.
    last: Option<u8>,
    byte: u8,
    left: u32,
    state: usize,
    zeros: u32,
    ends_in_one: bool,
}

impl<'a> Runs<'a> {
    pub(super) fn new(bytes: &'a [u8], last: u8) -> Self {
        let (byte, left, state, zeros) = (0, 0, 0, 0);
        Self { rest: bytes, last: Some(last | 15), byte, left, state, zeros, ends_in_one: false }
    }

    pub(super) fn next(&mut self) -> bool {
        const EXPONENTS: [u32; 13] = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5];
        if self.zeros == 0 && !self.ends_in_one {
            let exponent = EXPONENTS[self.state];
            if self.bit() == 1 {
                self.zeros = 1 << exponent;
                self.state = (self.state + 1).min(EXPONENTS.len() - 1);
            } else {
                self.zeros = (0..exponent).fold(0, |zeros, _| zeros << 1 | self.bit());
                self.ends_in_one = true;
                self.state = self.state.saturating_sub(1);
            }
        }
        if self.zeros > 0 {
            self.zeros -= 1;
            return false;
        }
        self.ends_in_one = false;
        true
    }

    fn bit(&mut self) -> u32 {
        if self.left == 0 {
            self.left = if self.byte == 0xFF { 7 } else { 8 };
            self.byte = match self.rest.split_first() {
                Some((byte, rest)) => {
                    self.rest = rest;
                    *byte
                }
                None => self.last.take().unwrap_or(0xFF),
            };
        }
        self.left -= 1;
        u32::from(self.byte >> self.left & 1)
    }
}
