//! EfficientNet-B0 (Tan 2019) with torchvision's names: inverted residuals with a gate on their channels, SiLU.
//!
//! ```text
//! x ─ 1x1 to t·c ─ SiLU ─ depthwise ─ SiLU ─┬───────────────────────────────── × ─ 1x1 ─(+ x, if sizes agree)─▶
//!                                           └ mean ─ 1x1 ─ SiLU ─ 1x1 ─ sigmoid ┘
//! ```
//!
//! torchvision leaves out whole blocks at random in training (stochastic depth); this network does not.

use crate::mobilenet::divisible;
use crate::resnet::{Features, conv, conv_bn};
use crate::{Graph, Op, Unary};

/// Expansion, kernel, output channels, repetitions, stride of the first; published width.
const STAGES: [[usize; 5]; 7] = [
    [1, 3, 16, 1, 1],
    [6, 3, 24, 2, 2],
    [6, 5, 40, 2, 2],
    [6, 3, 80, 3, 2],
    [6, 5, 112, 3, 1],
    [6, 5, 192, 4, 2],
    [6, 3, 320, 1, 1],
];
const STEM: usize = 32;
const LAST: usize = 1280;

/// `width / 64` multiplies every layer.
pub(crate) fn backbone(graph: &mut Graph, width: usize) -> Features {
    let channels = |published: usize| divisible(published, width);
    let image = graph.input.clone();
    let mut input = channels(STEM);
    let stem = conv(graph.input_shape[0], input, 3, 2);
    let mut x = conv_bn_silu(graph, "features.0", &image, stem);

    let mut features = Features { names: Default::default(), channels: [input; 5] };
    let mut level = 0;
    for (stage, [expansion, kernel, output, count, first_stride]) in STAGES.into_iter().enumerate()
    {
        let output = channels(output);
        for repetition in 0..count {
            let name = format!("features.{}.{repetition}", stage + 1);
            let stride = if repetition == 0 { first_stride } else { 1 };
            let block = Inverted { name, input, expansion, kernel, output, stride };
            x = block.append(graph, &x);
            input = output;
        }
        // A feature map is the last of its size.
        level += usize::from(first_stride == 2);
        features.names[level].clone_from(&x);
        features.channels[level] = output;
    }
    let last = channels(LAST);
    let name = format!("features.{}", STAGES.len() + 1);
    features.names[4] = conv_bn_silu(graph, &name, &x, conv(input, last, 1, 1));
    features.channels[4] = last;
    features
}

struct Inverted {
    name: String,
    input: usize,
    expansion: usize,
    kernel: usize,
    output: usize,
    stride: usize,
}

impl Inverted {
    fn append(&self, graph: &mut Graph, x: &str) -> String {
        let hidden = self.input * self.expansion;
        let mut y = x.to_owned();
        let mut part = 0;
        let mut next = || {
            part += 1;
            format!("{}.block.{}", self.name, part - 1)
        };
        if self.expansion != 1 {
            y = conv_bn_silu(graph, &next(), &y, conv(self.input, hidden, 1, 1));
        }
        let (kernel, padding) = (self.kernel, self.kernel / 2);
        let depthwise = Op::conv2d([hidden; 2], kernel, self.stride, padding, hidden, false);
        y = conv_bn_silu(graph, &next(), &y, depthwise);
        y = gate(graph, &next(), &y, [hidden, (self.input / 4).max(1)]);
        let project = next();
        let (conv_name, norm) = (format!("{project}.0"), format!("{project}.1"));
        y = conv_bn(graph, &conv_name, &norm, &y, conv(hidden, self.output, 1, 1));
        if self.stride == 1 && self.input == self.output {
            y = graph.push(format!("{}.add", self.name), Op::Add, &[&y, x]);
        }
        y
    }
}

/// Squeeze and excitation (Hu 2018): each channel times a number between 0 and 1 that all channels' means decide.
fn gate(graph: &mut Graph, name: &str, x: &str, [channels, squeezed]: [usize; 2]) -> String {
    let part = |part: &str| format!("{name}.{part}");
    let pixel = |from: usize, to: usize| Op::conv2d([from, to], 1, 1, 0, 1, true);
    let mean = graph.push(part("avgpool"), Op::GlobalAvgPool, &[x]);
    let mean = graph.push(part("pixel"), Op::Reshape { shape: vec![channels, 1, 1] }, &[&mean]);
    let y = graph.push(part("fc1"), pixel(channels, squeezed), &[&mean]);
    let y = graph.push(part("activation"), Op::Unary { function: Unary::Silu }, &[&y]);
    let y = graph.push(part("fc2"), pixel(squeezed, channels), &[&y]);
    let gate = Op::Unary { function: Unary::Sigmoid };
    let y = graph.push(part("scale_activation"), gate, &[&y]);
    graph.push(part("gated"), Op::Mul, &[x, &y])
}

fn conv_bn_silu(graph: &mut Graph, name: &str, x: &str, op: Op) -> String {
    let y = conv_bn(graph, &format!("{name}.0"), &format!("{name}.1"), x, op);
    graph.push(format!("{name}.2"), Op::Unary { function: Unary::Silu }, &[&y])
}
