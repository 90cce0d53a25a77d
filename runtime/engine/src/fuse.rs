//! Which additions disappear into the convolution before them, which upsampling into the concatenation behind it, and
//! whose results are written where a concatenation would copy them to.

use crate::quantized::{Op, Quantized, Source, Step};

/// A step of the plan: a step of the network, a convolution with the addition behind it, or a concatenation with what only
/// it reads.
#[derive(Clone, Debug)]
pub(crate) struct Fused<'a> {
    pub(crate) step: &'a Step,
    /// The addition, and the activation it adds to the convolution's result.
    pub(crate) add: Option<(&'a Step, usize)>,
    /// The table behind a convolution, or behind the addition behind it.
    pub(crate) table: Option<&'a Step>,
    /// Of a concatenation: the upsampling that makes an input, where there is one and nobody else reads it.
    pub(crate) nearest: Vec<Option<&'a Step>>,
    /// Of a concatenation: which inputs are in their place already.
    pub(crate) placed: Vec<bool>,
    /// The activation that the result is a part of, and which channel it begins at.
    pub(crate) part_of: Option<(usize, usize)>,
}

impl<'a> Fused<'a> {
    pub(crate) fn alone(step: &'a Step) -> Self {
        let inputs = step.inputs.len();
        let (nearest, placed) = (vec![None; inputs], vec![false; inputs]);
        Self { step, add: None, table: None, nearest, placed, part_of: None }
    }

    /// The activation that is made.
    pub(crate) fn output(&self) -> usize {
        let before = self.add.map_or(self.step.output, |(add, _)| add.output);
        self.table.map_or(before, |table| table.output)
    }

    /// The activation whose memory is written.
    pub(crate) fn memory(&self) -> usize {
        self.part_of.map_or(self.output(), |(whole, _)| whole)
    }

    /// Which of the step's inputs are read.
    pub(crate) fn read(&self) -> impl Iterator<Item = usize> {
        (0..self.placed.len()).filter(|at| !self.placed[*at])
    }

    /// The activations that are read.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = usize> {
        let own = self.read().map(|at| (self.step.inputs[at], self.nearest[at]));
        let own = own.map(|(input, nearest)| nearest.map_or(input, |nearest| nearest.inputs[0]));
        own.chain(self.add.map(|(_, residual)| residual))
    }

    /// Whether its kernel leaves out what lies between the channels of a pixel and the next pixel.
    fn writes_parts(&self) -> bool {
        match self.step.op {
            Op::Conv(_) | Op::MaxPool { table: None, .. } | Op::Table(_) => true,
            Op::AvgPool { .. } => self.step.clamp == [0, 255],
            _ => false,
        }
    }

    /// Names of the steps in order, joined by `+`.
    pub(crate) fn name(&self) -> String {
        let before = self.nearest.iter().flatten().copied();
        let all = before.chain([self.step]).chain(self.add.map(|(add, _)| add)).chain(self.table);
        all.map(|step| step.name.as_str()).collect::<Vec<_>>().join("+")
    }
}

/// The network's steps in order, unchanged.
pub(crate) fn keep(net: &Quantized) -> Vec<Fused<'_>> {
    net.steps.iter().map(Fused::alone).collect()
}

/// Moves a convolution to the addition that alone reads it, and upsampling to the concatenation that alone reads it. Of two
/// convolutions before an addition the later one goes: the earlier one's result is the residual. What only a concatenation
/// reads, and as it is, is made in its place there. All roundings stay, so no bit changes.
pub(crate) fn fuse(net: &Quantized) -> Vec<Fused<'_>> {
    let mut readers = vec![0_usize; net.activations.len()];
    let outputs = net.float_outputs.iter().map(|output| match output.source {
        Source::Dequantize(at) | Source::Accumulators { input: at, .. } => at,
    });
    let steps = net.steps.iter().flat_map(|step| step.inputs.iter().copied());
    steps.chain(outputs).chain(net.raw_outputs.iter().copied()).for_each(|at| readers[at] += 1);

    let mut maker = vec![None; net.activations.len()];
    net.steps.iter().enumerate().for_each(|(at, step)| maker[step.output] = Some(at));
    let only_reader = |x: usize| maker[x].filter(|_| readers[x] == 1);
    let mut gone = vec![false; net.steps.len()];
    let mut plan: Vec<Fused<'_>> = keep(net);
    for (at, step) in net.steps.iter().enumerate() {
        match (&step.op, &step.inputs[..]) {
            (Op::Add, &[a, b]) => {
                let candidate = |x: usize, residual: usize| {
                    let convolution = |at: &usize| matches!(net.steps[*at].op, Op::Conv(_));
                    let conv = only_reader(x).filter(convolution)?;
                    (x != residual).then_some((conv, residual))
                };
                if let Some((conv, residual)) = candidate(a, b).max(candidate(b, a)) {
                    gone[conv] = true;
                    plan[at] =
                        Fused { add: Some((step, residual)), ..Fused::alone(&net.steps[conv]) };
                }
            }
            (Op::Concat(_), inputs) => {
                for (&x, nearest) in inputs.iter().zip(&mut plan[at].nearest) {
                    let upsampling = |at: &usize| matches!(net.steps[*at].op, Op::Nearest { .. });
                    if let Some(maker) = only_reader(x).filter(upsampling) {
                        gone[maker] = true;
                        *nearest = Some(&net.steps[maker]);
                    }
                }
            }
            _ => {}
        }
    }
    for (at, step) in net.steps.iter().enumerate() {
        let Op::Table(_) = step.op else { continue };
        let before = only_reader(step.inputs[0]).filter(|before| {
            let fused = &plan[*before];
            !gone[*before] && fused.table.is_none() && matches!(fused.step.op, Op::Conv(_))
        });
        if let Some(before) = before {
            gone[before] = true;
            plan[at] = Fused { table: Some(step), ..plan[before].clone() };
        }
    }
    for (at, step) in net.steps.iter().enumerate() {
        let Op::Concat(tables) = &step.op else { continue };
        let mut first = 0;
        for (part, (&x, table)) in step.inputs.iter().zip(tables).enumerate() {
            let alone = table.is_none() && plan[at].nearest[part].is_none();
            let maker = only_reader(x).filter(|at| alone && !gone[*at] && plan[*at].writes_parts());
            if let Some(maker) = maker {
                plan[maker].part_of = Some((step.output, first));
                plan[at].placed[part] = true;
            }
            first += net.activations[x].shape.c;
        }
        gone[at] = plan[at].placed.iter().all(|placed| *placed);
    }
    plan.into_iter().zip(gone).filter(|(_, gone)| !gone).map(|(fused, _)| fused).collect()
}
