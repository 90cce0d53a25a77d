//! Products of places with vectors: exact sums of integers, then one `f32` multiplication each.

use crate::LanguageError;
use crate::image::Codes;
use crate::section::{Space, Vector};
use kernels::{Buffer, Conv, ConvSpec, ConvWeights, Isa, Pool, Scratch};

/// Products of all places with some vectors.
pub(crate) struct Products {
    conv: Conv,
    input: Buffer,
    /// `[N, P]` or `[P, N]`.
    results: Vec<f32>,
    scratch: Scratch,
}

impl Products {
    pub(crate) fn pack(
        vectors: &[&Vector],
        space: &Space,
        codes: Codes,
        isa: Isa,
        pool: &Pool,
    ) -> Result<Self, LanguageError> {
        let weights: Vec<i8> = vectors.iter().flat_map(|vector| &vector.values).copied().collect();
        let scales: Vec<f32> = vectors.iter().map(|vector| vector.scale).collect();
        Self::pack_rows(&weights, &scales, space, codes, isa, pool)
    }

    /// `weights [N, D]`, a scale for each row.
    pub(crate) fn pack_rows(
        weights: &[i8],
        scales: &[f32],
        space: &Space,
        codes: Codes,
        isa: Isa,
        pool: &Pool,
    ) -> Result<Self, LanguageError> {
        codes.check("places")?;
        let Codes { scale, zero } = codes;
        let width = space.width as usize;
        let spec = ConvSpec {
            in_channels: width,
            out_channels: scales.len(),
            groups: 1,
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 4],
            dilation: [1; 2],
            in_h: space.grid[0] as usize,
            in_w: space.grid[1] as usize,
            in_stride: width,
            out_stride: scales.len(),
        };
        let scales: Vec<f32> = scales.iter().map(|x| x * scale).collect();
        let bias = vec![0; scales.len()];
        let weights = ConvWeights {
            weight: weights,
            bias: &bias,
            scale: &scales,
            x_zero: zero,
            y_zero: 0,
            lo: 0,
            hi: 255,
        };
        let conv = Conv::pack(isa, &spec, weights, None)
            .map_err(|e| LanguageError::Products { reason: e.to_string() })?;
        let scratch = Scratch::with_bytes(conv.scratch_bytes(pool.threads()));
        let results = vec![0.0; scales.len() * space.places()];
        Ok(Self { conv, input: Buffer::zeroed(space.places() * width), results, scratch })
    }

    /// `[N, P]`
    pub(crate) fn run(&mut self, places: &[u8], pool: &Pool) -> &[f32] {
        self.input[..places.len()].copy_from_slice(places);
        self.conv.run_f32(&self.input, &mut self.results, pool, &mut self.scratch);
        &self.results
    }

    /// `[P, N]`
    pub(crate) fn run_by_place(&mut self, places: &[u8], pool: &Pool) -> &[f32] {
        self.input[..places.len()].copy_from_slice(places);
        self.conv.run_f32_by_pixel(&self.input, &mut self.results, pool, &mut self.scratch);
        &self.results
    }
}
