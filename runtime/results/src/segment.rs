//! A mask pixel by pixel, small enough to be kept in a result.

use crate::ResultsError;
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// One bit a pixel, row by row, the first pixel in the lowest bit: as a segmentation object has them. Compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub name: String,
    /// Of the source image.
    pub rows: u32,
    pub columns: u32,
    /// Zlib, hexadecimal.
    bits: String,
}

/// Rows or columns of a DICOM image are 16-bit numbers.
const MAX_SIDE: u32 = 65_535;

impl Segment {
    /// `pixels`: 0 or 1 for each.
    ///
    /// # Panics
    /// If there are not `rows · columns` pixels, or too many for an image.
    pub fn pack(name: &str, [rows, columns]: [usize; 2], pixels: &[u8]) -> Self {
        assert_eq!(pixels.len(), rows * columns, "{rows}x{columns} pixels");
        let side = |side: usize| u32::try_from(side).expect("sides of an image are 32-bit numbers");
        let byte = |eight: &[u8]| eight.iter().rev().fold(0, |byte, bit| byte << 1 | (bit & 1));
        let packed: Vec<u8> = pixels.chunks(8).map(byte).collect();
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let compressed = encoder.write_all(&packed).and_then(|()| encoder.finish());
        let bits = hex::encode(compressed.expect("memory takes all that is written to it"));
        Self { name: name.into(), rows: side(rows), columns: side(columns), bits }
    }

    /// The packed bits, and whether any is set.
    pub(crate) fn unpack(&self) -> Result<Vec<u8>, ResultsError> {
        let damaged = |reason: String| ResultsError::Segment { name: self.name.clone(), reason };
        let Self { rows, columns, .. } = *self;
        if !(1..=MAX_SIDE).contains(&rows) || !(1..=MAX_SIDE).contains(&columns) {
            return Err(damaged(format!(
                "{rows}x{columns} pixels, expected 1 to {MAX_SIDE} a side"
            )));
        }
        let expected = (u64::from(rows) * u64::from(columns)).div_ceil(8);
        let compressed = hex::decode(&self.bits).map_err(|e| damaged(e.to_string()))?;
        let mut packed = Vec::new();
        ZlibDecoder::new(&compressed[..])
            .take(expected + 1)
            .read_to_end(&mut packed)
            .map_err(|e| damaged(e.to_string()))?;
        if packed.len() as u64 != expected {
            return Err(damaged(format!("{} bytes of bits, expected {expected}", packed.len())));
        }
        Ok(packed)
    }

    /// One bit a pixel, as above; those behind the last pixel are 0.
    pub fn packed(&self) -> Result<Vec<u8>, ResultsError> {
        let mut packed = self.unpack()?;
        let used = u64::from(self.rows) * u64::from(self.columns) % 8;
        if let Some(last) = packed.last_mut().filter(|_| used > 0) {
            *last &= (1 << used) - 1;
        }
        Ok(packed)
    }

    /// 0 or 1 for each pixel.
    pub fn pixels(&self) -> Result<Vec<u8>, ResultsError> {
        let packed = self.unpack()?;
        let count = self.rows as usize * self.columns as usize;
        Ok((0..count).map(|at| packed[at / 8] >> (at % 8) & 1).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_pixel_comes_back(rows in 1_usize..30, columns in 1_usize..30, seed: u64) {
            let pixels: Vec<u8> =
                (0..rows * columns).map(|at| (seed.rotate_left(at as u32) >> (at % 7) & 1) as u8).collect();
            let segment = Segment::pack("lung", [rows, columns], &pixels);
            let ones: u32 = pixels.iter().map(|&pixel| u32::from(pixel)).sum();
            let packed = segment.packed().unwrap();
            prop_assert_eq!(packed.iter().map(|byte| byte.count_ones()).sum::<u32>(), ones);
            prop_assert_eq!(segment.pixels().unwrap(), pixels);
        }

        #[test]
        fn bits_behind_the_last_pixel_do_not_count(columns in 1_u32..30) {
            let bytes = vec![0xff; columns.div_ceil(8) as usize];
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).unwrap();
            let bits = hex::encode(encoder.finish().unwrap());
            let segment = Segment { name: "lung".into(), rows: 1, columns, bits };
            let packed = segment.packed().unwrap();
            prop_assert_eq!(packed.iter().map(|byte| byte.count_ones()).sum::<u32>(), columns);
        }

        #[test]
        fn noise_never_panics(rows: u32, columns: u32, bits: String) {
            let segment = Segment { name: "x".into(), rows, columns, bits };
            prop_assert!(segment.pixels().is_err());
        }
    }

    #[test]
    fn what_inflates_to_more_than_the_image_is_refused() {
        let mut segment = Segment::pack("lung", [100, 100], &[1; 10_000]);
        segment.rows = 99;
        let error = segment.pixels().unwrap_err().to_string();
        assert!(error.contains("bytes of bits, expected 1238"), "{error}");
    }
}
