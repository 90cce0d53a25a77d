//! Grey 12-bit JPEG (extended sequential, Huffman): the one kind `jpeg-decoder` lacks.
//!
//! ITU-T T.81. The inverse cosine transform is f64 in a fixed order, so that it rounds alike on
//! every CPU.

use super::huffman::{self, Bits, Table};
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
        let (marker, mut body) = segments.next()?;
        match marker {
            DQT => {
                while let Some((kind, rest)) = body.split_first() {
                    let bytes = if kind >> 4 == 0 { 1 } else { 2 };
                    let values = rest.get(..64 * bytes).ok_or_else(|| damaged("short DQT"))?;
                    let mut table = [0; 64];
                    for (entry, value) in table.iter_mut().zip(values.chunks_exact(bytes)) {
                        *entry = value.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
                    }
                    tables.quantization[usize::from(kind & 3)] = Some(table);
                    body = &rest[64 * bytes..];
                }
            }
            DHT => {
                for (class, place, table) in huffman::tables(body)? {
                    let of_class = if class == 0 { &mut tables.dc } else { &mut tables.ac };
                    of_class[place] = Some(table);
                }
            }
            DRI => tables.restart = u16_at(body, 0)?.into(),
            SOS => return tables.scan(body, frame, segments.rest),
            _ => {}
        }
    }
}

const SOF1: u8 = 0xC1;
const DHT: u8 = 0xC4;
const DQT: u8 = 0xDB;

/// Tables in force when the scan begins.
#[derive(Default)]
struct Tables {
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// Blocks between restart markers; 0: none.
    restart: usize,
}

impl Tables {
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
        let mut bits = Bits::new(data);
        let mut pixels = vec![0; frame.height * frame.width];
        let blocks_across = frame.width.div_ceil(8);
        let mut prediction = 0;
        for block in 0..blocks_across * frame.height.div_ceil(8) {
            if self.restart > 0 && block > 0 && block.is_multiple_of(self.restart) {
                bits.restart(block / self.restart - 1)?;
                prediction = 0;
            }
            let coefficients = Block::read(&mut bits, [dc, ac], quantization, &mut prediction)?;
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

/// The coefficients of a block, dequantized.
struct Block {
    /// In natural order.
    coefficients: [f64; 64],
    /// Bit `i`: coefficient `i` may not be 0.
    found: u64,
}

impl Block {
    fn read(
        bits: &mut Bits<'_>,
        [dc, ac]: [&Table; 2],
        quantization: &[u16; 64],
        prediction: &mut i32,
    ) -> Result<Self, RadiographError> {
        let none = || damaged("a code is not in its Huffman table");
        let (size, difference) = bits.coefficient(dc).ok_or_else(none)?;
        if size > 15 {
            return Err(damaged("a difference is larger than 12-bit samples allow"));
        }
        *prediction = (*prediction + difference).clamp(-(1 << 16), 1 << 16);
        let mut block = Self { coefficients: [0.0; 64], found: 1 };
        block.coefficients[0] = f64::from(*prediction) * f64::from(quantization[0]);
        let mut place = 1;
        while place < 64 {
            let (symbol, value) = bits.coefficient(ac).ok_or_else(none)?;
            if symbol & 15 == 0 && symbol < 0xF0 {
                break; // end of block
            }
            place += usize::from(symbol >> 4);
            if place > 63 {
                return Err(damaged("a block has more than 64 coefficients"));
            }
            let natural = ZIGZAG[place];
            block.coefficients[natural] = f64::from(value) * f64::from(quantization[place]);
            block.found |= 1 << natural;
            place += 1;
        }
        bits.check()?;
        Ok(block)
    }
}

/// The 8x8 inverse cosine transform.
struct InverseTransform {
    /// `[u][x]`: what coefficient `u` adds to sample `x`.
    basis: [[f64; 8]; 8],
}

impl InverseTransform {
    fn new() -> Self {
        let mut basis = [[0.0; 8]; 8];
        for (u, row) in basis.iter_mut().enumerate() {
            for (x, weight) in row.iter_mut().enumerate() {
                let angle = std::f64::consts::PI / 16.0 * ((2 * x + 1) * u) as f64;
                let norm = if u == 0 { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
                *weight = 0.5 * norm * libm::cos(angle);
            }
        }
        Self { basis }
    }

    /// 12-bit samples `[y][x]`.
    ///
    /// Sums of eight samples grow side by side, each in the order of its coefficients. Those that are
    /// 0 would change no bit of them.
    fn apply(&self, block: &Block) -> [[u16; 8]; 8] {
        let mut halfway = [[0.0; 8]; 8]; // [v][x]
        let mut rows = 0;
        for (v, row) in halfway.iter_mut().enumerate() {
            let found = (block.found >> (8 * v)) as u8;
            rows |= u8::from(found != 0) << v;
            each_bit(found, |u| add(row, block.coefficients[8 * v + u], &self.basis[u]));
        }
        let mut samples = [[0; 8]; 8];
        for (y, row) in samples.iter_mut().enumerate() {
            let mut sums = [2048.0; 8];
            each_bit(rows, |v| add(&mut sums, self.basis[v][y], &halfway[v]));
            *row = sums.map(|sum| {
                // Adding 2^52 rounds to the nearest integer, ties to even, in the lowest bits.
                (sum.clamp(0.0, 4095.0) + 4_503_599_627_370_496.0).to_bits() as u16
            });
        }
        samples
    }
}

/// Calls `act` with the places of ones, the lowest first.
#[inline(always)]
fn each_bit(mut bits: u8, mut act: impl FnMut(usize)) {
    while bits != 0 {
        act(bits.trailing_zeros() as usize & 7);
        bits &= bits - 1;
    }
}

fn add(sums: &mut [f64; 8], weight: f64, values: &[f64; 8]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
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
