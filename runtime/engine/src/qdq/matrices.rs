//! Operators along the last axes of a tensor, wherever those lie: products of two activations, softmax, copies into one
//! tensor, constants added.

use super::dequantized::{Dequantized, QuantizedConstant};
use super::float_op::{Bounds, FloatOp, FloatOpKind};
use super::tokens::codes;
use crate::EngineError;
use crate::layout::{Axis, Layout, fits, pairs};
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::dims;
use crate::onnx::node_name;
use kernels::{MatMulSpec, MatrixPlace};

impl NodeReader<'_> {
    /// An operation whose result lies as `layout` says.
    pub(super) fn laid_op(
        &self,
        op: FloatOpKind,
        inputs: &[&Dequantized<'_>],
        layout: Layout,
    ) -> Result<FloatOp, EngineError> {
        if !fits(&layout.dims) {
            let dims = &layout.dims;
            return Err(self.error(format!("a tensor of {dims:?}, expected at most 2^27 values")));
        }
        Ok(FloatOp {
            name: node_name(self.node).to_owned(),
            op,
            inputs: inputs.iter().map(|real| real.view.at).collect(),
            shape: layout.shape(),
            layout,
            bounds: Bounds::NONE,
        })
    }

    /// An operation element by element: its result lies as its first input does.
    pub(super) fn like(
        &self,
        op: FloatOpKind,
        inputs: &[&Dequantized<'_>],
    ) -> Result<FloatOp, EngineError> {
        let pending = self.laid_op(op, inputs, inputs[0].view.layout.clone())?;
        Ok(FloatOp { shape: inputs[0].activation.shape, ..pending })
    }

    /// MatMul of two activations. What it makes lies row by row, and in each row product by product: the answers of
    /// all heads to one token lie together, so that nothing moves where they are merged.
    pub(super) fn matmul(
        &self,
        a: &Dequantized<'_>,
        b: &Dequantized<'_>,
    ) -> Result<Option<FloatOp>, EngineError> {
        let fault = |what: &str| {
            let (a, b, most) = (a.dims(), b.dims(), MatMulSpec::MAX_DEPTH);
            Err(self.error(format!("matrices of {a:?} and {b:?}: {what}, at most {most} deep")))
        };
        let (&[.., rows, depth], &[.., right, columns]) = (a.dims(), b.dims()) else {
            return Ok(None);
        };
        if depth != right || depth > MatMulSpec::MAX_DEPTH {
            return fault("they do not fit");
        }
        let [stack, other] = [a, b].map(|x| x.dims()[..x.dims().len() - 2].to_vec());
        // The axes of products that both have in common, one repeated where the other has several.
        let Some(batch) = graph::broadcast(&stack, &other) else {
            return fault("they do not fit");
        };
        let last = batch.len();
        let results = [&batch[..], &[rows, columns]].concat();
        let heads = last.saturating_sub(1);
        let order: Vec<usize> =
            (0..heads).chain([last]).chain(heads..last).chain([last + 1]).collect();
        let y = Layout::ordered(&results, &order);
        let left = a.view.layout.broadcast(&[&batch[..], &[rows, depth]].concat());
        let right = b.view.layout.broadcast(&[&batch[..], &[depth, columns]].concat());
        let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
        let Some((batch, [a_place, b_place, y_place])) = places([&left, &right, &y]) else {
            return fault("more than two axes of products");
        };
        let spec = MatMulSpec { batch, rows, depth, columns, a: a_place, b: b_place, y: y_place };
        self.laid_op(FloatOpKind::MatMul { spec, factor: 1.0 }, &[a, b], y).map(Some)
    }

    /// Softmax along the axis that lies innermost.
    pub(super) fn softmax(
        &self,
        x: &Dequantized<'_>,
        opset: i64,
    ) -> Result<Option<FloatOp>, EngineError> {
        if !self.is_along_one(x.dims().len(), opset)? {
            return Ok(None);
        }
        let axis = self.axis(self.int("axis", -1), x.dims().len())?;
        let columns = x.dims()[axis];
        self.like(FloatOpKind::Softmax { columns }, &[x]).map(Some)
    }

    /// Softmax of a product nobody quantizes in between: its sums go in as they are.
    pub(super) fn shares(
        &self,
        product: &FloatOp,
        opset: i64,
    ) -> Result<Option<FloatOp>, EngineError> {
        let FloatOpKind::MatMul { spec, factor } = product.op else { return Ok(None) };
        let rank = product.layout.dims.len();
        let last = self.is_along_one(rank, opset)?
            && self.axis(self.int("axis", -1), rank)? == rank - 1
            && product.layout.dims[rank - 1] == spec.columns;
        let op = FloatOpKind::MatMulSoftmax { spec, factor };
        let name = format!("{}+{}", product.name, node_name(self.node));
        let whole = last && product.bounds == Bounds::NONE && product.is_as_made();
        Ok(whole.then(|| FloatOp { name, op, ..product.clone() }))
    }

    /// Whether a softmax goes along one axis; before operator set 13 it flattened all that follow.
    fn is_along_one(&self, rank: usize, opset: i64) -> Result<bool, EngineError> {
        Ok(opset >= 13 || self.axis(self.int("axis", 1), rank)? == rank - 1)
    }

    /// Concat along any axis. Each part is copied.
    pub(super) fn append(
        &self,
        inputs: &[Dequantized<'_>],
    ) -> Result<Option<FloatOp>, EngineError> {
        let all = inputs[0].dims();
        let axis = self.axis(self.int("axis", 1), all.len())?;
        let others = |dims: &[usize]| {
            let mut dims = dims.to_vec();
            (dims.len() == all.len()).then(|| dims.remove(axis));
            dims
        };
        if inputs.iter().any(|x| others(x.dims()) != others(all)) {
            let found: Vec<&[usize]> = inputs.iter().map(Dequantized::dims).collect();
            return Err(self.error(format!("tensors of {found:?} along axis {axis}")));
        }
        let mut joined = all.to_vec();
        joined[axis] = inputs.iter().map(|x| x.dims()[axis]).sum();
        // As the largest part lies.
        let largest = inputs.iter().max_by_key(|x| x.view.layout.len());
        let own = &largest.expect("a node has inputs").view.layout;
        let lies = |as_it: fn(&[usize]) -> Layout| own.lies_as(&as_it(&own.dims));
        let plain = lies(Layout::plain) && !lies(Layout::dense);
        let to = if plain { Layout::plain(&joined) } else { Layout::dense(&joined) };
        let mut first = 0;
        let mut pieces = Vec::new();
        for x in inputs {
            let count = x.dims()[axis];
            let part = to.sliced(axis, first, count, 1);
            let part = part.expect("parts of the axis, one behind the other, make it");
            if pairs(&x.view.layout, &part).is_none() {
                return Ok(None);
            }
            pieces.push((x.view.layout.clone(), part));
            first += count;
        }
        let inputs: Vec<&Dequantized<'_>> = inputs.iter().collect();
        self.laid_op(FloatOpKind::Copy(pieces), &inputs, to).map(Some)
    }

    /// Add of an 8-bit constant, which may be repeated along axes.
    pub(super) fn add_constant(
        &self,
        x: &Dequantized<'_>,
        constant: &QuantizedConstant<'_>,
    ) -> Result<Option<FloatOp>, EngineError> {
        let own = dims(constant.tensor);
        let Some(repeated) = Layout::dense(&own).broadcast(x.dims()) else { return Ok(None) };
        let Some((codes, quant)) = codes(constant) else { return Ok(None) };
        // From ONNX's order to memory's.
        let mut laid = vec![0; x.view.layout.len()];
        for (from, to) in repeated.positions().zip(x.view.layout.positions()) {
            laid[to] = codes[from];
        }
        self.like(FloatOpKind::AddConstant { values: laid.into(), quant }, &[x]).map(Some)
    }
}

/// Two axes of products and where matrices lie, for three tensors whose last two axes are those of matrices; `None` if
/// their other axes are not two in all of them.
fn places(stacks: [&Layout; 3]) -> Option<([usize; 2], [MatrixPlace; 3])> {
    let axes = [stacks[0].axes()?, stacks[1].axes()?, stacks[2].axes()?];
    let rank = axes[0].len() - 2;
    // Neighbours that lie together in all three are one axis.
    let mut merged: Vec<[Axis; 3]> = Vec::new();
    for at in (0..rank).filter(|&at| axes[0][at].len > 1) {
        let own = axes.map(|axes| axes[at]);
        match merged.last_mut() {
            Some(last) if (0..3).all(|i| last[i].stride == own[i].stride * own[i].len) => {
                *last = std::array::from_fn(|i| Axis { len: last[i].len * own[i].len, ..own[i] });
            }
            _ => merged.push(own),
        }
    }
    let none = [Axis { len: 1, stride: 0 }; 3];
    let [outer, inner] = match merged[..] {
        [] => [none, none],
        [one] => [none, one],
        [outer, inner] => [outer, inner],
        _ => return None,
    };
    let place = |i: usize| MatrixPlace {
        first: stacks[i].offset(),
        batch: [outer[i].stride, inner[i].stride],
        row: axes[i][rank].stride,
        column: axes[i][rank + 1].stride,
    };
    Some(([outer[0].len, inner[0].len], [place(0), place(1), place(2)]))
}
