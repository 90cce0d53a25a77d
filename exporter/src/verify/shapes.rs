//! Shapes of a network's outputs, which decoding needs and the float reference does not carry along.

use crate::passes::interpreter::Outputs;
use anyhow::{Context, Result};
use graph::Graph;
use std::collections::BTreeMap;

/// `[1, …]` of every output, by name.
#[derive(Clone, Debug)]
pub(crate) struct Shapes(BTreeMap<String, Vec<usize>>);

impl Shapes {
    pub(crate) fn of(graph: &Graph) -> Result<Self> {
        let shapes = graph.shapes()?;
        let of = |output: &graph::Output| {
            let shape = [&[1], &shapes[output.node.as_str()][..]].concat();
            (output.name.clone(), shape)
        };
        Ok(Self(graph.outputs.iter().map(of).collect()))
    }

    /// Outputs of these shapes that say nothing.
    pub(crate) fn zeros(&self) -> engine::Outputs {
        let of = |(name, shape): (&String, &Vec<usize>)| engine::Output {
            name: name.clone(),
            shape: shape.clone(),
            data: vec![0.0; shape.iter().product()],
        };
        engine::Outputs { outputs: self.0.iter().map(of).collect() }
    }

    pub(crate) fn shaped(&self, outputs: &Outputs) -> Result<engine::Outputs> {
        let named = |(name, values): &(String, Vec<f32>)| {
            let shape = self.0.get(name);
            let shape = shape.with_context(|| format!("the network has no output `{name}`"))?;
            Ok(engine::Output { name: name.clone(), shape: shape.clone(), data: values.clone() })
        };
        Ok(engine::Outputs { outputs: outputs.iter().map(named).collect::<Result<_>>()? })
    }
}
