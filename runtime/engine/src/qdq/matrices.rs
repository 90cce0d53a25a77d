//! Operators over matrices: reshaping and transposing, which move nothing, products of two activations, softmax, and
//! what an attention pool makes its tokens with.
//!
//! ```text
//! activation         ONNX            lies in memory           reshaped
//! H x W x C          [1, C, H, W]    channels innermost       to [1, C, …]: columns of C values, one a pixel; or flat
//! 1 x 1 x N          any of N values in ONNX's order          as anybody likes
//! ```

use super::dequantized::{Dequantized, QuantizedConstant, View};
use super::float_op::{Bounds, FloatOp, FloatOpKind};
use crate::EngineError;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::{dims, is, values};
use crate::onnx::node_name;
use crate::quantized::{Quant, Shape};
use kernels::MatMulSpec;
use tract_onnx::pb::tensor_proto::DataType;

/// `[1, rows, columns]` and how it lies: whole rows one after the other, whole columns, or both where there is one.
#[derive(Clone, Copy)]
struct Matrix {
    rows: usize,
    columns: usize,
    by_rows: bool,
    by_columns: bool,
}

impl Dequantized<'_> {
    fn matrix(&self) -> Option<Matrix> {
        let &[1, rows, columns] = self.dims() else { return None };
        let (shape, transposed) = (self.activation.shape, self.view.transposed);
        let in_order = shape.is_in_order();
        if !in_order && shape.c != if transposed { columns } else { rows } {
            return None;
        }
        let by_rows = in_order != transposed;
        let one = rows == 1 || columns == 1;
        Some(Matrix { rows, columns, by_rows: by_rows || one, by_columns: !by_rows || one })
    }
}

impl NodeReader<'_> {
    /// The shape that flattening and its like give values without moving one; `None` for what moves some.
    pub(super) fn reshaped(&self, from: &[usize], shape: Shape) -> Option<Vec<usize>> {
        let count: usize = from.iter().product();
        match self.node.op_type.as_str() {
            "Identity" | "Dropout" => Some(from.to_vec()),
            "Flatten" => (self.int("axis", 1) == 1).then(|| vec![1, count]),
            "Squeeze" => {
                let given = self.constant(1).and_then(values);
                let axes = given.or_else(|| self.ints("axes").map(<[i64]>::to_vec))?;
                let spatial = axes == [2, 3] || axes == [-2, -1] || axes == [-1, -2];
                (spatial && matches!(from, [1, _, 1, 1])).then(|| vec![1, count])
            }
            "Reshape" => {
                let to =
                    resolved(&self.constant(1).and_then(values)?, from, self.int("allowzero", 0))?;
                let kept = shape.is_in_order() || to == [1, count] || to.get(1) == Some(&shape.c);
                (kept && to[0] == 1 && (2..=4).contains(&to.len())).then_some(to)
            }
            _ => None,
        }
    }

    /// Rows for columns, of one matrix.
    pub(super) fn transposed(&self, x: &Dequantized<'_>) -> Option<View> {
        let &[batch, rows, columns] = x.dims() else { return None };
        let swap = self.ints("perm") == Some(&[0, 2, 1]);
        let dims = vec![batch, columns, rows];
        swap.then_some(View { at: x.view.at, dims, transposed: !x.view.transposed })
    }

    /// MatMul of two activations, the left one by rows. Of larger ranks only what is one matrix.
    pub(super) fn matmul(
        &self,
        a: &Dequantized<'_>,
        b: &Dequantized<'_>,
    ) -> Result<Option<FloatOp>, EngineError> {
        let (Some(left), Some(right)) = (a.matrix(), b.matrix()) else { return Ok(None) };
        if !left.by_rows {
            return Ok(None);
        }
        let (rows, depth, columns) = (left.rows, left.columns, right.columns);
        if depth != right.rows || depth > MatMulSpec::MAX_DEPTH {
            let most = MatMulSpec::MAX_DEPTH;
            let (a, b) = (a.dims(), b.dims());
            return Err(self.error(format!("matrices of {a:?} and {b:?}, at most {most} deep")));
        }
        let spec = MatMulSpec { rows, depth, columns, columns_in_rows: right.by_columns };
        self.by_rows(FloatOpKind::MatMul(spec), &[a, b], [rows, columns]).map(Some)
    }

    /// Softmax along the last axis of a matrix that lies by rows.
    pub(super) fn softmax(
        &self,
        x: &Dequantized<'_>,
        opset: i64,
    ) -> Result<Option<FloatOp>, EngineError> {
        let last = self.is_along_rows(opset);
        let Some(matrix) = x.matrix().filter(|matrix| matrix.by_rows && last) else {
            return Ok(None);
        };
        let Matrix { rows, columns, .. } = matrix;
        self.by_rows(FloatOpKind::Softmax { columns }, &[x], [rows, columns]).map(Some)
    }

    /// Softmax of a product nobody quantizes in between: its sums go in as they are.
    pub(super) fn shares(&self, product: &FloatOp, opset: i64) -> Option<FloatOp> {
        let FloatOpKind::MatMul(spec) = product.op else { return None };
        let name = format!("{}+{}", product.name, node_name(self.node));
        let whole = product.bounds == Bounds::NONE
            && product.dims == [1, spec.rows, spec.columns]
            && self.is_along_rows(opset);
        let op = FloatOpKind::MatMulSoftmax(spec);
        whole.then(|| FloatOp { name, op, ..product.clone() })
    }

    /// Whether a softmax goes along the last of three axes; before operator set 13 it flattened what follows its axis.
    fn is_along_rows(&self, opset: i64) -> bool {
        matches!(self.int("axis", if opset < 13 { 1 } else { -1 }), 2 | -1)
    }

    /// A result `[1, rows, columns]` in ONNX's own order.
    fn by_rows(
        &self,
        op: FloatOpKind,
        inputs: &[&Dequantized<'_>],
        [rows, columns]: [usize; 2],
    ) -> Result<FloatOp, EngineError> {
        let pending = self.float_op(op, inputs, vec![1, rows, columns])?;
        Ok(FloatOp { shape: Shape::row(rows * columns), ..pending })
    }

    /// Concat of matrices along their columns.
    pub(super) fn append(
        &self,
        inputs: &[Dequantized<'_>],
    ) -> Result<Option<FloatOp>, EngineError> {
        let matrices = inputs.iter().map(Dequantized::matrix).collect::<Option<Vec<_>>>();
        let Some(matrices) = matrices else { return Ok(None) };
        let rows = matrices[0].rows;
        if !matrices.iter().all(|matrix| matrix.rows == rows && matrix.by_columns) {
            return Ok(None);
        }
        let columns = matrices.iter().map(|matrix| matrix.columns).sum();
        let inputs: Vec<&Dequantized<'_>> = inputs.iter().collect();
        self.float_op(FloatOpKind::Append, &inputs, vec![1, rows, columns]).map(Some)
    }

    /// Add of an 8-bit constant of the tensor's own shape.
    pub(super) fn add_constant(
        &self,
        x: &Dequantized<'_>,
        constant: &QuantizedConstant<'_>,
    ) -> Result<Option<FloatOp>, EngineError> {
        let tensor = constant.tensor;
        let found = dims(tensor);
        let same = found == x.dims() || found == x.dims()[1..];
        let (&[scale], &[zero]) = (&constant.scale[..], &constant.zero[..]) else {
            return Ok(None);
        };
        if !same || x.dims()[0] != 1 {
            return Ok(None);
        }
        let signed = is(tensor, DataType::Int8);
        let values: Vec<u8> = if signed {
            let raised = |q: i8| (i16::from(q) + 128) as u8;
            values(tensor).map(|values| values.into_iter().map(raised).collect())
        } else {
            values(tensor)
        }
        .ok_or_else(|| self.error("the constant is not 8-bit"))?;
        let zero = u8::try_from(if signed { zero + 128 } else { zero })
            .map_err(|_| self.error("the constant's zero point is not 8-bit"))?;
        let Shape { h, w, c } = x.activation.shape;
        let pixels = h * w;
        // From ONNX's order to memory's, which are the same where one of the two is 1.
        let values = (0..values.len()).map(|at| values[at % c * pixels + at / c]).collect();
        let op = FloatOpKind::AddConstant { values, quant: Quant { scale, zero, signed } };
        let pending = self.float_op(op, &[x], x.dims().to_vec())?;
        Ok(Some(FloatOp { shape: x.activation.shape, ..pending }))
    }
}

/// What a `Reshape` to `to` gives: 0 keeps a side (unless `allowzero`), one −1 is what is left.
fn resolved(to: &[i64], from: &[usize], allowzero: i64) -> Option<Vec<usize>> {
    let count: usize = from.iter().product();
    let side = |(at, &side): (usize, &i64)| match side {
        0 if allowzero == 0 => from.get(at).copied(),
        -1 => Some(1),
        side => usize::try_from(side).ok().filter(|&side| side <= count),
    };
    let mut sides = to.iter().enumerate().map(side).collect::<Option<Vec<_>>>()?;
    let known = sides.iter().try_fold(1_usize, |n, &side| n.checked_mul(side))?;
    let mut open = to.iter().enumerate().filter(|(_, side)| **side == -1).map(|(at, _)| at);
    if let (Some(at), None) = (open.next(), open.next()) {
        if known == 0 || !count.is_multiple_of(known) {
            return None;
        }
        sides[at] = count / known;
    }
    (sides.iter().product::<usize>() == count).then_some(sides)
}
