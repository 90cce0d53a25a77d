//! Resize: what the kernels do exactly, nearest neighbours by whole numbers and bilinear between pixel centres.

use super::dequantized::Dequantized;
use super::float_op::{FloatOp, FloatOpKind};
use crate::EngineError;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::values;
use crate::quantized::Shape;

impl NodeReader<'_> {
    pub(super) fn resize(
        &self,
        x: &Dequantized<'_>,
        opset: i64,
    ) -> Result<Option<FloatOp>, EngineError> {
        let Shape { h, w, c } = x.activation.shape;
        let (scales_at, sizes_at) = if opset < 11 { (1, usize::MAX) } else { (2, 3) };
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
        let scales = self
            .constant(scales_at)
            .and_then(values)
            .filter(|scales: &Vec<f32>| !scales.is_empty());
        let sizes: Option<Vec<i64>> = self.constant(sizes_at).and_then(values);
        if sizes.is_some() && self.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
            return refused("keep_aspect_ratio_policy");
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
        let op = match self.text("mode", "nearest") {
            "nearest" if rows.repeats(self) && columns.repeats(self) => FloatOpKind::Nearest,
            "linear" if rows.between_centres(self) && columns.between_centres(self) => {
                FloatOpKind::Bilinear
            }
            mode => {
                let transform = self.text("coordinate_transformation_mode", "half_pixel");
                let nearest = self.text("nearest_mode", "round_prefer_floor");
                let reason = format!(
                    "mode {mode:?}, coordinate_transformation_mode {transform:?}, nearest_mode {nearest:?}; \
                     expected nearest with asymmetric and floor, or linear with half_pixel"
                );
                return Err(self.error(reason));
            }
        };
        Ok(Some(self.float_op(op, &[x], vec![1, c, rows.to, columns.to])?))
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

    /// Whether output `o` takes input `⌊o · from / to⌋`, all that the kernels know.
    fn repeats(self, reader: &NodeReader<'_>) -> bool {
        let o = |o: usize| o as f32;
        let source = |at: usize| match reader.text("coordinate_transformation_mode", "half_pixel") {
            "asymmetric" => Some(o(at) / self.scale),
            "half_pixel" => Some((o(at) + 0.5) / self.scale - 0.5),
            _ => None,
        };
        let round = |x: f32| match reader.text("nearest_mode", "round_prefer_floor") {
            "floor" => Some(x.floor()),
            "round_prefer_floor" => Some((x - 0.5).ceil()),
            "round_prefer_ceil" => Some((x + 0.5).floor()),
            _ => None,
        };
        let last = (self.from - 1) as f32;
        (0..self.to).all(|at| {
            let found = source(at).and_then(round).map(|x| x.clamp(0.0, last) as usize);
            found == Some(at * self.from / self.to)
        })
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
