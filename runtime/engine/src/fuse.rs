//! Which additions disappear into the convolution before them.

use crate::quantized::{Op, Quantized, Source, Step};

/// A step of the plan: a step of the network, or a convolution with the addition behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fused<'a> {
    pub(crate) step: &'a Step,
    /// The addition, and the activation it adds to the convolution's result.
    pub(crate) add: Option<(&'a Step, usize)>,
}

impl Fused<'_> {
    /// The activation that is written.
    pub(crate) fn output(&self) -> usize {
        self.add.map_or(self.step.output, |(add, _)| add.output)
    }

    /// The activations that are read.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = usize> {
        self.step.inputs.iter().copied().chain(self.add.map(|(_, residual)| residual))
    }
}

/// The network's steps in order, unchanged.
pub(crate) fn keep(net: &Quantized) -> Vec<Fused<'_>> {
    net.steps.iter().map(|step| Fused { step, add: None }).collect()
}

/// Moves a convolution to the addition that alone reads it. Of two such convolutions the later one goes:
/// the earlier one's result is the residual. Both roundings stay, so no bit changes.
pub(crate) fn fuse(net: &Quantized) -> Vec<Fused<'_>> {
    let mut readers = vec![0_usize; net.activations.len()];
    let outputs = net.float_outputs.iter().map(|output| match output.source {
        Source::Dequantize(at) | Source::Accumulators { input: at, .. } => at,
    });
    let steps = net.steps.iter().flat_map(|step| step.inputs.iter().copied());
    steps.chain(outputs).chain(net.raw_outputs.iter().copied()).for_each(|at| readers[at] += 1);

    let mut maker = vec![None; net.activations.len()];
    net.steps.iter().enumerate().for_each(|(at, step)| maker[step.output] = Some(at));
    let mut gone = vec![false; net.steps.len()];
    let mut fused: Vec<Fused<'_>> = Vec::with_capacity(net.steps.len());
    let mut add_of: Vec<Option<(usize, usize)>> = vec![None; net.steps.len()];
    for (at, step) in net.steps.iter().enumerate() {
        let (Op::Add, &[a, b]) = (&step.op, &step.inputs[..]) else { continue };
        let candidate = |x: usize, residual: usize| {
            let at = maker[x]?;
            let convolution = matches!(net.steps[at].op, Op::Conv(_));
            (convolution && readers[x] == 1 && x != residual).then_some((at, residual))
        };
        if let Some((conv, residual)) = candidate(a, b).max(candidate(b, a)) {
            gone[conv] = true;
            add_of[at] = Some((conv, residual));
        }
    }
    for (at, step) in net.steps.iter().enumerate() {
        match add_of[at] {
            _ if gone[at] => {}
            Some((conv, residual)) => {
                fused.push(Fused { step: &net.steps[conv], add: Some((step, residual)) });
            }
            None => fused.push(Fused { step, add: None }),
        }
    }
    fused
}
