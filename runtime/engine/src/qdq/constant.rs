//! Constants as real numbers: floats of the file, or codes with their scales.

use super::dequantized::QuantizedConstant;
use super::walk::{Value, Walk};
use crate::layout::Layout;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::{dims, values, zero_points};

/// A constant tensor's values.
#[derive(Clone, Debug)]
pub(super) struct RealConstant {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<f64>,
}

/// Constants with more values than this are weights, not parameters.
const MOST: usize = 1 << 20;

impl Walk<'_> {
    /// Input `at` as real numbers; `None` where it is no constant or too large a one.
    pub(super) fn real_constant(&self, reader: &NodeReader<'_>, at: usize) -> Option<RealConstant> {
        match self.values.get(reader.input(at)?)? {
            Value::Constant(tensor) => {
                let values: Vec<f32> = values(tensor).filter(|all: &Vec<f32>| all.len() <= MOST)?;
                let values = values.into_iter().map(f64::from).collect();
                Some(RealConstant { dims: dims(tensor), values })
            }
            Value::QuantizedConstant(constant) => RealConstant::of_codes(constant),
            _ => None,
        }
    }
}

impl RealConstant {
    /// `(q − zero)·scale`, each rounded to f32 as DequantizeLinear does.
    fn of_codes(constant: &QuantizedConstant<'_>) -> Option<Self> {
        let dims = dims(constant.tensor);
        let codes = zero_points(constant.tensor).filter(|codes| codes.len() <= MOST)?;
        let axis = dims.get(constant.axis).copied().unwrap_or(1);
        let inner: usize = dims.iter().skip(constant.axis + 1).product();
        let of = |count: usize, at: usize| match count {
            1 => Some(0),
            n if n == axis => Some(at / inner.max(1) % axis),
            _ => None,
        };
        let value = |(at, q): (usize, &i32)| {
            let scale = constant.scale[of(constant.scale.len(), at)?];
            let zero = constant.zero[of(constant.zero.len(), at)?];
            Some(f64::from((i64::from(*q) - i64::from(zero)) as f32 * scale))
        };
        let values = codes.iter().enumerate().map(value).collect::<Option<Vec<_>>>()?;
        Some(Self { dims, values })
    }

    /// One value for each place along the axis that lies innermost, which has so many: where it is repeated along all
    /// others, or is one number.
    pub(super) fn along(&self, layout: &Layout, places: usize) -> Option<Vec<f64>> {
        let repeated = Layout::dense(&self.dims).broadcast(&layout.dims)?;
        if let [value] = self.values[..] {
            return Some(vec![value; places]);
        }
        let mut varying = repeated.axes()?.iter().zip(layout.axes()?);
        let varying: Vec<_> = varying.by_ref().filter(|(own, _)| own.stride > 0).collect();
        match varying[..] {
            [(own, axis)] if own.len == places && axis.stride == 1 => Some(self.values.clone()),
            _ => None,
        }
    }

    /// A vector of so many values.
    pub(super) fn vector(&self, count: usize) -> Option<Vec<f64>> {
        (self.dims == [count]).then(|| self.values.clone())
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self.values[..] {
            [value] => Some(value),
            _ => None,
        }
    }
}
