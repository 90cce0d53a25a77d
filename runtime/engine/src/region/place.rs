//! Where the activations of a region lie.

use crate::EngineError;
use crate::arena::{self, Life};
use crate::fuse::Fused;
use crate::quantized::{Activation, Quantized, Source};
use kernels::SLACK;

pub(super) fn slot_bytes(activation: &Activation) -> usize {
    (activation.shape.len() + SLACK).next_multiple_of(64)
}

/// Most memory the activations of a region may take together.
const MAX_ARENA: u64 = 1 << 30;

pub(super) fn place(net: &Quantized, plan: &[Fused<'_>]) -> Result<arena::Layout, EngineError> {
    let end = plan.len();
    let mut lives: Vec<Life> = net
        .activations
        .iter()
        .map(|activation| Life { from: end, to: 0, bytes: slot_bytes(activation) })
        .collect();
    net.raw_inputs.iter().for_each(|&at| lives[at].from = 0);
    for (at, fused) in plan.iter().enumerate() {
        lives[fused.output()].from = at;
        lives[fused.output()].to = at;
        fused.inputs().for_each(|input| lives[input].to = at);
    }
    let outputs = net.float_outputs.iter().map(|output| match output.source {
        Source::Dequantize(at) | Source::Accumulators { input: at, .. } => at,
    });
    outputs.chain(net.raw_outputs.iter().copied()).for_each(|at| lives[at].to = end);
    // What fusion removed is never written.
    lives.iter_mut().filter(|life| life.from > life.to).for_each(|life| life.bytes = 0);
    let layout = arena::place(&lives);
    if layout.bytes as u64 > MAX_ARENA {
        let found = layout.bytes as u64;
        let what = "the activations' arena".into();
        return Err(EngineError::TooLarge { what, found, limit: MAX_ARENA });
    }
    Ok(layout)
}
