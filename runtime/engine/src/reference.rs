//! A network run by its definition: plain loops, nothing fused, one thread. What tests compare with.

use crate::EngineError;
use crate::definition;
use crate::engine::{Intermediate, Output, Outputs};
use crate::onnx::Document;
use crate::plan;
use crate::qdq::{FloatValue, read};

/// Results and every quantized activation of a QDQ model that is all integers.
pub fn reference(onnx: &[u8], input: &[f32]) -> Result<(Outputs, Vec<Intermediate>), EngineError> {
    let document = Document::decode(onnx)?;
    let flow = read(&document, &[])?;
    if flow.floats.iter().any(|value| matches!(value, FloatValue::FloatSubgraph(_))) {
        let reason = "the definition covers integers only, and this network has float nodes".into();
        return Err(EngineError::Onnx { reason });
    }
    let shape = &document.input.1;
    let expected = shape.iter().product();
    if input.len() != expected {
        return Err(EngineError::Input { found: input.len(), expected, shape: shape.clone() });
    }
    let net = plan::first_subgraph(&flow);
    net.check_work()?;
    let values = definition::run(&net, &[input], &[]);
    let output = |(name, id): &(String, usize)| {
        let name_of = |value: &FloatValue| match value {
            FloatValue::Integers { name, .. } => Some(name.clone()),
            _ => None,
        };
        let made = name_of(&flow.floats[*id]);
        let at = net.float_outputs.iter().position(|output| Some(&output.name) == made.as_ref());
        let data = at.map_or_else(|| input.to_vec(), |at| values.floats[at].clone());
        Output { name: name.clone(), shape: flow.floats[*id].dims().to_vec(), data }
    };
    let outputs = Outputs { outputs: flow.outputs.iter().map(output).collect() };
    let activations = net.activations.into_iter().zip(values.activations);
    Ok((outputs, activations.map(|(made, q)| Intermediate::new(made, &q)).collect()))
}
