//! Draws operators over images: gates, normalisations, padding, resizing, transposed convolutions.

use crate::qdq::{Qdq, Real, float, floats, int, ints, raw, text};
use tract_onnx::pb::{AttributeProto, tensor_proto::DataType};

impl Qdq {
    /// `op` of two tensors of the first one's shape, or which repeat a side.
    pub(crate) fn combine(&mut self, op: &str, a: &Real, b: &Real) -> Real {
        let sides = std::array::from_fn(|at| a.shape[at].max(b.shape[at]));
        let name = self.node(op, &[&a.name, &b.name], vec![]);
        let range = if op == "Mul" { 90.0 * a.scale * b.scale } else { a.scale + b.scale };
        self.quantized(&name, sides, 128.0 * range)
    }

    /// Squeeze and excitation: a mean, two convolutions, a gate.
    pub(crate) fn gated(&mut self, x: &Real) -> Real {
        let mean = self.global_pool(x);
        let pixel = |c| crate::Layer::square(c, 1, 1, crate::Rectify::Relu);
        let narrow = self.conv(&mean, pixel(3));
        let wide = self.conv(&narrow, pixel(x.shape[0]));
        let gate = self.node("Sigmoid", &[&wide.name], vec![]);
        let gate = self.quantized(&gate, wide.shape, 1.0);
        let name = self.node("Mul", &[&x.name, &gate.name], vec![]);
        self.quantized(&name, x.shape, 150.0 * x.scale)
    }

    /// `x · sigmoid(x)`, the sigmoid quantized, as ONNX Runtime writes it.
    pub(crate) fn silu(&mut self, x: &Real) -> Real {
        let gate = self.node("Sigmoid", &[&x.name], vec![]);
        let gate = self.quantized(&gate, x.shape, 1.0);
        let name = self.node("Mul", &[&x.name, &gate.name], vec![]);
        self.quantized(&name, x.shape, 150.0 * x.scale)
    }

    fn numbers(&mut self, count: usize, from: f32, to: f32) -> String {
        let values: Vec<f32> = (0..count).map(|_| from + (to - from) * self.unit()).collect();
        self.constant(floats(&[count], &values))
    }

    /// `BatchNormalization`, `InstanceNormalization` or `GroupNormalization`, perhaps with a Relu.
    pub(crate) fn normalized(&mut self, op: &str, x: &Real) -> Real {
        let c = x.shape[0];
        let (gain, bias) = (self.numbers(c, -2.0, 2.0), self.numbers(c, -1.0, 1.0));
        let mut inputs = vec![x.name.clone(), gain, bias];
        let mut attributes = vec![float("epsilon", 1e-3)];
        match op {
            "BatchNormalization" => {
                inputs.extend([self.numbers(c, -1.0, 1.0), self.numbers(c, 0.1, 2.0)]);
            }
            "GroupNormalization" => {
                let groups = (1..=c).filter(|groups| c.is_multiple_of(*groups)).collect::<Vec<_>>();
                attributes.push(int("num_groups", groups[self.below(groups.len())] as i64));
            }
            _ => {}
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut name = self.node(op, &inputs, attributes);
        if self.below(2) == 0 {
            name = self.node("Relu", &[&name], vec![]);
        }
        self.quantized(&name, x.shape, 6.0)
    }

    pub(crate) fn padded(&mut self, x: &Real, mode: &str, pads: [i64; 8]) -> Real {
        let bytes = pads.iter().flat_map(|pad| pad.to_le_bytes()).collect();
        let pads_name = self.constant(raw(DataType::Int64, &[8], bytes));
        let fill = self.constant(floats(&[], &[0.4]));
        let name = self.node("Pad", &[&x.name, &pads_name, &fill], vec![text("mode", mode)]);
        let side = |axis: usize, size: usize| (size as i64 + pads[axis] + pads[axis + 4]) as usize;
        let [c, h, w] = x.shape;
        self.quantized(&name, [side(1, c), side(2, h), side(3, w)], 150.0 * x.scale)
    }

    pub(crate) fn resized(
        &mut self,
        x: &Real,
        [h, w]: [usize; 2],
        modes: Vec<AttributeProto>,
    ) -> Real {
        let empty = self.constant(floats(&[0], &[]));
        let sizes = [1, x.shape[0], h, w].map(|side| (side as i64).to_le_bytes()).concat();
        let sizes = self.constant(raw(DataType::Int64, &[4], sizes));
        let name = self.node("Resize", &[&x.name, &empty, &empty, &sizes], modes);
        self.quantized(&name, [x.shape[0], h, w], 128.0 * x.scale)
    }

    pub(crate) fn window(&mut self, op: &str, x: &Real, attributes: Vec<AttributeProto>) -> String {
        self.node(op, &[&x.name], attributes)
    }

    pub(crate) fn conv_transpose(&mut self, x: &Real, out: usize, groups: usize) -> Real {
        let (kernel, stride) = (1 + self.below(4), 1 + self.below(3));
        let pad = self.below(kernel.min(2)) as i64;
        let each = out / groups;
        let shape = [x.shape[0], each, kernel, kernel];
        let (weights, scales) = self.weights(&shape, each, 1);
        let scales: Vec<f32> = (0..out).map(|o| scales[o % each]).collect();
        let bias = self.bias(out, x.scale, &scales);
        let more = self.below(stride) as i64;
        let attributes = vec![
            ints("kernel_shape", &[kernel as i64; 2]),
            ints("strides", &[stride as i64; 2]),
            ints("pads", &[pad, 0, pad, pad]),
            ints("output_padding", &[more, more]),
            int("group", groups as i64),
        ];
        let name = self.node("ConvTranspose", &[&x.name, &weights, &bias], attributes);
        let side =
            |size: usize, pads: i64| ((size - 1) * stride + kernel) + more as usize - pads as usize;
        let [_, h, w] = x.shape;
        let range = 3.0 * 64.0 * x.scale * 40.0 * 0.002 * (x.shape[0] as f32).sqrt() * 2.0;
        self.quantized(&name, [out, side(h, 2 * pad), side(w, pad)], range)
    }
}
