//! The memory plan: one block for all activations of an int8 subgraph, in which each has a place for as long as
//! somebody reads it.

use crate::EngineError;
use crate::fuse::Fused;
use crate::quantized::{Activation, Quantized, Source};
use kernels::SLACK;

/// Where every activation lies.
#[derive(Debug)]
pub(crate) struct MemoryPlan {
    pub(crate) offsets: Vec<usize>,
    pub(crate) bytes: usize,
}

/// Bytes of an activation's place, with what kernels may read behind it.
pub(crate) fn slot_bytes(activation: &Activation) -> usize {
    (activation.shape.len() + SLACK).next_multiple_of(64)
}

/// Most memory the activations of a subgraph may take together.
const MAX_ARENA: u64 = 1 << 30;

/// Gives every activation of `steps` its place.
pub(crate) fn plan(net: &Quantized, steps: &[Fused<'_>]) -> Result<MemoryPlan, EngineError> {
    let end = steps.len();
    let mut lifetimes: Vec<Lifetime> = net
        .activations
        .iter()
        .map(|activation| Lifetime { from: end, to: 0, bytes: slot_bytes(activation) })
        .collect();
    net.raw_inputs.iter().for_each(|&at| lifetimes[at].from = 0);
    for (at, fused) in steps.iter().enumerate() {
        // The first of several that make parts of it.
        let made = &mut lifetimes[fused.memory()];
        (made.from, made.to) = (made.from.min(at), at);
        fused.inputs().for_each(|input| lifetimes[input].to = at);
    }
    let outputs = net.float_outputs.iter().map(|output| match output.source {
        Source::Dequantize(at) | Source::Accumulators { input: at, .. } => at,
    });
    outputs.chain(net.raw_outputs.iter().copied()).for_each(|at| lifetimes[at].to = end);
    // What fusion removed is never written.
    lifetimes.iter_mut().filter(|life| life.from > life.to).for_each(|life| life.bytes = 0);
    let places = share(steps, &mut lifetimes);
    let mut plan = allocate(&lifetimes);
    plan.offsets = places.iter().map(|&place| plan.offsets[place]).collect();
    for fused in steps {
        if let Some((whole, first)) = fused.part_of {
            plan.offsets[fused.output()] = plan.offsets[whole] + first;
        }
    }
    if plan.bytes as u64 > MAX_ARENA {
        let found = plan.bytes as u64;
        let what = "the activations' arena".into();
        return Err(EngineError::TooLarge { what, found, limit: MAX_ARENA });
    }
    Ok(plan)
}

/// When a buffer is alive, in steps, and how much it holds.
#[derive(Clone, Copy, Debug)]
struct Lifetime {
    /// The step that writes it.
    from: usize,
    /// The last step that reads it.
    to: usize,
    bytes: usize,
}

/// A convolution writes over what it adds, where nobody reads that again: the result takes the residual's place, which
/// then lives as long. Returns whose place each activation has.
fn share(steps: &[Fused<'_>], lifetimes: &mut [Lifetime]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..lifetimes.len()).collect();
    for (at, fused) in steps.iter().enumerate() {
        let Some((_, residual)) = fused.add else { continue };
        let (place, output) = (places[residual], fused.output());
        let last = lifetimes[place].to == at && !fused.step.inputs.contains(&residual);
        let last = last && fused.part_of.is_none();
        if last && lifetimes[place].bytes == lifetimes[output].bytes {
            places[output] = place;
            lifetimes[place].to = lifetimes[output].to;
            lifetimes[output].bytes = 0;
        }
    }
    places
}

/// Places large buffers first, each at the lowest offset free during its whole life.
fn allocate(lifetimes: &[Lifetime]) -> MemoryPlan {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(lifetimes[at].bytes), lifetimes[at].from));
    let mut offsets = vec![0; lifetimes.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(lifetimes.len());
    let mut bytes = 0;
    for at in order {
        let life = lifetimes[at];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| lifetimes[other].from <= life.to && life.from <= lifetimes[other].to)
            .map(|&other| (offsets[other], offsets[other] + lifetimes[other].bytes))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if offset + life.bytes <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[at] = offset;
        bytes = bytes.max(offset + life.bytes);
        placed.push(at);
    }
    MemoryPlan { offsets, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantized::{Op, Step};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buffers_alive_together_never_overlap(
            lives in prop::collection::vec((0_usize..40, 0_usize..10, 1_usize..500), 0..60)
        ) {
            let lives: Vec<Lifetime> = lives
                .into_iter()
                .map(|(from, length, bytes)| Lifetime { from, to: from + length, bytes })
                .collect();
            let layout = allocate(&lives);
            for (a, x) in lives.iter().enumerate() {
                prop_assert!(layout.offsets[a] + x.bytes <= layout.bytes);
                for (b, y) in lives.iter().enumerate().skip(a + 1) {
                    let together = x.from <= y.to && y.from <= x.to;
                    let apart = layout.offsets[a] + x.bytes <= layout.offsets[b]
                        || layout.offsets[b] + y.bytes <= layout.offsets[a];
                    prop_assert!(!together || apart);
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Lifetime> =
            (0..10).map(|at| Lifetime { from: at, to: at + 1, bytes: 64 }).collect();
        assert_eq!(allocate(&chain).bytes, 128);
    }

    #[test]
    fn a_result_takes_the_place_of_what_it_adds_unless_that_is_read_again() {
        let step = |inputs: &[usize], output| Step {
            name: String::new(),
            op: Op::Add,
            inputs: inputs.to_vec(),
            output,
            clamp: [0, 255],
        };
        let life = |to, bytes| Lifetime { from: 0, to, bytes };
        // `input` is multiplied, 2 is added, 3 is the result; 1 is never written. 2 is read by step `last` at last.
        let place_of_result = |input: usize, last: usize| {
            let (conv, add) = (step(&[input], 1), step(&[1, 2], 3));
            let fused = Fused { add: Some((&add, 2)), ..Fused::alone(&conv) };
            let mut lifetimes = [life(0, 64), life(0, 0), life(last, 64), life(5, 64)];
            let place = share(&[fused], &mut lifetimes)[3];
            assert_eq!(lifetimes[place].to, 5, "the place lives as long as the result");
            place
        };
        assert_eq!(place_of_result(0, 0), 2);
        assert_eq!(place_of_result(0, 1), 3);
        assert_eq!(place_of_result(2, 0), 3);
    }
}
