//! A subgraph as a tract operator. tract keeps its memory (one [`Workspace`] a session) and calls it.

use crate::int8_subgraph::{Int8Subgraph, LayerSeen, SubgraphInputs, SubgraphOutputs, Workspace};
use crate::quantized::Activation;
use kernels::Pool;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tract_onnx::tract_core::internal::*;

/// What the next run should tell besides its results.
pub(crate) enum Probe {
    Off,
    /// Every quantized activation: itself and its values, `H x W x C`.
    Values(Vec<(Activation, Vec<u8>)>),
    Times(Times),
}

/// When each layer ended, on the caller's clock.
pub(crate) struct Times {
    pub(crate) clock: Box<dyn FnMut() -> Duration + Send>,
    /// Layer, time at its end; the first entry is the start.
    pub(crate) ends: Vec<(Option<usize>, Duration)>,
}

/// Inputs: floats, then raw activations. Outputs alike.
#[derive(Clone)]
pub(crate) struct Int8Operator {
    subgraph: Arc<Int8Subgraph>,
    pool: Arc<Pool>,
    probe: Arc<Mutex<Probe>>,
    /// Number of the subgraph's first layer in the plan.
    first: usize,
}

impl Int8Operator {
    pub(crate) fn new(
        subgraph: Arc<Int8Subgraph>,
        pool: Arc<Pool>,
        probe: Arc<Mutex<Probe>>,
        first: usize,
    ) -> Self {
        Self { subgraph, pool, probe, first }
    }

    fn run(&self, workspace: &mut Workspace, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let mut floats: TVec<&[f32]> = tvec![];
        let mut raw: TVec<&[u8]> = tvec![];
        for input in inputs {
            let values = input.try_as_plain_ram()?;
            match input.datum_type() {
                DatumType::U8 => raw.push(values.as_slice::<u8>()?),
                _ => floats.push(values.as_slice::<f32>()?),
            }
        }
        let mut float_tensors = self
            .subgraph
            .float_dims()
            .map(Tensor::zero::<f32>)
            .collect::<TractResult<TVec<Tensor>>>()?;
        let mut raw_tensors = self
            .subgraph
            .raw_outputs()
            .map(|activation| Tensor::zero::<u8>(&[activation.shape.len()]))
            .collect::<TractResult<TVec<Tensor>>>()?;
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        probe.start();
        {
            let mut float_views = float_tensors
                .iter_mut()
                .map(|tensor| tensor.try_as_plain_ram_mut())
                .collect::<TractResult<TVec<_>>>()?;
            let mut raw_views = raw_tensors
                .iter_mut()
                .map(|tensor| tensor.try_as_plain_ram_mut())
                .collect::<TractResult<TVec<_>>>()?;
            let mut float_out = float_views
                .iter_mut()
                .map(|view| view.as_slice_mut::<f32>())
                .collect::<TractResult<TVec<_>>>()?;
            let mut raw_out = raw_views
                .iter_mut()
                .map(|view| view.as_slice_mut::<u8>())
                .collect::<TractResult<TVec<_>>>()?;
            self.subgraph.run(
                workspace,
                &self.pool,
                SubgraphInputs { floats: &floats, raw: &raw },
                SubgraphOutputs { floats: &mut float_out, raw: &mut raw_out },
                &mut |seen| probe.see(self.first, seen),
            );
        }
        Ok(float_tensors.into_iter().chain(raw_tensors).map(Tensor::into_tvalue).collect())
    }
}

impl Probe {
    fn start(&mut self) {
        if let Self::Times(times) = self {
            let now = (times.clock)();
            times.ends.push((None, now));
        }
    }

    fn see(&mut self, first: usize, seen: LayerSeen<'_>) {
        match self {
            Self::Off => {}
            Self::Values(values) => {
                values.extend(seen.made.map(|(made, bytes)| (made.clone(), bytes.to_vec())));
            }
            Self::Times(times) => {
                let now = (times.clock)();
                times.ends.push((Some(first + seen.layer), now));
            }
        }
    }
}

impl fmt::Debug for Int8Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Int8({} layers)", self.subgraph.layers().count())
    }
}

impl PartialEq for Int8Operator {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.subgraph, &other.subgraph)
    }
}

impl Eq for Int8Operator {}

impl Op for Int8Operator {
    fn name(&self) -> StaticName {
        "Int8".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Int8Operator {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext<'_>) -> TractResult<Option<Box<dyn OpState>>> {
        let workspace = self.subgraph.workspace();
        Ok(Some(Box::new(Int8State { subgraph: self.subgraph.clone(), workspace })))
    }
}

impl TypedOp for Int8Operator {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let floats = self.subgraph.float_dims().map(f32::fact);
        let raw = self.subgraph.raw_outputs().map(|raw| u8::fact([raw.shape.len()]));
        Ok(floats.chain(raw).collect())
    }

    fn cost(&self, _: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let macs: u64 = self.subgraph.layers().map(|layer| layer.macs).sum();
        Ok(tvec!((Cost::FMA(i8::datum_type()), macs.to_dim())))
    }
}

/// The memory of one session.
#[derive(Debug)]
struct Int8State {
    subgraph: Arc<Int8Subgraph>,
    workspace: Workspace,
}

impl Clone for Int8State {
    fn clone(&self) -> Self {
        Self { subgraph: self.subgraph.clone(), workspace: self.subgraph.workspace() }
    }
}

impl OpState for Int8State {
    fn eval(
        &mut self,
        _: &EvalContext<'_>,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let op =
            op.downcast_ref::<Int8Operator>().context("the state belongs to an Int8 operator")?;
        op.run(&mut self.workspace, &inputs)
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
