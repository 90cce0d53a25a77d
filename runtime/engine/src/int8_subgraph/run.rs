//! One layer of a subgraph on its part of the arena.

use super::{Int8Subgraph, Layer, LayerKernel};
use crate::quantized::Shape;
use kernels::{Beside, Buffer, Pool, Rows, Scratch};

impl Int8Subgraph {
    pub(super) fn run_layer(
        &self,
        layer: &Layer,
        arena: &mut Buffer,
        scratch: &mut Scratch,
        pool: &Pool,
        floats: &[&[f32]],
    ) {
        let place = &self.slots[layer.output].place;
        let Shape { h, w, c } = self.slots[layer.output].activation.shape;
        let (quant, stride) =
            (self.slots[layer.output].activation.quant, self.slots[layer.output].stride);
        let (before, rest) = arena.split_at_mut(place.start);
        let (y, after) = rest.split_at_mut(place.len());
        // `y` is alive, so no input overlaps it, but for what is added in place: each lies before or behind.
        let x = |at: usize| -> &[u8] {
            let from = &self.slots[layer.inputs[at]].place;
            if from.end <= place.start {
                &before[from.clone()]
            } else {
                &after[from.start - place.end..from.end - place.end]
            }
        };
        let rows = Rows { pixels: h * w, channels: c, x_stride: c, y_stride: stride };
        let table = match &layer.kernel {
            &LayerKernel::Quantize { input, channels: c, isa } => {
                let (scale, zero) = (quant.scale, quant.zero);
                kernels::quantize_from_nchw(isa, floats[input], c, scale, zero, y, c, pool);
                &None
            }
            LayerKernel::Conv { conv, residual, table } => {
                let other = layer.inputs[layer.inputs.len() - 1];
                if *residual && self.slots[other].place == *place {
                    conv.run_in_place(x(0), y, pool, scratch);
                } else {
                    let r = residual.then(|| x(layer.inputs.len() - 1));
                    conv.run(x(0), r, y, pool, scratch);
                }
                table
            }
            LayerKernel::Add(add) => {
                add.run(&rows, x(0), x(1), Beside::Each(c), y, pool);
                &None
            }
            LayerKernel::Concat(parts) => {
                for (at, part) in parts.iter().enumerate() {
                    let (x, y) = (x(at), &mut y[part.first..]);
                    let channels = self.slots[layer.inputs[at]].activation.shape.c;
                    let rows = Rows { pixels: h * w, channels, x_stride: channels, y_stride: c };
                    match (&part.nearest, &part.table) {
                        (Some(nearest), table) => nearest.run(table.as_ref(), x, y, pool),
                        (None, Some(table)) => table.run(&rows, x, y, pool),
                        (None, None) => kernels::copy(&rows, x, y, pool),
                    }
                }
                &None
            }
            LayerKernel::MaxPool(max, table) => {
                max.run(x(0), y, pool);
                table
            }
            LayerKernel::AvgPool(mean, table) => {
                mean.run(x(0), y, pool);
                table
            }
            LayerKernel::Nearest(nearest, table) => {
                nearest.run(table.as_ref(), x(0), y, pool);
                &None
            }
            LayerKernel::Bilinear(bilinear, table) => {
                bilinear.run(x(0), y, pool);
                table
            }
            LayerKernel::Image(image) => {
                image.run(x, self.slots[layer.output].activation.shape, y, pool, scratch);
                &None
            }
            LayerKernel::Table(table) => {
                table.run(&rows, x(0), y, pool);
                &None
            }
            LayerKernel::AddConstant(add, constant) => {
                add.run(&rows, x(0), constant, Beside::Each(c), y, pool);
                &None
            }
            LayerKernel::Constant(bytes) => {
                y[..bytes.len()].copy_from_slice(bytes);
                &None
            }
            LayerKernel::Copy(copies) => {
                copies.iter().enumerate().for_each(|(at, copy)| copy.run(x(at), y, pool));
                &None
            }
            LayerKernel::MatMul(product, table) => {
                product.run(x(0), x(1), y, pool, scratch);
                table
            }
            LayerKernel::LayerNorm(norm) => {
                norm.run(&x(0)[..h * w * c], &mut y[..h * w * c], pool);
                &None
            }
            LayerKernel::Softmax(softmax, table) => {
                softmax.run(&x(0)[..h * w * c], &mut y[..h * w * c], pool);
                table
            }
        };
        if let Some(table) = table {
            table.in_place(&Rows { x_stride: stride, ..rows }, y, pool);
        }
    }
}
