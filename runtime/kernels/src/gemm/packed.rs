//! A convolution packed for the micro-kernels of one instruction set.

use super::plan::TilePlan;
use super::tile::{MicroKernel, Requant};
use crate::memory::Buffer;
use crate::spec::{ConvSpec, Residual};

/// What every form of a convolution has: its shape, its blocks of output channels, their weights and parameters.
#[derive(Debug)]
pub(crate) struct PackedConv {
    pub(crate) spec: ConvSpec,
    pub(crate) kernel: &'static MicroKernel,
    pub(crate) plan: TilePlan,
    /// As the form wants them, block behind block.
    pub(crate) weights: Buffer,
    /// Where each block's weights begin, and where the last one's end.
    pub(crate) starts: Vec<usize>,
    /// `[block][kernel.channels]`, zero points folded in
    pub(crate) bias: Vec<i32>,
    /// `[block][kernel.channels]`
    pub(crate) scale: Vec<f32>,
    pub(crate) x_zero: u8,
    pub(crate) requant: Requant,
    pub(crate) residual: Option<Residual>,
    /// Some result before rounding may not fit an `i32`, where vector conversions and the definition differ.
    pub(crate) unbounded: bool,
    /// The row that a tap on padding reads.
    pub(crate) padding: Buffer,
}
