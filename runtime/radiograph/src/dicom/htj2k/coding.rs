//! How a component is coded, and the steps of its bands (T.800 A.6.1 to A.6.5).

use super::damaged;
use crate::RadiographError;

#[derive(Clone)]
pub(super) struct Coding {
    pub(super) levels: u32,
    /// Powers of two of a block's width and height.
    pub(super) block: [u32; 2],
    pub(super) is_causal: bool,
    pub(super) is_reversible: bool,
    /// Powers of two of the precincts of each resolution.
    pub(super) precincts: Vec<[u32; 2]>,
}

#[derive(Clone)]
pub(super) struct Quantization {
    guard: u32,
    style: u8,
    steps: Vec<u16>,
}

impl Coding {
    pub(super) fn parse(body: &[u8], has_precincts: bool) -> Result<Self, RadiographError> {
        let [levels, width, height, style, wavelet, sizes @ ..] = body else {
            return Err(damaged("a short COD or COC segment"));
        };
        let block = [width, height].map(|size| u32::from(*size) + 2);
        if *levels > 32 || block.iter().any(|size| *size > 10) || block[0] + block[1] > 12 {
            return Err(damaged(format!(
                "{levels} levels of blocks of 2^{}x2^{}, expected at most 32 of at most 4096 samples",
                block[0], block[1]
            )));
        }
        if style & !CAUSAL != HIGH_THROUGHPUT {
            return Err(damaged(format!(
                "code-block style {style:#04x}, expected that of HTJ2K alone (0x40 or 0x48)"
            )));
        }
        if *wavelet > 1 {
            return Err(damaged(format!("wavelet {wavelet}, expected 0 (9/7) or 1 (5/3)")));
        }
        let resolutions = usize::from(*levels) + 1;
        let precincts = match (has_precincts, sizes.get(..resolutions)) {
            (false, _) => vec![[15, 15]; resolutions],
            (true, Some(sizes)) => {
                sizes.iter().map(|size| [size & 15, size >> 4].map(u32::from)).collect()
            }
            (true, None) => return Err(damaged("a short COD or COC segment")),
        };
        if precincts[1..].iter().flatten().any(|size| *size == 0) {
            return Err(damaged("a precinct of size 1 above the lowest resolution"));
        }
        Ok(Self {
            levels: (*levels).into(),
            block,
            is_causal: style & CAUSAL != 0,
            is_reversible: *wavelet == 1,
            precincts,
        })
    }
}

impl Quantization {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let (style, steps) = body.split_first()?;
        let (guard, style) = (u32::from(style >> 5), style & 31);
        let steps = match style {
            0 => steps.iter().map(|step| (*step).into()).collect(),
            1 | 2 => steps.as_chunks().0.iter().map(|step| u16::from_be_bytes(*step)).collect(),
            _ => return None,
        };
        Some(Self { guard, style, steps })
    }

    /// Whether coefficients are whole, as they are.
    pub(super) fn is_reversible(&self) -> bool {
        self.style == 0
    }

    /// Bit-planes of a band and its step, in units of the range of its samples; of the lowest band first.
    pub(super) fn of_band(&self, band: usize) -> Option<(u32, f32)> {
        let (exponent, mantissa) = match self.style {
            0 => (u32::from(*self.steps.get(band)?) >> 3, 0),
            // The lowest band's step, halved with each level.
            1 => {
                let step = u32::from(*self.steps.first()?);
                ((step >> 11).checked_sub(band.saturating_sub(1) as u32 / 3)?, step & 0x7FF)
            }
            _ => {
                let step = u32::from(*self.steps.get(band)?);
                (step >> 11, step & 0x7FF)
            }
        };
        let step = (1.0 + mantissa as f32 / 2048.0) / (1u64 << exponent) as f32;
        Some(((self.guard + exponent).checked_sub(1)?, step))
    }
}

const CAUSAL: u8 = 0x08;
const HIGH_THROUGHPUT: u8 = 0x40;
