//! Huffman-coded data of JPEG streams: its bits, and the tables of its codes (T.81 annexes C and F).
//!
//! Reading past the end gives zeros and is noted: whoever reads asks [`Bits::check`] after each row,
//! not after each code.

use crate::RadiographError;
use crate::markers::has_ones;

/// A canonical Huffman code.
pub(crate) struct Table {
    /// By the next [`LOOK`] bits.
    look: Box<[Entry; 1 << LOOK]>,
    /// By length 1 … 16: first code, its symbol's index, and how many codes there are.
    lengths: [(u32, usize, u32); 16],
    symbols: Vec<u8>,
}

/// Codes of up to this many bits are found in one look.
const LOOK: u32 = 11;

#[derive(Clone, Copy)]
struct Entry {
    /// Bits of the code; 0: no code, or a longer one.
    length: u8,
    symbol: u8,
}

/// The tables of a DHT segment: class (0: differences, 1: coefficients), place (0 … 3), table.
pub(crate) fn tables(mut body: &[u8]) -> Result<Vec<(u8, usize, Table)>, RadiographError> {
    let mut tables = Vec::new();
    while let Some((kind, rest)) = body.split_first() {
        let (counts, rest) = rest.split_first_chunk().ok_or_else(|| damaged("short DHT"))?;
        let total = counts.iter().map(|n| usize::from(*n)).sum();
        let (symbols, rest) = rest.split_at_checked(total).ok_or_else(|| damaged("short DHT"))?;
        tables.push((kind >> 4, usize::from(kind & 3), Table::new(counts, symbols)?));
        body = rest;
    }
    Ok(tables)
}

impl Table {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, RadiographError> {
        let mut lengths = [(0, 0, 0); 16];
        let mut look = Box::new([Entry { length: 0, symbol: 0 }; 1 << LOOK]);
        let (mut code, mut index) = (0u32, 0usize);
        for (length, count) in (1u32..).zip(counts) {
            let end = code + u32::from(*count);
            if end > 1 << length {
                return Err(damaged("more Huffman codes than there is room for"));
            }
            lengths[length as usize - 1] = (code, index, (*count).into());
            if let Some(left) = LOOK.checked_sub(length) {
                for (code, symbol) in (code..end).zip(&symbols[index..]) {
                    let entry = Entry { length: length as u8, symbol: *symbol };
                    look[(code << left) as usize..((code + 1) << left) as usize].fill(entry);
                }
            }
            index += usize::from(*count);
            code = end << 1;
        }
        Ok(Self { look, lengths, symbols: symbols.to_vec() })
    }

    /// The length and the symbol of the code that `buffer` begins with.
    #[inline(always)]
    fn find(&self, buffer: u64) -> Option<Entry> {
        let entry = self.look[(buffer >> (64 - LOOK)) as usize];
        if entry.length > 0 { Some(entry) } else { self.find_long(buffer) }
    }

    #[cold]
    fn find_long(&self, buffer: u64) -> Option<Entry> {
        let by_length = (1u32..).zip(&self.lengths).skip(LOOK as usize);
        by_length.into_iter().find_map(|(length, (first, index, count))| {
            let place = ((buffer >> (64 - length)) as u32).checked_sub(*first)?;
            let symbol = *self.symbols.get(index + place as usize)?;
            (place < *count).then_some(Entry { length: length as u8, symbol })
        })
    }
}

/// Entropy-coded bits, with stuffed zeros removed, up to the next marker.
pub(crate) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The `count` highest bits come next. Those below are of `data[at..]`, or zero.
    buffer: u64,
    count: u32,
    /// How many of the bits in `buffer`, or taken from it, were made up after the end.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, buffer: 0, count: 0, made_up: 0 }
    }

    /// The number that a code announces the size of (T.81 F.2.2.1), 16 being one without further
    /// bits (H.1.2.2). `None`: no code, or one of a larger size.
    #[inline(always)]
    pub(crate) fn difference(&mut self, table: &Table) -> Option<i32> {
        self.fill();
        let entry = table.find(self.buffer)?;
        self.skip(entry.length);
        if entry.symbol > 15 {
            return (entry.symbol == 16).then_some(1 << 15);
        }
        Some(self.number(entry.symbol))
    }

    /// The symbol of the next code, and so many zeros and such a number as it says (T.81 F.2.2.2).
    #[inline(always)]
    pub(crate) fn coefficient(&mut self, table: &Table) -> Option<(u8, i32)> {
        self.fill();
        let entry = table.find(self.buffer)?;
        self.skip(entry.length);
        Some((entry.symbol, self.number(entry.symbol & 15)))
    }

    /// Whether all bits taken so far were there.
    pub(crate) fn check(&self) -> Result<(), RadiographError> {
        if self.count < self.made_up {
            return Err(damaged("entropy-coded data ends early"));
        }
        Ok(())
    }

    /// Passes over restart marker `number`, modulo 8, which must come next.
    pub(crate) fn restart(&mut self, number: usize) -> Result<(), RadiographError> {
        self.check()?;
        self.fill_slowly();
        let is_padding = self.count - self.made_up < 8;
        let mut rest = &self.data[self.at..];
        while let [0xFF, after @ ..] = rest
            && after.first() == Some(&0xFF)
        {
            rest = after;
        }
        match rest {
            [0xFF, marker, rest @ ..]
                if is_padding && usize::from(*marker) == RST0 + number % 8 =>
            {
                *self = Self::new(rest);
                Ok(())
            }
            _ => Err(damaged("a restart marker is missing")),
        }
    }

    /// What has not been read, markers included.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.data[self.at..]
    }

    /// A signed number of `size` (at most 15) bits, which must have been filled.
    #[inline(always)]
    fn number(&mut self, size: u8) -> i32 {
        let bits = (self.buffer >> 1 >> (63 - size)) as i32;
        let is_negative = !((self.buffer as i64) >> 63) as i32; // all ones, or 0
        self.skip(size);
        bits - (((1 << size) - 1) & is_negative)
    }

    #[inline(always)]
    fn skip(&mut self, count: u8) {
        self.buffer <<= count;
        self.count -= u32::from(count);
    }

    /// At least 32 bits: the longest code and its number.
    #[inline(always)]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(next) = self.data[self.at..].first_chunk() {
            let next = u64::from_be_bytes(*next);
            if !has_ones(next) {
                self.buffer |= next >> self.count;
                let bytes = (63 - self.count) / 8;
                self.at += bytes as usize;
                self.count += 8 * bytes;
                return;
            }
        }
        self.fill_slowly();
    }

    #[cold]
    fn fill_slowly(&mut self) {
        while self.count <= 56 {
            let (byte, length) = match self.data[self.at..] {
                [0xFF, 0x00, ..] => (0xFF, 2),
                [0xFF, ..] | [] => (0, 0), // a marker, or nothing
                [byte, ..] => (byte, 1),
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.at += length;
            self.made_up += if length == 0 { 8 } else { 0 };
        }
    }
}

const RST0: usize = 0xD0;

fn damaged(reason: &str) -> RadiographError {
    RadiographError::Decode { format: "JPEG", reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes 0, 10, 110, … of 1 … 16 bits.
    fn unary() -> Table {
        let symbols: Vec<u8> = (0..16).collect();
        Table::new(&[1; 16], &symbols).unwrap()
    }

    #[test]
    fn codes_of_every_length_are_found() {
        let table = unary();
        for length in 1..=16u32 {
            let ones = u64::MAX.checked_shl(65 - length).unwrap_or_default();
            let code = ones | 0x0123_4567; // ones, a zero, anything
            let entry = table.find(code).unwrap();
            assert_eq!((u32::from(entry.length), u32::from(entry.symbol)), (length, length - 1));
        }
        assert!(table.find(u64::MAX).is_none());
    }

    #[test]
    fn a_table_with_more_codes_than_bits_can_tell_apart_is_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Table::new(&counts, &[0, 1, 2]).is_err());
    }

    #[test]
    fn stuffed_zeros_are_removed_wherever_they_stand() {
        let table = unary();
        for zeros in 0..20 {
            // As many ones-and-a-zero codes as there are bits: symbol 0 for each zero bit.
            let mut data = vec![0; zeros];
            data.extend([0xFF, 0x00, 0b0111_1111, 0, 0, 0, 0, 0, 0, 0, 0]);
            let mut bits = Bits::new(&data);
            for _ in 0..8 * zeros {
                assert_eq!(bits.coefficient(&table).unwrap().0, 0);
            }
            assert_eq!(bits.coefficient(&table).unwrap(), (8, 0b1111_1110), "{zeros}");
            bits.check().unwrap();
        }
    }

    #[test]
    fn bits_after_the_end_are_noticed() {
        let table = unary();
        let mut bits = Bits::new(&[0b1101_1010, 0xFF, 0xD9]);
        assert_eq!(bits.coefficient(&table).unwrap(), (2, 0b11));
        bits.check().unwrap();
        bits.difference(&table).unwrap();
        bits.check().unwrap();
        for _ in 0..4 {
            bits.difference(&table).unwrap();
        }
        assert!(bits.check().is_err());
    }
}
