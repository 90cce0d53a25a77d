//! DenseNet-121 (Huang 2017) with torchvision's names, the network of CheXNet and TorchXRayVision.
//!
//! ```text
//! all before, joined ─ norm ─ ReLU ─ 1x1 to 4·growth ─ norm ─ ReLU ─ 3x3 to growth ─▶ joined with all before
//! ```

use crate::resnet::{Features, conv, conv_bn};
use crate::{Graph, Op};

/// Layers of each block.
const BLOCKS: [usize; 4] = [6, 12, 24, 16];

/// `width` channels after the stem, half as many new ones a layer.
pub(crate) fn backbone(graph: &mut Graph, width: usize) -> Features {
    let growth = width / 2;
    let image = graph.input.clone();
    let stem = conv(graph.input_shape[0], width, 7, 2);
    let y = conv_bn(graph, "features.conv0", "features.norm0", &image, stem);
    let y = graph.push("features.relu0", Op::Relu, &[&y]);
    let mut features = Features { names: Default::default(), channels: [width; 5] };
    features.names[0].clone_from(&y);
    let mut x = graph.push("features.pool0", Op::max_pool2d(3, 2, 1), &[&y]);
    let mut channels = width;
    for (at, layers) in BLOCKS.into_iter().enumerate() {
        x = block(graph, &format!("features.denseblock{}", at + 1), x, channels, [layers, growth]);
        channels += layers * growth;
        features.names[at + 1].clone_from(&x);
        features.channels[at + 1] = channels;
        if at + 1 < BLOCKS.len() {
            // Half the channels, rows and columns.
            let name = format!("features.transition{}", at + 1);
            let y = graph.push(format!("{name}.norm"), norm(channels), &[&x]);
            let y = graph.push(format!("{name}.relu"), Op::Relu, &[&y]);
            let y = graph.push(format!("{name}.conv"), conv(channels, channels / 2, 1, 1), &[&y]);
            let (kernel, stride, padding) = ([2; 2], [2; 2], [0; 4]);
            let pool = Op::AvgPool2d { kernel, stride, padding, count_padding: true };
            x = graph.push(format!("{name}.pool"), pool, &[&y]);
            channels /= 2;
        }
    }
    let y = graph.push("features.norm5", norm(channels), &[&x]);
    features.names[4] = graph.push("features.relu5", Op::Relu, &[&y]);
    features
}

/// The maps of `x` and of every layer, joined.
fn block(
    graph: &mut Graph,
    name: &str,
    x: String,
    channels: usize,
    [layers, growth]: [usize; 2],
) -> String {
    let mut maps = vec![x.clone()];
    let mut joined = x;
    for at in 0..layers {
        let name = format!("{name}.denselayer{}", at + 1);
        let channels = channels + at * growth;
        let y = graph.push(format!("{name}.norm1"), norm(channels), &[&joined]);
        let y = graph.push(format!("{name}.relu1"), Op::Relu, &[&y]);
        let narrow = conv(channels, 4 * growth, 1, 1);
        let y = conv_bn(graph, &format!("{name}.conv1"), &format!("{name}.norm2"), &y, narrow);
        let y = graph.push(format!("{name}.relu2"), Op::Relu, &[&y]);
        let new = conv(4 * growth, growth, 3, 1);
        maps.push(graph.push(format!("{name}.conv2"), new, &[&y]));
        let all: Vec<&str> = maps.iter().map(String::as_str).collect();
        joined = graph.push(format!("{name}.joined"), Op::Concat { axis: 0 }, &all);
    }
    joined
}

fn norm(channels: usize) -> Op {
    Op::BatchNorm2d { channels, eps: 1e-5 }
}
