//! Resize: nearest neighbours and linear between pixels, in every coordinate mode that ONNX Runtime has.
//!
//! Where an axis is stretched by whole numbers, or between pixel centres, kernels find the positions in integers;
//! otherwise in f32 and in ONNX Runtime's order.

use super::dequantized::Dequantized;
use super::float_op::{FloatOp, FloatOpKind};
use crate::EngineError;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::values;
use crate::quantized::Shape;
use crate::quantized::image_op::{ImageOpKind, Positions};
use kernels::Between;
use std::sync::Arc;

impl NodeReader<'_> {
    pub(super) fn resize(
        &self,
        x: &Dequantized<'_>,
        opset: i64,
    ) -> Result<Option<FloatOp>, EngineError> {
        let Shape { c, .. } = x.activation.shape;
        if !x.is_image() {
            return Ok(None);
        }
        let refused = |name: &str| Err(self.error(format!("attribute `{name}` is not supported")));
        if self.ints("axes").is_some() {
            return refused("axes");
        }
        if let Some(name) = ["antialias", "exclude_outside"].iter().find(|n| self.int(n, 0) != 0) {
            return refused(name);
        }
        let Some([rows, columns]) = self.resized_axes(x, opset)? else { return Ok(None) };
        let op = match self.text("mode", "nearest") {
            "nearest" => self.nearest(c, rows, columns),
            "linear" if rows.between_centres(self) && columns.between_centres(self) => {
                Some(FloatOpKind::Bilinear)
            }
            "linear" => rows.linear(self).zip(columns.linear(self)).map(|(rows, columns)| {
                FloatOpKind::Image(ImageOpKind::Linear(Arc::new([rows, columns])))
            }),
            _ => None,
        };
        let Some(op) = op else {
            let mode = self.text("mode", "nearest");
            let transform = self.text("coordinate_transformation_mode", "half_pixel");
            let nearest = self.text("nearest_mode", "round_prefer_floor");
            let reason = format!(
                "mode {mode:?}, coordinate_transformation_mode {transform:?}, nearest_mode {nearest:?}; \
                 expected nearest or linear, and no tf_crop_and_resize"
            );
            return Err(self.error(reason));
        };
        Ok(Some(self.float_op(op, &[x], vec![1, c, rows.to, columns.to])?))
    }

    /// Rows and columns; `None` where other axes change, too.
    fn resized_axes(
        &self,
        x: &Dequantized<'_>,
        opset: i64,
    ) -> Result<Option<[ResizeAxis; 2]>, EngineError> {
        let Shape { h, w, c } = x.activation.shape;
        let (scales_at, sizes_at) = if opset < 11 { (1, usize::MAX) } else { (2, 3) };
        let scales = self
            .constant(scales_at)
            .and_then(values)
            .filter(|scales: &Vec<f32>| !scales.is_empty());
        let sizes: Option<Vec<i64>> = self.constant(sizes_at).and_then(values);
        if sizes.is_some() && self.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
            return Err(self.error("attribute `keep_aspect_ratio_policy` is not supported"));
        }
        let sides = match (scales.as_deref(), sizes.as_deref()) {
            (Some(&[1.0, 1.0, sy, sx]), _) => {
                [ResizeAxis::scaled(h, sy), ResizeAxis::scaled(w, sx)]
            }
            (None, Some(&[1, channels, sy, sx])) if channels == c as i64 => {
                [ResizeAxis::sized(h, sy), ResizeAxis::sized(w, sx)]
            }
            _ => return Ok(None),
        };
        let [Some(rows), Some(columns)] = sides else {
            return Err(self.error("sizes that are not between 1 and 16384"));
        };
        Ok(Some([rows, columns]))
    }

    fn nearest(&self, c: usize, rows: ResizeAxis, columns: ResizeAxis) -> Option<FloatOpKind> {
        let [from_rows, from_columns] = [rows.nearest(self)?, columns.nearest(self)?];
        let by_whole = |from: &[usize], axis: ResizeAxis| {
            from.iter().enumerate().all(|(at, from)| *from == at * axis.from / axis.to)
        };
        if by_whole(&from_rows, rows) && by_whole(&from_columns, columns) {
            return Some(FloatOpKind::Nearest);
        }
        let some = |from: Vec<usize>| from.into_iter().map(Some).collect();
        let (rows, columns) = (some(from_rows), some(from_columns));
        let from = Arc::new(Positions { rows, columns, channels: (0..c).map(Some).collect() });
        Some(FloatOpKind::Image(ImageOpKind::Gather { from, fill: 0.0 }))
    }
}

/// One axis of a Resize.
#[derive(Clone, Copy)]
struct ResizeAxis {
    from: usize,
    to: usize,
    scale: f32,
}

impl ResizeAxis {
    fn scaled(from: usize, scale: f32) -> Option<Self> {
        let to = (from as f32 * scale).floor();
        (1.0..=16384.0).contains(&to).then_some(Self { from, to: to as usize, scale })
    }

    fn sized(from: usize, to: i64) -> Option<Self> {
        let scale = to as f32 / from as f32;
        (1..=16384).contains(&to).then_some(Self { from, to: to as usize, scale })
    }

    /// Where an output lies among the inputs.
    fn source(self, reader: &NodeReader<'_>, at: usize) -> Option<f32> {
        let (x, scale) = (at as f32, self.scale);
        let half_pixel = (x + 0.5) / scale - 0.5;
        let (from, to) = (self.from as f32, self.to as f32);
        Some(match reader.text("coordinate_transformation_mode", "half_pixel") {
            "asymmetric" => x / scale,
            "half_pixel" => half_pixel,
            "pytorch_half_pixel" => {
                if self.to > 1 {
                    half_pixel
                } else {
                    0.0
                }
            }
            "align_corners" => {
                if self.to > 1 {
                    x * (from - 1.0) / (to - 1.0)
                } else {
                    0.0
                }
            }
            "half_pixel_symmetric" => {
                // ONNX Runtime's last steps are in double precision here, and only here.
                let adjustment = to / (scale * from);
                let offset = f64::from(from / 2.0 * (1.0 - adjustment));
                (offset + (f64::from(x) + 0.5) / f64::from(scale) - 0.5) as f32
            }
            _ => return None,
        })
    }

    /// The input that each output takes.
    fn nearest(self, reader: &NodeReader<'_>) -> Option<Vec<usize>> {
        let round = |x: f32| match reader.text("nearest_mode", "round_prefer_floor") {
            "floor" => Some(x.floor()),
            "ceil" => Some(x.ceil()),
            "round_prefer_floor" => Some((x - 0.5).ceil()),
            "round_prefer_ceil" => Some(x.round()),
            _ => None,
        };
        let last = (self.from - 1) as f32;
        let of = |at| self.source(reader, at).and_then(round).map(|x| x.clamp(0.0, last) as usize);
        (0..self.to).map(of).collect()
    }

    /// The two inputs that each output lies between.
    fn linear(self, reader: &NodeReader<'_>) -> Option<Vec<Between>> {
        let last = (self.from - 1) as f32;
        let of = |at| {
            let x = self.source(reader, at)?.clamp(0.0, last);
            let lower = x as usize;
            let upper = (lower + 1).min(self.from - 1);
            Some(Between { lower, upper, fraction: x - lower as f32 })
        };
        (0..self.to).map(of).collect()
    }

    fn between_centres(self, reader: &NodeReader<'_>) -> bool {
        let exact = self.scale == self.to as f32 / self.from as f32;
        match reader.text("coordinate_transformation_mode", "half_pixel") {
            "half_pixel" => exact,
            "pytorch_half_pixel" => exact && self.to > 1,
            _ => false,
        }
    }
}
