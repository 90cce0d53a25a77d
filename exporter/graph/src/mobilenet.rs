//! MobileNetV2 (Sandler 2018) with torchvision's names: inverted residuals, depthwise in the middle, ReLU6.
//!
//! ```text
//! x ─ 1x1 to t·c ─ ReLU6 ─ 3x3 depthwise ─ ReLU6 ─ 1x1 (linear) ─(+ x, if sizes agree)─▶
//! ```

use crate::resnet::{Features, conv, conv_bn};
use crate::{Graph, Op};

/// Expansion, output channels, repetitions, stride of the first; published width.
const STAGES: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];
const STEM: usize = 32;
const LAST: usize = 1280;
/// The width that stands for a multiplier of 1, as for the ResNets.
const PUBLISHED: usize = 64;

/// `width / 64` multiplies every layer; the last one too, unlike torchvision's below 1.
pub(crate) fn backbone(graph: &mut Graph, width: usize) -> Features {
    let channels = |published: usize| divisible(published, width);
    let image = graph.input.clone();
    let mut input = channels(STEM);
    let stem = conv(graph.input_shape[0], input, 3, 2);
    let mut x = conv_bn(graph, "features.0.0", "features.0.1", &image, stem);
    x = graph.push("features.0.2", Op::Relu6, &[&x]);

    let mut features = Features { names: Default::default(), channels: [input; 5] };
    features.names[0] = x.clone();
    let (mut index, mut level) = (1, 0);
    for [expansion, output, count, first_stride] in STAGES {
        let output = channels(output);
        for repetition in 0..count {
            let stride = if repetition == 0 { first_stride } else { 1 };
            let block = Inverted { index, input, expansion, output, stride };
            x = block.append(graph, &x);
            (input, index) = (output, index + 1);
        }
        // A feature map is the last of its size: the stage before the next one that halves it.
        level += usize::from(first_stride == 2);
        if level > 0 {
            features.names[level].clone_from(&x);
            features.channels[level] = output;
        }
    }
    let last = channels(LAST);
    let name = format!("features.{index}");
    let op = conv(input, last, 1, 1);
    let y = conv_bn(graph, &format!("{name}.0"), &format!("{name}.1"), &x, op);
    features.names[4] = graph.push(format!("{name}.2"), Op::Relu6, &[&y]);
    features.channels[4] = last;
    features
}

struct Inverted {
    index: usize,
    input: usize,
    expansion: usize,
    output: usize,
    stride: usize,
}

impl Inverted {
    fn append(&self, graph: &mut Graph, x: &str) -> String {
        let name = format!("features.{}", self.index);
        let hidden = self.input * self.expansion;
        let mut y = x.to_owned();
        let mut at = 0;
        if self.expansion != 1 {
            y = conv_bn_relu6(
                graph,
                &format!("{name}.conv.{at}"),
                &y,
                conv(self.input, hidden, 1, 1),
            );
            at += 1;
        }
        let depthwise = Op::conv2d([hidden; 2], 3, self.stride, 1, hidden, false);
        y = conv_bn_relu6(graph, &format!("{name}.conv.{at}"), &y, depthwise);
        let (conv_name, bn_name) =
            (format!("{name}.conv.{}", at + 1), format!("{name}.conv.{}", at + 2));
        y = conv_bn(graph, &conv_name, &bn_name, &y, conv(hidden, self.output, 1, 1));
        if self.stride == 1 && self.input == self.output {
            y = graph.push(format!("{name}.add"), Op::Add, &[&y, x]);
        }
        y
    }
}

fn conv_bn_relu6(graph: &mut Graph, name: &str, x: &str, op: Op) -> String {
    let y = conv_bn(graph, &format!("{name}.0"), &format!("{name}.1"), x, op);
    graph.push(format!("{name}.2"), Op::Relu6, &[&y])
}

/// `published · width / 64` to the nearest multiple of 8, never below 90 % of it (nor below 8).
pub(crate) fn divisible(published: usize, width: usize) -> usize {
    let exact = published * width / PUBLISHED;
    let rounded = ((exact + 4) / 8 * 8).max(8);
    if rounded * 10 < exact * 9 { rounded + 8 } else { rounded }
}
