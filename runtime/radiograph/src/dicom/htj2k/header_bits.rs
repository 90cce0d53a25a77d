//! Bits of the headers of packets (T.800 B.10.1).

/// Bits of a packet's header, the highest first; a byte after 0xFF has seven.
pub(super) struct HeaderBits<'a> {
    rest: &'a [u8],
    byte: u8,
    left: u32,
}

impl<'a> HeaderBits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, byte: 0, left: 0 }
    }

    pub(super) fn next(&mut self) -> Option<u32> {
        if self.left == 0 {
            self.left = if self.byte == 0xFF { 7 } else { 8 };
            (self.byte, self.rest) = self.rest.split_first().map(|(byte, rest)| (*byte, rest))?;
        }
        self.left -= 1;
        Some((self.byte >> self.left & 1).into())
    }

    /// At most 32 bits.
    pub(super) fn take(&mut self, count: u32) -> Option<usize> {
        (0..count).try_fold(0, |bits, _| Some(bits << 1 | self.next()? as usize))
    }

    /// What comes after the header.
    pub(super) fn finish(self) -> Option<&'a [u8]> {
        match self.byte {
            0xFF => self.rest.get(1..),
            _ => Some(self.rest),
        }
    }
}
