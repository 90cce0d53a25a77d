//! ResNet-18/34/50 with torchvision's names (v1.5: the stride sits on the 3x3 convolution).

use crate::{Graph, Op, OutputStride};

/// The feature maps C1–C5 heads build on: names, channels; strides are 2, 4, 8, 16, 32, or no more than a ResNet's output
/// stride.
pub(crate) struct Features {
    pub(crate) names: [String; 5],
    pub(crate) channels: [usize; 5],
}

impl Features {
    pub(crate) fn c5(&self) -> &str {
        &self.names[4]
    }
}

/// `blocks` a stage, of two 3x3 (`expansion` 1) or of 1x1, 3x3, 1x1 (`expansion` 4).
pub(crate) fn backbone(
    graph: &mut Graph,
    blocks: [usize; 4],
    expansion: usize,
    width: usize,
    output: OutputStride,
) -> Features {
    let image = graph.input.clone();
    let c1 = conv_bn(graph, "conv1", "bn1", &image, conv(graph.input_shape[0], width, 7, 2));
    let c1 = graph.push("relu", Op::Relu, &[&c1]);
    let pool = Op::max_pool2d(3, 2, 1);
    let mut x = graph.push("maxpool", pool, &[&c1]);

    let mut features = Features { names: Default::default(), channels: [width; 5] };
    features.names[0] = c1;
    let mut channels = width;
    let mut reached = 4;
    for (stage, count) in blocks.into_iter().enumerate() {
        let shrinks = stage > 0 && reached < output.pixels();
        reached *= if shrinks { 2 } else { 1 };
        for index in 0..count {
            let block = Block {
                name: format!("layer{}.{index}", stage + 1),
                input: channels,
                width: width << stage,
                output: (width << stage) * expansion,
                stride: if shrinks && index == 0 { 2 } else { 1 },
            };
            x = if expansion == 1 { block.basic(graph, &x) } else { block.bottleneck(graph, &x) };
            channels = block.output;
        }
        features.names[stage + 1] = x.clone();
        features.channels[stage + 1] = channels;
    }
    features
}

struct Block {
    name: String,
    input: usize,
    width: usize,
    output: usize,
    stride: usize,
}

impl Block {
    /// 3x3, 3x3.
    fn basic(&self, graph: &mut Graph, x: &str) -> String {
        let y = self.conv_bn_relu(graph, 1, x, conv(self.input, self.width, 3, self.stride));
        let y = self.conv_bn(graph, 2, &y, conv(self.width, self.output, 3, 1));
        self.add_relu(graph, &y, x)
    }

    /// 1x1, 3x3, 1x1.
    fn bottleneck(&self, graph: &mut Graph, x: &str) -> String {
        let y = self.conv_bn_relu(graph, 1, x, conv(self.input, self.width, 1, 1));
        let y = self.conv_bn_relu(graph, 2, &y, conv(self.width, self.width, 3, self.stride));
        let y = self.conv_bn(graph, 3, &y, conv(self.width, self.output, 1, 1));
        self.add_relu(graph, &y, x)
    }

    fn conv_bn_relu(&self, graph: &mut Graph, index: usize, x: &str, conv: Op) -> String {
        let y = self.conv_bn(graph, index, x, conv);
        graph.push(format!("{}.relu{index}", self.name), Op::Relu, &[&y])
    }

    fn conv_bn(&self, graph: &mut Graph, index: usize, x: &str, conv: Op) -> String {
        let name = &self.name;
        conv_bn(graph, &format!("{name}.conv{index}"), &format!("{name}.bn{index}"), x, conv)
    }

    fn add_relu(&self, graph: &mut Graph, y: &str, x: &str) -> String {
        let name = &self.name;
        let shortcut = if self.stride != 1 || self.input != self.output {
            let conv = conv(self.input, self.output, 1, self.stride);
            let down = format!("{name}.downsample");
            conv_bn(graph, &format!("{down}.0"), &format!("{down}.1"), x, conv)
        } else {
            x.to_owned()
        };
        let sum = graph.push(format!("{name}.add"), Op::Add, &[y, &shortcut]);
        graph.push(format!("{name}.relu"), Op::Relu, &[&sum])
    }
}

/// A square convolution without bias that keeps the size up to the stride.
pub(crate) fn conv(in_channels: usize, out_channels: usize, kernel: usize, stride: usize) -> Op {
    Op::conv2d([in_channels, out_channels], kernel, stride, kernel / 2, 1, false)
}

/// Convolution and batch normalisation, under their own names; returns the latter's.
pub(crate) fn conv_bn(graph: &mut Graph, conv: &str, bn: &str, x: &str, op: Op) -> String {
    let Op::Conv2d { out_channels: channels, .. } = op else {
        unreachable!("callers pass a Conv2d")
    };
    let y = graph.push(conv, op, &[x]);
    graph.push(bn, Op::BatchNorm2d { channels, eps: 1e-5 }, &[&y])
}
