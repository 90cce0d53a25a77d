//! Fully connected layers.

use super::{Conv, Scratch};
use crate::isa::Isa;
use crate::pool::Pool;
use crate::spec::{ConvSpec, ConvWeights, SpecError};

/// A fully connected layer: a 1x1 convolution of one row of "pixels".
#[derive(Debug)]
pub struct Linear(Conv);

impl Linear {
    /// `weights.weight` is `[outputs, inputs]`; `rows` input vectors lie `inputs` bytes apart, results `outputs` apart.
    pub fn pack(
        isa: Isa,
        rows: usize,
        inputs: usize,
        outputs: usize,
        weights: ConvWeights<'_>,
    ) -> Result<Self, SpecError> {
        let spec = ConvSpec {
            in_channels: inputs,
            out_channels: outputs,
            groups: 1,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0; 4],
            dilation: [1, 1],
            in_h: 1,
            in_w: rows,
            in_stride: inputs,
            out_stride: outputs,
        };
        Conv::pack(isa, &spec, weights, None).map(Self)
    }

    /// The same as a convolution; all of [`Conv`]'s methods apply.
    pub fn as_conv(&self) -> &Conv {
        &self.0
    }

    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool, scratch: &mut Scratch) {
        self.0.run(x, None, y, pool, scratch);
    }

    pub fn run_f32(&self, x: &[u8], y: &mut [f32], pool: &Pool, scratch: &mut Scratch) {
        self.0.run_f32(x, y, pool, scratch);
    }
}
