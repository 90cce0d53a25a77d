//! Grey 12-bit JPEG (extended sequential, Huffman): the one kind `jpeg-decoder` lacks.
//!
//! ITU-T T.81. The inverse cosine transform is f64 in a fixed order, so that it rounds alike on
//! every CPU.

use crate::RadiographError;
use crate::markers::{DRI, Frame, SOS, Segments, u16_at};

/// Whether [`decode`] is made for this frame.
pub(crate) fn is_meant_for(frame: &Frame) -> bool {
    frame.precision == 12 && frame.process == SOF1 && frame.components == 1
}

/// The samples of `frame`, row by row. Its size must have been bounded.
pub(crate) fn decode(stream: &[u8], frame: &Frame) -> Result<Vec<u16>, RadiographError> {
    let mut tables = Tables::default();
    let mut segments = Segments { rest: stream };
    loop {
        let (marker, body) = segments.next()?;
        match marker {
            DQT => tables.read_quantization(body)?,
            DHT => tables.read_huffman(body)?,
            DRI => tables.restart = u16_at(body, 0)?.into(),
            SOS => return tables.scan(body, frame, segments.rest),
            _ => {}
        }
    }
}

const SOF1: u8 = 0xC1;
const DHT: u8 = 0xC4;
const RST0: u8 = 0xD0;
const DQT: u8 = 0xDB;

/// Tables in force when the scan begins.
#[derive(Default)]
struct Tables {
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// Blocks between restart markers; 0: none.
    restart: usize,
}

impl Tables {
    fn read_quantization(&mut self, mut body: &[u8]) -> Result<(), RadiographError> {
        while let Some((kind, rest)) = body.split_first() {
            let bytes = if kind >> 4 == 0 { 1 } else { 2 };
            let values = rest.get(..64 * bytes).ok_or_else(|| damaged("short DQT"))?;
            let mut table = [0; 64];
            for (entry, value) in table.iter_mut().zip(values.chunks_exact(bytes)) {
                *entry = value.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
            }
            self.quantization[usize::from(kind & 3)] = Some(table);
            body = &rest[64 * bytes..];
        }
        Ok(())
    }

    fn read_huffman(&mut self, mut body: &[u8]) -> Result<(), RadiographError> {
        while let Some((kind, rest)) = body.split_first() {
            let (counts, rest) =
                rest.split_first_chunk::<16>().ok_or_else(|| damaged("short DHT"))?;
            let total = counts.iter().map(|n| usize::from(*n)).sum();
            let symbols = rest.get(..total).ok_or_else(|| damaged("short DHT"))?;
            let table = Huffman::new(counts, symbols);
            let place = usize::from(kind & 3);
            if kind >> 4 == 0 {
                self.dc[place] = Some(table);
            } else {
                self.ac[place] = Some(table);
            }
            body = &rest[total..];
        }
        Ok(())
    }

    /// Decodes the only scan of a grey picture.
    fn scan(&self, header: &[u8], frame: &Frame, data: &[u8]) -> Result<Vec<u16>, RadiographError> {
        let [1, _id, selectors, ..] = *header else {
            return Err(damaged("scan is not of one component"));
        };
        let missing = || damaged("a table is missing");
        let dc = self.dc[usize::from(selectors >> 4 & 3)].as_ref().ok_or_else(missing)?;
        let ac = self.ac[usize::from(selectors & 3)].as_ref().ok_or_else(missing)?;
        let quantization = self.quantization[frame.quantization].as_ref().ok_or_else(missing)?;
        let transform = InverseTransform::new();
        let mut bits = Bits { data, at: 0, buffer: 0, count: 0 };
        let mut pixels = vec![0; frame.height * frame.width];
        let blocks_across = frame.width.div_ceil(8);
        let mut prediction = 0;
        for block in 0..blocks_across * frame.height.div_ceil(8) {
            if self.restart > 0 && block > 0 && block % self.restart == 0 {
                bits.restart()?;
                prediction = 0;
            }
            let coefficients = bits.block(dc, ac, quantization, &mut prediction)?;
            let samples = transform.apply(&coefficients);
            let (top, left) = (block / blocks_across * 8, block % blocks_across * 8);
            for (y, row) in samples.iter().enumerate().take(frame.height - top) {
                let start = (top + y) * frame.width + left;
                let length = row.len().min(frame.width - left);
                pixels[start..start + length].copy_from_slice(&row[..length]);
            }
        }
        Ok(pixels)
    }
}

/// A canonical Huffman code: for each length, the codes up to `last` map to symbols in order.
struct Huffman {
    /// By length 1 … 16: first code, its symbol's index, and how many codes there are.
    lengths: [(u32, usize, u32); 16],
    symbols: Vec<u8>,
}

impl Huffman {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Self {
        let mut lengths = [(0, 0, 0); 16];
        let (mut code, mut index) = (0u32, 0usize);
        for (length, count) in lengths.iter_mut().zip(counts) {
            *length = (code, index, u32::from(*count));
            code = (code + u32::from(*count)) << 1;
            index += usize::from(*count);
        }
        Self { lengths, symbols: symbols.to_vec() }
    }
}

/// Entropy-coded bits, with stuffed zeros removed.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The low `count` bits have been taken from `data` and not yet been used.
    buffer: u32,
    count: u32,
}

impl Bits<'_> {
    fn bit(&mut self) -> Result<u32, RadiographError> {
        if self.count == 0 {
            let byte = match self.data[self.at.min(self.data.len())..] {
                [0xFF, 0x00, ..] => {
                    self.at += 2;
                    0xFF
                }
                [0xFF, ..] | [] => return Err(damaged("entropy-coded data ends early")),
                [byte, ..] => {
                    self.at += 1;
                    byte
                }
            };
            self.buffer = byte.into();
            self.count = 8;
        }
        self.count -= 1;
        Ok(self.buffer >> self.count & 1)
    }

    /// A signed number of `size` bits (T.81 F.2.2.1).
    fn number(&mut self, size: u8) -> Result<i32, RadiographError> {
        let mut value = 0i32;
        for _ in 0..size {
            value = value << 1 | self.bit()? as i32;
        }
        let negative = size > 0 && value < 1 << (size - 1);
        Ok(if negative { value - (1 << size) + 1 } else { value })
    }

    fn symbol(&mut self, table: &Huffman) -> Result<u8, RadiographError> {
        let mut code = 0;
        for (first, index, count) in &table.lengths {
            code = code << 1 | self.bit()?;
            if let Some(place) = code.checked_sub(*first).filter(|place| place < count) {
                return Ok(table.symbols[index + place as usize]);
            }
        }
        Err(damaged("a code is not in its Huffman table"))
    }

    /// Dequantized coefficients in natural order.
    fn block(
        &mut self,
        dc: &Huffman,
        ac: &Huffman,
        quantization: &[u16; 64],
        prediction: &mut i32,
    ) -> Result<[f64; 64], RadiographError> {
        let mut coefficients = [0.0; 64];
        let size = self.symbol(dc)?;
        if size > 15 {
            return Err(damaged("a difference is larger than 12-bit samples allow"));
        }
        *prediction = (*prediction + self.number(size)?).clamp(-(1 << 16), 1 << 16);
        coefficients[0] = f64::from(*prediction) * f64::from(quantization[0]);
        let mut place = 1;
        while place < 64 {
            let symbol = self.symbol(ac)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 && run < 15 {
                break; // end of block
            }
            place += run;
            if place > 63 {
                return Err(damaged("a block has more than 64 coefficients"));
            }
            let value = f64::from(self.number(size)?);
            coefficients[ZIGZAG[place]] = value * f64::from(quantization[place]);
            place += 1;
        }
        Ok(coefficients)
    }

    fn restart(&mut self) -> Result<(), RadiographError> {
        self.count = 0;
        match self.data[self.at.min(self.data.len())..] {
            [0xFF, marker, ..] if (RST0..RST0 + 8).contains(&marker) => {
                self.at += 2;
                Ok(())
            }
            _ => Err(damaged("a restart marker is missing")),
        }
    }
}

/// The 8x8 inverse cosine transform.
struct InverseTransform {
    /// `[x][u]`: what coefficient `u` adds to sample `x`.
    basis: [[f64; 8]; 8],
}

impl InverseTransform {
    fn new() -> Self {
        let mut basis = [[0.0; 8]; 8];
        for (x, row) in basis.iter_mut().enumerate() {
            for (u, weight) in row.iter_mut().enumerate() {
                let angle = std::f64::consts::PI / 16.0 * ((2 * x + 1) * u) as f64;
                let norm = if u == 0 { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
                *weight = 0.5 * norm * libm::cos(angle);
            }
        }
        Self { basis }
    }

    /// 12-bit samples `[y][x]`.
    fn apply(&self, coefficients: &[f64; 64]) -> [[u16; 8]; 8] {
        let mut halfway = [[0.0; 8]; 8]; // [v][x]
        for (v, row) in halfway.iter_mut().enumerate() {
            for (sum, basis) in row.iter_mut().zip(&self.basis) {
                for (u, weight) in basis.iter().enumerate() {
                    *sum += weight * coefficients[8 * v + u];
                }
            }
        }
        let mut samples = [[0; 8]; 8];
        for (row, basis) in samples.iter_mut().zip(&self.basis) {
            for (x, sample) in row.iter_mut().enumerate() {
                let mut sum = 2048.0;
                for (v, weight) in basis.iter().enumerate() {
                    sum += weight * halfway[v][x];
                }
                *sample = sum.round_ties_even().clamp(0.0, 4095.0) as u16;
            }
        }
        samples
    }
}

/// Where the coefficients of a block go, in the order they are written.
#[rustfmt::skip]
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

fn damaged(reason: &str) -> RadiographError {
    RadiographError::Decode { format: "12-bit JPEG", reason: reason.into() }
}
