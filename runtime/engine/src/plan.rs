//! From a [`Flow`] to a plan tract runs: int8 subgraphs as our operators, float subgraphs as tract's own.
//!
//! ```text
//! image ─▶ [int8 subgraph 0] ─▶ float subgraph ─▶ [int8 subgraph 1] ─▶ results
//!                 └── raw activations ──────────────────▲
//! ```
//!
//! Most networks are one int8 subgraph and nothing else.

use crate::EngineError;
use crate::float_subgraph::{FloatSubgraph, tract_error};
use crate::int8_subgraph::Int8Subgraph;
use crate::operator::{Int8Operator, Probe};
use crate::qdq::{FloatValue, Flow};
use crate::quantized::{FloatOutput, Op, Quantized, Source, Step};
use kernels::{Isa, Pool};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::source::TypedSource;

/// What int8 subgraphs are compiled for.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) isa: Isa,
    pub(crate) pool: Arc<Pool>,
    pub(crate) fuse: bool,
}

/// A plan and what is known of it.
pub(crate) struct Plan {
    pub(crate) model: TypedModel,
    pub(crate) subgraphs: Vec<Arc<Int8Subgraph>>,
    pub(crate) probe: Arc<Mutex<Probe>>,
}

/// The part of a flow at one level, with its links to the others.
struct LevelPart {
    net: Quantized,
    /// Float values it reads and makes, as numbered in the flow.
    float_inputs: Vec<usize>,
    float_outputs: Vec<usize>,
    /// Activations it reads and makes for others, as numbered in the flow.
    raw_inputs: Vec<usize>,
    raw_outputs: Vec<usize>,
}

pub(crate) fn build(flow: &Flow, image: &[usize], target: &Target) -> Result<Plan, EngineError> {
    let last = flow.levels.iter().chain(flow.steps.iter().map(|(level, _)| level)).max();
    let last = last.copied().unwrap_or(0);
    let probe = Arc::new(Mutex::new(Probe::Off));
    let mut plan = Plan { model: TypedModel::default(), subgraphs: Vec::new(), probe };
    let mut floats: HashMap<usize, OutletId> = HashMap::new();
    let mut raw: HashMap<usize, OutletId> = HashMap::new();
    let source = plan.model.add_source("image", f32::fact(image)).map_err(tract_error)?;
    for (id, value) in flow.floats.iter().enumerate() {
        if matches!(value, FloatValue::Image { .. }) {
            floats.insert(id, source);
        }
    }
    let mut layers = 0;
    for level in 0..=last {
        let part = part(flow, level);
        if !part.net.steps.is_empty() || !part.float_outputs.is_empty() {
            let threads = target.pool.threads();
            let subgraph = Int8Subgraph::compile(&part.net, target.isa, threads, target.fuse)?;
            let subgraph = Arc::new(subgraph);
            let operator = Int8Operator::new(
                subgraph.clone(),
                target.pool.clone(),
                plan.probe.clone(),
                layers,
            );
            layers += subgraph.layers().count();
            let inputs = part.float_inputs.iter().map(|id| floats[id]);
            let inputs: Vec<OutletId> =
                inputs.chain(part.raw_inputs.iter().map(|at| raw[at])).collect();
            let made = plan.model.wire_node(format!("int8.{level}"), operator, &inputs);
            let mut made = made.map_err(tract_error)?.into_iter();
            floats.extend(part.float_outputs.iter().copied().zip(made.by_ref()));
            raw.extend(part.raw_outputs.iter().copied().zip(made));
            plan.subgraphs.push(subgraph);
        }
        for (id, value) in flow.floats.iter().enumerate() {
            if let FloatValue::FloatSubgraph(subgraph) = value
                && flow.levels[id] == level
            {
                let made = inline(&mut plan.model, subgraph, &floats).map_err(tract_error)?;
                floats.insert(id, made);
            }
        }
    }
    let outputs: Vec<OutletId> = flow.outputs.iter().map(|(_, id)| floats[id]).collect();
    plan.model.select_output_outlets(&outputs).map_err(tract_error)?;
    Ok(plan)
}

/// The steps of a flow without float subgraphs.
pub(crate) fn first_subgraph(flow: &Flow) -> Quantized {
    part(flow, 0).net
}

/// Cuts one level out of the flow and renumbers its activations.
fn part(flow: &Flow, level: usize) -> LevelPart {
    let mut part = LevelPart {
        net: Quantized::default(),
        float_inputs: Vec::new(),
        float_outputs: Vec::new(),
        raw_inputs: Vec::new(),
        raw_outputs: Vec::new(),
    };
    let maker: HashMap<usize, usize> =
        flow.steps.iter().map(|(level, step)| (step.output, *level)).collect();
    let mut local: HashMap<usize, usize> = HashMap::new();
    let mut number = |at: usize, part: &mut LevelPart| {
        *local.entry(at).or_insert_with(|| {
            let here = part.net.activations.len();
            part.net.activations.push(flow.activations[at].clone());
            if maker[&at] < level {
                part.net.raw_inputs.push(here);
                part.raw_inputs.push(at);
            }
            here
        })
    };
    for (_, step) in flow.steps.iter().filter(|(found, _)| *found == level) {
        let op = match &step.op {
            Op::Quantize(id) => Op::Quantize(float_input(flow, *id, &mut part)),
            op => op.clone(),
        };
        let inputs = step.inputs.iter().map(|&at| number(at, &mut part)).collect();
        let output = number(step.output, &mut part);
        part.net.steps.push(Step { op, inputs, output, ..step.clone() });
    }
    for (id, value) in flow.floats.iter().enumerate() {
        let FloatValue::Integers { name, dims, source } = value else { continue };
        if flow.levels[id] != level {
            continue;
        }
        let source = match source {
            Source::Dequantize(at) => Source::Dequantize(number(*at, &mut part)),
            Source::Accumulators { input, conv } => {
                Source::Accumulators { input: number(*input, &mut part), conv: conv.clone() }
            }
        };
        let output = FloatOutput { name: name.clone(), dims: dims.clone(), source };
        part.net.float_outputs.push(output);
        part.float_outputs.push(id);
    }
    for at in wanted_later(flow, level) {
        if maker[&at] == level && !part.raw_outputs.contains(&at) {
            let here = number(at, &mut part);
            part.net.raw_outputs.push(here);
            part.raw_outputs.push(at);
        }
    }
    part
}

/// Int8Subgraph-local number of a float input.
fn float_input(flow: &Flow, id: usize, part: &mut LevelPart) -> usize {
    part.float_inputs.iter().position(|&known| known == id).unwrap_or_else(|| {
        part.float_inputs.push(id);
        part.net.float_inputs.push(flow.floats[id].dims().to_vec());
        part.float_inputs.len() - 1
    })
}

/// Activations that levels behind this one read.
fn wanted_later(flow: &Flow, level: usize) -> impl Iterator<Item = usize> {
    let steps = flow.steps.iter().filter(move |(found, _)| *found > level);
    let floats = flow.floats.iter().zip(&flow.levels).filter(move |(_, found)| **found > level);
    let sources = floats.filter_map(|(value, _)| match value {
        FloatValue::Integers { source: Source::Dequantize(at), .. } => Some(*at),
        FloatValue::Integers { source: Source::Accumulators { input, .. }, .. } => Some(*input),
        _ => None,
    });
    steps.flat_map(|(_, step)| step.inputs.iter().copied()).chain(sources)
}

/// Copies a float subgraph's nodes into the plan.
fn inline(
    model: &mut TypedModel,
    subgraph: &FloatSubgraph,
    floats: &HashMap<usize, OutletId>,
) -> TractResult<OutletId> {
    let mut outlets: HashMap<OutletId, OutletId> = HashMap::new();
    for (&input, id) in subgraph.model.input_outlets()?.iter().zip(&subgraph.inputs) {
        outlets.insert(input, floats[id]);
    }
    let prefix = format!("float.{}", model.nodes().len());
    for at in subgraph.model.eval_order()? {
        let node = subgraph.model.node(at);
        if node.op_is::<TypedSource>() {
            continue;
        }
        let inputs: Vec<OutletId> = node.inputs.iter().map(|input| outlets[input]).collect();
        let name = format!("{prefix}.{}", node.name);
        for (slot, made) in model.wire_node(name, node.op.clone(), &inputs)?.into_iter().enumerate()
        {
            outlets.insert(OutletId::new(at, slot), made);
        }
    }
    Ok(outlets[&subgraph.model.output_outlets()?[0]])
}
