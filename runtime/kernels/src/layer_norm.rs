//! Layer normalisation of rows of bytes: exact integer sums, then one order of f32 operations.

use crate::isa::Isa;
use crate::matrices::LayerNormSpec;
use crate::memory::Pool;
use crate::spec::{SpecError, range, ratio, sizes};

/// Each row brought to mean 0 and variance 1, then a gain and a bias a column; see [`crate::scalar::layer_norm`].
#[derive(Debug, Clone)]
pub struct LayerNorm {
    spec: LayerNormSpec,
    row: unsafe fn(&LayerNormSpec, &[u8], &mut [u8]),
}

impl LayerNorm {
    pub fn new(isa: Isa, spec: LayerNormSpec) -> Result<Self, SpecError> {
        let columns = spec.gain.len();
        sizes("layer norm", &[columns])?;
        if spec.bias.len() != columns {
            let (found, expected) = (spec.bias.len(), columns);
            return Err(SpecError::Length { what: "biases", found, expected });
        }
        range(spec.clamp[0], spec.clamp[1])?;
        for (channel, (gain, bias)) in spec.gain.iter().zip(&spec.bias).enumerate() {
            ratio("gain", channel, gain.abs())?;
            ratio("bias", channel, bias.abs())?;
        }
        if !spec.epsilon.is_finite() || spec.epsilon < 0.0 {
            return Err(SpecError::Scale { what: "epsilon", channel: 0 });
        }
        Ok(Self { spec, row: isa.row_kernels().layer_norm })
    }

    /// Every row of `x`.
    ///
    /// # Panics
    /// If the slices differ in length or hold no whole rows.
    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let columns = self.spec.gain.len();
        assert!(x.len() == y.len() && x.len().is_multiple_of(columns), "{} {}", x.len(), y.len());
        pool.split_rows(y, x.len() / columns, columns, |rows, y| {
            let x = &x[rows.start * columns..rows.end * columns];
            for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
                // SAFETY: the function came from an `Isa`, which proves the CPU has it, and asks for nothing else.
                unsafe { (self.row)(&self.spec, x, y) };
            }
        });
    }
}
