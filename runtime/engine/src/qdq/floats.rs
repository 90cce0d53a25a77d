//! Float tensors that a network needs: the image, integers scaled, or what a float subgraph makes.

use super::dequantized::View;
use super::float_op::{Bounds, FloatOp, FloatOpKind};
use super::flow::FloatValue;
use super::walk::{Value, Walk};
use crate::EngineError;
use crate::float_subgraph::{FloatSubgraph, allow};
use crate::layout::Layout;
use crate::quantized::{Shape, Source};
use std::collections::BTreeSet;

impl Walk<'_> {
    /// The float tensor `name`, made if nobody asked for it before.
    pub(super) fn float(&mut self, name: &str) -> Result<usize, EngineError> {
        if let Some(&id) = self.float_ids.get(name) {
            return Ok(id);
        }
        self.arrange_result(name);
        let (level, value) = match self.direct(name)? {
            Some(found) => found,
            None => self.float_subgraph(name)?,
        };
        self.flow.floats.push(value);
        self.flow.levels.push(level);
        let id = self.flow.floats.len() - 1;
        self.float_ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// What becomes float lies as a whole, in ONNX's order or as an image.
    fn arrange_result(&mut self, name: &str) {
        let Some((&key, Value::Dequantized(view))) = self.values.get_key_value(name) else {
            return;
        };
        let view = view.clone();
        let dims = &view.layout.dims;
        let own = &self.flow.activations[view.at].layout;
        let readable =
            own.lies_as(&Layout::dense(&own.dims)) || own.lies_as(&Layout::plain(&own.dims));
        if !(readable && view.layout.lies_as(own)) {
            let dense = Layout::dense(dims);
            let arranged = self.arranged(&view, &dense);
            // Floats are read in the activation's own order, also where a view of it lies densely.
            let own = &self.flow.activations[arranged.at].layout;
            let read = own.dims == *dims && own.lies_as(&dense);
            let arranged = if read { arranged } else { self.copied(&arranged, &dense) };
            self.values.insert(key, Value::Dequantized(arranged));
        }
    }

    /// A float tensor that needs no float arithmetic: the image, or integers scaled.
    fn direct(&self, name: &str) -> Result<Option<(usize, FloatValue)>, EngineError> {
        if name == self.document.input.0 {
            return Ok(Some((0, FloatValue::Image { dims: self.document.input.1.clone() })));
        }
        let integers = |dims: &Vec<usize>, source| FloatValue::Integers {
            name: name.to_owned(),
            dims: dims.clone(),
            source,
        };
        Ok(match self.values.get(name) {
            Some(Value::Dequantized(View { at, layout })) => {
                Some((self.levels[*at], integers(&layout.dims, Source::Dequantize(*at))))
            }
            Some(Value::FloatOp(FloatOp {
                op: FloatOpKind::Conv(conv),
                inputs,
                bounds,
                shape: Shape { h, w, c },
                layout,
                ..
            })) if *bounds == Bounds::NONE && layout.lies_as(&Layout::plain(&[1, *c, *h, *w])) => {
                let source = Source::Accumulators { input: inputs[0], conv: conv.clone() };
                Some((self.levels[inputs[0]], integers(&layout.dims, source)))
            }
            Some(Value::Integers(_)) => {
                let reason = format!("`{name}` leaves the network as integers, expected float");
                return Err(EngineError::Onnx { reason });
            }
            _ => None,
        })
    }

    /// The float nodes between integers and `name`, read by tract.
    fn float_subgraph(&mut self, name: &str) -> Result<(usize, FloatValue), EngineError> {
        let (mut nodes, mut inputs, mut constants) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut wanted = vec![name.to_owned()];
        while let Some(tensor) = wanted.pop() {
            if let Some(Value::Constant(_)) = self.values.get(tensor.as_str()) {
                constants.insert(tensor);
                continue;
            }
            self.arrange_result(&tensor);
            if tensor != name && self.direct(&tensor)?.is_some() {
                inputs.insert(tensor);
                continue;
            }
            let &at = self
                .producers
                .get(tensor.as_str())
                .ok_or_else(|| EngineError::Onnx { reason: format!("nothing makes `{tensor}`") })?;
            if nodes.insert(at) {
                let node = &self.document.graph().node[at];
                wanted.extend(node.input.iter().filter(|input| !input.is_empty()).cloned());
            }
        }
        for &at in &nodes {
            allow(&self.document.graph().node[at], self.declared)?;
        }
        let mut level = 0;
        let mut floats = Vec::new();
        for input in inputs {
            let id = self.float(&input)?;
            level = level.max(self.flow.levels[id]);
            floats.push((input, id, self.flow.floats[id].dims().to_vec()));
        }
        let subgraph = FloatSubgraph::load(self.document, &nodes, &constants, floats, name)?;
        Ok((level, FloatValue::FloatSubgraph(Box::new(subgraph))))
    }
}
