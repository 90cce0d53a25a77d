//! Pad: a border of an image's rows, columns and channels.

use super::constant::RealConstant;
use super::dequantized::Dequantized;
use super::float_op::{FloatOp, FloatOpKind};
use crate::EngineError;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::values;
use crate::quantized::Shape;
use crate::quantized::image_op::{ImageOpKind, Positions};
use std::sync::Arc;

/// Longest side that padding may make.
const MAX_SIDE: i64 = 1 << 15;

impl NodeReader<'_> {
    /// `fill` is the real value of a constant border, if the node has one.
    pub(super) fn pad(
        &self,
        x: &Dequantized<'_>,
        fill: Option<&RealConstant>,
        opset: i64,
    ) -> Result<Option<FloatOp>, EngineError> {
        if !x.is_image() {
            return Ok(None);
        }
        let mode = self.text("mode", "constant");
        let given: Option<Vec<i64>> = match opset {
            ..11 => self.ints("pads").map(<[i64]>::to_vec),
            _ => self.constant(1).and_then(values),
        };
        let pads = self.pads(given, opset)?;
        let fill = match (opset, self.input(2)) {
            (..11, _) => self.float("value", 0.0),
            (_, None) => 0.0,
            _ => match fill.and_then(RealConstant::number) {
                Some(value) if value.is_finite() => value as f32,
                _ => return Err(self.error("the value to pad with is not one finite constant")),
            },
        };
        let Shape { h, w, c } = x.activation.shape;
        let mut sides = Vec::new();
        for (axis, size) in [(2, h), (3, w), (1, c)] {
            sides.push(self.positions(mode, size, pads[axis], pads[axis + 4])?);
        }
        if (pads[0], pads[4]) != (0, 0) {
            return Err(self.error("padding of the batch axis"));
        }
        let [rows, columns, channels] = <[_; 3]>::try_from(sides).expect("three axes");
        let out = vec![1, channels.len(), rows.len(), columns.len()];
        let from = Arc::new(Positions { rows, columns, channels });
        let op = FloatOpKind::Image(ImageOpKind::Gather { from, fill });
        self.float_op(op, &[x], out).map(Some)
    }

    /// Begin and end of all four axes.
    fn pads(&self, given: Option<Vec<i64>>, opset: i64) -> Result<[i64; 8], EngineError> {
        let given = given.ok_or_else(|| self.error("pads that are not constant"))?;
        let axes: Option<Vec<i64>> = match self.input(3) {
            Some(_) if opset >= 18 => {
                let axes = self.constant(3).and_then(values);
                Some(axes.ok_or_else(|| self.error("axes that are not constant"))?)
            }
            _ => None,
        };
        let axes = axes.unwrap_or_else(|| (0..4).collect());
        let bad = || self.error(format!("pads {given:?} of axes {axes:?}, expected 4 axes"));
        if given.len() != 2 * axes.len() || axes.len() > 4 {
            return Err(bad());
        }
        let mut pads = [0; 8];
        for (at, axis) in axes.iter().enumerate() {
            let axis = if *axis < 0 { axis + 4 } else { *axis };
            let axis = usize::try_from(axis).ok().filter(|axis| *axis < 4).ok_or_else(bad)?;
            (pads[axis], pads[axis + 4]) = (given[at], given[at + axes.len()]);
        }
        Ok(pads)
    }

    /// Where each place of a padded side is read from; less than nothing cuts off.
    fn positions(
        &self,
        mode: &str,
        size: usize,
        before: i64,
        after: i64,
    ) -> Result<Vec<Option<usize>>, EngineError> {
        let small = |pad: i64| (-MAX_SIDE..=MAX_SIDE).contains(&pad);
        let length = size as i64;
        if !small(before) || !small(after) || !(1..=MAX_SIDE).contains(&(length + before + after)) {
            return Err(self.error(format!("pads {before} and {after} of {size}")));
        }
        let far = mode == "reflect" && before.max(after) >= length;
        if far || (mode == "wrap" && before.max(after) > length) {
            return Err(
                self.error(format!("mode {mode:?} with pads {before} and {after} of {size}"))
            );
        }
        let last = length - 1;
        let of = |at: i64| {
            let inside = (0..length).contains(&at).then_some(at);
            match mode {
                "constant" => Ok(inside),
                "edge" => Ok(Some(at.clamp(0, last))),
                "reflect" => Ok(Some(if at < 0 { -at } else { last - (at - last).abs() })),
                "wrap" => Ok(Some(at.rem_euclid(length))),
                _ => Err(self.error(format!("attribute `mode` is {mode:?}"))),
            }
        };
        (-before..length + after).map(|at| of(at).map(|at| at.map(|at| at as usize))).collect()
    }
}
