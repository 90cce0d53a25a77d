//! What slides over images `[B, C, H, W]`, where tch wants both sides of an axis to have one border.

use crate::init;
use graph::{Node, Op, Resample};
use tch::{Tensor, nn};

/// A convolution, or a transposed one.
#[derive(Debug)]
pub(super) struct Convolution {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: [i64; 2],
    /// Top, left, bottom, right.
    padding: [i64; 4],
    dilation: [i64; 2],
    groups: i64,
}

impl Convolution {
    pub(super) fn new(p: &nn::Path<'_>, node: &Node) -> Self {
        let size = |n: usize| n as i64;
        let (Op::Conv2d { stride, padding, dilation, groups, .. }
        | Op::ConvTranspose2d { stride, padding, dilation, groups, .. }) = &node.op
        else {
            unreachable!("the caller looked")
        };
        let params = node.params();
        let shape: Vec<i64> = params[0].shape.iter().map(|&n| size(n)).collect();
        let shape: [i64; 4] = shape.try_into().expect("kernels have four axes");
        let [of_weight, of_bias] = init::of_convolution(&node.name, shape);
        let bias = params.get(1).map(|bias| [size(bias.shape[0])]);
        Self {
            weight: p.var("weight", &shape, of_weight),
            bias: bias.map(|shape| p.var("bias", &shape, of_bias)),
            stride: stride.map(size),
            padding: padding.map(size),
            dilation: dilation.map(size),
            groups: size(*groups),
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let Self { weight, bias, stride, padding, dilation, groups } = self;
        let (x, padding) = even(x, *padding, 0.0);
        let (_, channels, height, width) = weight.size4().expect("kernels are [O, C, h, w]");
        // oneDNN computes this kernel's gradient wrongly: on channels-last memory it gathers the pixels that a strided 1x1
        // convolution looks at sixteen channels at a time, past the end of its buffer where there are fewer. The process
        // dies at once or later (libtorch 2.11, f32 and bf16, maps of 48x48 and more; smaller ones may only look well).
        let reads_past_its_memory = *stride != [1; 2] && [height, width] == [1, 1] && channels < 16;
        let (x, stride) = if padding == [0; 2] && reads_past_its_memory {
            // All that it sees.
            (x.slice(2, None, None, stride[0]).slice(3, None, None, stride[1]), [1; 2])
        } else {
            (x, *stride)
        };
        x.conv2d(weight, bias.as_ref(), stride, padding, *dilation, *groups)
    }

    pub(super) fn transposed(&self, x: &Tensor, output_padding: [i64; 2]) -> Tensor {
        let Self { weight, bias, stride, padding: [top, left, bottom, right], dilation, groups } =
            self;
        let (_, _, kernel_h, kernel_w) = weight.size4().expect("kernels are [I, O, h, w]");
        let (_, _, h, w) = x.size4().expect("images are [B, C, H, W]");
        // The whole result, then what is cut off: tch cuts both sides of an axis alike.
        let whole = x.conv_transpose2d(
            weight,
            None::<&Tensor>,
            *stride,
            [0; 2],
            [0; 2],
            *groups,
            *dilation,
        );
        let side = |axis: usize, size: i64, kernel: i64| {
            (size - 1) * stride[axis] + dilation[axis] * (kernel - 1) + 1 + output_padding[axis]
        };
        let whole = pad(&whole, [0, 0, output_padding[0], output_padding[1]], 0.0);
        let y = whole.narrow(2, *top, side(0, h, kernel_h) - top - bottom);
        let y = y.narrow(3, *left, side(1, w, kernel_w) - left - right);
        match bias {
            Some(bias) => y + bias.view([1, -1, 1, 1]),
            None => y,
        }
    }
}

/// `x` and a border that is the same on both sides of an axis; another one is written out first.
pub(super) fn even(x: &Tensor, padding: [i64; 4], value: f64) -> (Tensor, [i64; 2]) {
    let [top, left, bottom, right] = padding;
    if top == bottom && left == right {
        return (x.shallow_clone(), [top, left]);
    }
    (pad(x, padding, value), [0; 2])
}

/// A border of one number.
pub(super) fn pad(x: &Tensor, [top, left, bottom, right]: [i64; 4], value: f64) -> Tensor {
    x.f_pad([left, right, top, bottom], "constant", value)
        .expect("a constant border fits around every image")
}

/// The mean of each window.
pub(super) fn average(
    x: &Tensor,
    kernel: [i64; 2],
    stride: [i64; 2],
    padding: [i64; 4],
    count_padding: bool,
) -> Tensor {
    let sums = |x: &Tensor| pad(x, padding, 0.0).avg_pool2d(kernel, stride, [0; 2], false, true, 1);
    let sum = sums(x);
    if count_padding {
        return sum / (kernel[0] * kernel[1]) as f64;
    }
    let (_, _, h, w) = x.size4().expect("images are [B, C, H, W]");
    sum / sums(&Tensor::ones([1, 1, h, w], (x.kind(), x.device())))
}

/// Rows and columns read from where `resample` says, as two products of matrices.
pub(super) fn resize(x: &Tensor, [rows, columns]: [usize; 2], resample: &Resample) -> Tensor {
    let (_, _, h, w) = x.size4().expect("images are [B, C, H, W]");
    let matrix = |axis: usize, from: usize, to: usize| {
        let mut shares = vec![0.0_f32; to * from];
        for (at, tap) in resample.taps(axis, from, to).iter().enumerate() {
            shares[at * from + tap.lower] += 1.0 - tap.fraction;
            shares[at * from + tap.upper] += tap.fraction;
        }
        let matrix = Tensor::from_slice(&shares).view([to as i64, from as i64]);
        matrix.to_kind(x.kind()).to_device(x.device())
    };
    let across = x.matmul(&matrix(1, w as usize, columns).transpose(0, 1));
    matrix(0, h as usize, rows).matmul(&across)
}
