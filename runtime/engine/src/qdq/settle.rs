//! Operations that only move codes: their results are known in integers though no QuantizeLinear follows, as NNCF leaves
//! a pool or a join before the layer that reads it.

use super::dequantized::View;
use super::float_op::FloatOp;
use super::walk::{MAX_REPEATED, Value, Walk};
use crate::EngineError;
use crate::onnx::attributes::NodeReader;
use crate::quantized::{Activation, Quant, Step};

impl<'a> Walk<'a> {
    /// Of a node's inputs that wait for a QuantizeLinear, those that need none become integers.
    pub(super) fn settle(&mut self, reader: &NodeReader<'a>) -> Result<(), EngineError> {
        for name in &reader.node.input {
            let Some(Value::FloatOp(pending)) = self.values.get(name.as_str()) else { continue };
            let Some(quant) = pending.keeps(&self.flow.activations) else { continue };
            let pending = pending.clone();
            let view = self.made(name, &pending, quant)?;
            self.values.insert(name, Value::Dequantized(view));
        }
        Ok(())
    }

    /// The activation `name` that an operation makes, quantized as `quant`.
    pub(super) fn made(
        &mut self,
        name: &str,
        pending: &FloatOp,
        quant: Quant,
    ) -> Result<View, EngineError> {
        let step = pending.step(&self.flow.activations, self.flow.activations.len(), quant);
        let level = self.level(&pending.inputs);
        let activation = Activation {
            name: name.to_owned(),
            shape: pending.shape,
            quant,
            layout: pending.layout.clone(),
        };
        self.take(step, level, activation)
    }

    /// The step that makes the next activation.
    pub(super) fn take(
        &mut self,
        step: Step,
        level: usize,
        activation: Activation,
    ) -> Result<View, EngineError> {
        self.repeated += step.op.repeated_bytes();
        if self.repeated > MAX_REPEATED {
            let what = "constants, repeated along axes".into();
            let (found, limit) = (self.repeated, MAX_REPEATED);
            return Err(EngineError::TooLarge { what, found, limit });
        }
        let view = View { at: step.output, layout: activation.layout.clone() };
        self.flow.activations.push(activation);
        self.levels.push(level);
        self.flow.steps.push((level, step));
        Ok(view)
    }
}
