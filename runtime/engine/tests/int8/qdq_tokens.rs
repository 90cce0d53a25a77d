//! Draws transformers in QDQ form: patches, class token, positions, blocks.

use crate::qdq::{Layer, Qdq, Real, Rectify, floats, int, ints, raw};
use tract_onnx::pb::tensor_proto::DataType;

/// Sizes of a network of tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    /// Channels of a head.
    pub(crate) depth: usize,
}

impl Sizes {
    pub(crate) fn width(self) -> usize {
        self.heads * self.depth
    }
}

/// Who writes the file: the quantizer rounds behind every operator, views too, and knows no scores that are not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Style {
    Exporter,
    Quantizer,
}

impl Qdq {
    pub(crate) fn shape_constant(&mut self, sides: &[usize]) -> String {
        let bytes = sides.iter().flat_map(|&n| (n as i64).to_le_bytes()).collect();
        self.constant(raw(DataType::Int64, &[sides.len()], bytes))
    }

    /// An operator that moves nothing; in the quantizer's style with the same codes behind it.
    pub(crate) fn seen(
        &mut self,
        style: Style,
        op: &str,
        x: &Real,
        second: Option<&str>,
        order: &[i64],
    ) -> Real {
        let inputs: Vec<&str> = [Some(x.name.as_str()), second].into_iter().flatten().collect();
        let attributes = match op {
            "Transpose" => vec![ints("perm", order)],
            "Gather" => vec![int("axis", order[0])],
            _ => vec![],
        };
        let name = self.node(op, &inputs, attributes);
        let name = if style == Style::Quantizer { self.again(&name, &x.name) } else { name };
        Real { name, ..x.clone() }
    }

    /// QuantizeLinear and DequantizeLinear with the scale and zero point of another.
    pub(crate) fn again(&mut self, name: &str, like: &str) -> String {
        let maker = self.graph.node.iter().find(|node| node.output[0] == like).unwrap();
        let [scale, zero] = [maker.input[1].clone(), maker.input[2].clone()];
        let q = self.node("QuantizeLinear", &[name, &scale, &zero], vec![]);
        self.node("DequantizeLinear", &[&q, &scale, &zero], vec![])
    }

    pub(crate) fn seen_as(&mut self, style: Style, x: &Real, sides: &[usize]) -> Real {
        let to = self.shape_constant(sides);
        self.seen(style, "Reshape", x, Some(&to), &[])
    }

    /// A linear layer on rows: MatMul and Add of an int32 bias, or Gemm on a matrix.
    pub(crate) fn linear_rows(
        &mut self,
        style: Style,
        x: &Real,
        rows: usize,
        sides: [usize; 2],
    ) -> Real {
        let [features, out] = sides;
        let (weights, scales) = self.weights(&[features, out], out, 1);
        let bias = self.bias(out, x.scale, &scales);
        let range = 3.0 * 64.0 * x.scale * 40.0 * 0.002 * (features as f32).sqrt();
        if style == Style::Exporter {
            let product = self.node("MatMul", &[&x.name, &weights], vec![]);
            let sum = self.node("Add", &[&product, &bias], vec![]);
            return self.quantized(&sum, [1, rows, out], range);
        }
        let matrix = self.seen_as(style, x, &[rows, features]);
        let product = self.node("Gemm", &[&matrix.name, &weights, &bias], vec![]);
        let made = self.quantized(&product, [1, rows, out], range);
        self.seen_as(style, &made, &[1, rows, out])
    }

    pub(crate) fn layer_norm(&mut self, x: &Real, width: usize) -> Real {
        let gain: Vec<f32> = (0..width).map(|_| 0.5 + self.unit()).collect();
        let bias: Vec<f32> = (0..width).map(|_| self.unit() - 0.5).collect();
        let [gain, bias] = [gain, bias].map(|values| self.constant(floats(&[width], &values)));
        let name = self.node("LayerNormalization", &[&x.name, &gain, &bias], vec![int("axis", -1)]);
        self.quantized(&name, x.shape, 7.0)
    }

    pub(crate) fn scalar(&mut self, value: f32) -> String {
        self.constant(floats(&[], &[value]))
    }

    /// One number in codes, as the quantizer writes it.
    pub(crate) fn coded(&mut self, value: f32) -> String {
        let codes = self.constant(raw(DataType::Uint8, &[], vec![255]));
        let scale = self.scalar(value / 255.0);
        let zero = self.constant(raw(DataType::Uint8, &[], vec![0]));
        self.node("DequantizeLinear", &[&codes, &scale, &zero], vec![])
    }

    pub(crate) fn gelu(&mut self, style: Style, x: &Real) -> Real {
        if style == Style::Quantizer {
            return self.gelu_written_out(true, x);
        }
        let made = self.node("Gelu", &[&x.name], vec![]);
        self.quantized(&made, x.shape, 150.0 * x.scale)
    }

    /// As the Erf it is made of, each step on codes or none.
    pub(crate) fn gelu_written_out(&mut self, rounded: bool, x: &Real) -> Real {
        let range = 150.0 * x.scale;
        let root = self.scalar(std::f32::consts::SQRT_2);
        let divided = self.node("Div", &[&x.name, &root], vec![]);
        let mut erf = self.node("Erf", &[&divided], vec![]);
        let [mut one, mut half] = [self.scalar(1.0), self.scalar(0.5)];
        if rounded {
            erf = self.quantized(&erf, x.shape, 2.0).name;
            [one, half] = [self.coded(1.0), self.coded(0.5)];
        }
        let mut sum = self.node("Add", &[&erf, &one], vec![]);
        if rounded {
            sum = self.quantized(&sum, x.shape, 2.0).name;
        }
        let mut product = self.node("Mul", &[&x.name, &sum], vec![]);
        if rounded {
            product = self.quantized(&product, x.shape, 2.0 * range).name;
        }
        let made = self.node("Mul", &[&product, &half], vec![]);
        self.quantized(&made, x.shape, range)
    }

    /// Queries, keys and values `[1, H, N, d]` of a projection.
    pub(crate) fn heads(&mut self, style: Style, qkv: &Real, sizes: Sizes) -> [Real; 3] {
        let Sizes { tokens, heads, depth } = sizes;
        let apart = self.seen_as(style, qkv, &[1, tokens, 3, heads, depth]);
        let first = self.seen(style, "Transpose", &apart, None, &[2, 0, 3, 1, 4]);
        [0, 1, 2].map(|at: i64| {
            let at = self.constant(raw(DataType::Int64, &[], at.to_le_bytes().to_vec()));
            self.seen(style, "Gather", &first, Some(&at), &[0])
        })
    }

    pub(crate) fn attention(&mut self, style: Style, x: &Real, sizes: Sizes) -> Real {
        let Sizes { tokens, heads, depth } = sizes;
        let qkv = self.linear_rows(style, x, tokens, [sizes.width(), 3 * sizes.width()]);
        let [mut q, k, v] = self.heads(style, &qkv, sizes);
        let shape = [heads, tokens, tokens];
        let mut k = self.seen(style, "Transpose", &k, None, &[0, 1, 3, 2]);
        let root = (depth as f32).powf(-0.25);
        if style == Style::Quantizer {
            for x in [&mut q, &mut k] {
                let root = self.coded(root);
                let scaled = self.node("Mul", &[&x.name, &root], vec![]);
                *x = self.quantized(&scaled, x.shape, 200.0 * x.scale * root_of(depth));
            }
        }
        let mut scores = self.node("MatMul", &[&q.name, &k.name], vec![]);
        let range = 3.0 * (64.0 * q.scale) * (64.0 * k.scale) * (depth as f32).sqrt();
        if style == Style::Quantizer {
            scores = self.quantized(&scores, shape, range).name;
        } else {
            let root = self.scalar(root * root);
            scores = self.node("Mul", &[&scores, &root], vec![]);
        }
        let shares = self.node("Softmax", &[&scores], vec![int("axis", -1)]);
        let shares = self.quantized(&shares, shape, 1.0);
        let answers = self.node("MatMul", &[&shares.name, &v.name], vec![]);
        let answers = self.quantized(&answers, [heads, tokens, depth], 80.0 * v.scale);
        let merged = self.seen(style, "Transpose", &answers, None, &[0, 2, 1, 3]);
        let merged = self.seen_as(style, &merged, &[1, tokens, sizes.width()]);
        self.linear_rows(style, &merged, tokens, [sizes.width(); 2])
    }

    pub(crate) fn block(&mut self, style: Style, x: &Real, sizes: Sizes) -> Real {
        let width = sizes.width();
        let norm = self.layer_norm(x, width);
        let attended = self.attention(style, &norm, sizes);
        let x = self.add(x, &attended, false);
        let norm = self.layer_norm(&x, width);
        let wide = self.linear_rows(style, &norm, sizes.tokens, [width, 2 * width]);
        let wide = self.gelu(style, &wide);
        let narrow = self.linear_rows(style, &wide, sizes.tokens, [2 * width, width]);
        self.add(&x, &narrow, false)
    }

    /// Patches of an image, a class token before them, positions: `[1, 1 + H·W, C]`.
    pub(crate) fn tokens_of(&mut self, style: Style, x: &Real, width: usize) -> (Real, usize) {
        let patch = Layer { pad: [0; 4], ..Layer::square(width, 4, 4, Rectify::None) };
        let patches = self.conv(x, patch);
        let [_, h, w] = patches.shape;
        let rows = self.seen_as(style, &patches, &[1, width, h * w]);
        let rows = self.seen(style, "Transpose", &rows, None, &[0, 2, 1]);
        let codes = (0..width).map(|_| self.below(256) as u8).collect();
        let class = self.constant(raw(DataType::Uint8, &[1, 1, width], codes));
        let (scale, zero) =
            (self.scalar(0.02), self.constant(raw(DataType::Uint8, &[], vec![120])));
        let class = self.node("DequantizeLinear", &[&class, &scale, &zero], vec![]);
        let all = self.node("Concat", &[&class, &rows.name], vec![int("axis", 1)]);
        let all = self.quantized(&all, [1, 1 + h * w, width], 160.0 * rows.scale);
        (self.add_constant(&all, &[1 + h * w, width]), 1 + h * w)
    }
}

fn root_of(depth: usize) -> f32 {
    (depth as f32).powf(-0.25)
}
