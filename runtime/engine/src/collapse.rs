//! Tables of tables become one, tables of copies go into the copy, and what nobody reads is not made.
//!
//! Every rounding stays where it was: a table of 256 answers is looked up in another. GELU as ONNX Runtime's quantizer
//! writes it, six operators with as many roundings, is one table.

use crate::quantized::{Op, Quantized, Source, Step, Table};

/// The same results in fewer steps.
pub(crate) fn collapse(net: &Quantized) -> Quantized {
    let mut collapsed = net.clone();
    let mut maker: Vec<Option<usize>> = vec![None; net.activations.len()];
    for at in 0..net.steps.len() {
        if let Some(step) = merged(&collapsed, &maker, at) {
            collapsed.steps[at] = step;
        }
        maker[collapsed.steps[at].output] = Some(at);
    }
    let mut read = vec![false; collapsed.activations.len()];
    results(&collapsed).into_iter().for_each(|at| read[at] = true);
    for step in collapsed.steps.iter().rev() {
        if read[step.output] {
            step.inputs.iter().for_each(|&at| read[at] = true);
        }
    }
    collapsed.steps.retain(|step| read[step.output]);
    collapsed
}

/// Step `at`, a table, and the one before it as one step.
fn merged(net: &Quantized, maker: &[Option<usize>], at: usize) -> Option<Step> {
    let step = &net.steps[at];
    let Op::Table(table) = &step.op else { return None };
    let before = &net.steps[maker[step.inputs[0]]?];
    let then = |first: Option<&Table>| -> Table {
        match first {
            Some(first) => Box::new(first.map(|q| table[usize::from(q)])),
            None => table.clone(),
        }
    };
    let readers = || {
        let steps = net.steps.iter().flat_map(|step| &step.inputs);
        steps.chain(&results(net)).filter(|read| **read == before.output).count()
    };
    let op = match &before.op {
        Op::Table(first) => Op::Table(then(Some(first))),
        // A copy is made again, which pays where only its table is wanted.
        Op::Copy(pieces) if readers() == 1 => {
            let mut pieces = pieces.clone();
            for piece in &mut pieces {
                piece.table = Some(then(piece.table.as_ref()));
            }
            Op::Copy(pieces)
        }
        _ => return None,
    };
    Some(Step { op, inputs: before.inputs.clone(), ..step.clone() })
}

/// Activations that are read from outside.
fn results(net: &Quantized) -> Vec<usize> {
    let floats = net.float_outputs.iter().map(|output| match output.source {
        Source::Dequantize(at) | Source::Accumulators { input: at, .. } => at,
    });
    floats.chain(net.raw_outputs.iter().copied()).collect()
}
