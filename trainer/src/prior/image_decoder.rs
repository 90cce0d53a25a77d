//! Draws the image again from its places and what the report says of them.

use crate::{init, network::BatchNorm};
use std::rc::Rc;
use tch::{Tensor, nn};
use torch_ext::Group;

/// Five times: double the size, two 3x3 convolutions, halve the width.
#[derive(Debug)]
pub(super) struct ImageDecoder {
    blocks: Vec<[ConvNorm; 2]>,
    head: nn::Conv2D,
}

#[derive(Debug)]
struct ConvNorm {
    conv: nn::Conv2D,
    norm: BatchNorm,
}

impl ImageDecoder {
    /// From `channels` (a multiple of 32) down to one.
    pub(super) fn new(p: &nn::Path<'_>, channels: i64, group: Option<&Rc<Group>>) -> Self {
        let block = |k: i64| {
            let p = p / "blocks" / k;
            let (from, to) = (channels >> k, channels >> (k + 1));
            [
                ConvNorm::new(&(&p / "conv1"), from, to, group),
                ConvNorm::new(&(&p / "conv2"), to, to, group),
            ]
        };
        Self {
            blocks: (0..5).map(block).collect(),
            head: init::conv2d(&(p / "output_head" / 0), [channels >> 5, 1], 3, true),
        }
    }

    /// `[B, C, h, w]` → `[B, 1, 32h, 32w]`
    pub(super) fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let mut x = x.shallow_clone();
        for [first, second] in &self.blocks {
            let (_, _, h, w) = x.size4().expect("images are [B, C, H, W]");
            let wide = x.upsample_nearest2d([2 * h, 2 * w], None, None);
            x = second.forward(&first.forward(&wide, train), train);
        }
        x.apply(&self.head)
    }
}

impl ConvNorm {
    fn new(p: &nn::Path<'_>, from: i64, to: i64, group: Option<&Rc<Group>>) -> Self {
        Self {
            conv: init::conv2d(&(p / 0), [from, to], 3, false),
            norm: BatchNorm::new(&(p / 1), to, 1e-5, group),
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        self.norm.forward(&x.apply(&self.conv), train).relu_()
    }
}
