//! What sits on the backbone: linear classifier, U-Net decoder, single-stage detector.

use crate::resnet::{Features, conv, conv_bn};
use crate::{Graph, Head, Op, Output, Task};

pub(crate) fn append(graph: &mut Graph, head: &Head, features: &Features, pooled: &str) {
    match head.task {
        Task::Classification => {
            let op =
                Op::Linear { in_features: features.channels[4], out_features: head.labels.len() };
            let node = graph.push("fc", op, &[pooled]);
            graph.outputs.push(Output { name: head.task.to_string(), node });
        }
        Task::Segmentation => segmentation(graph, head, features),
        Task::Detection => detection(graph, head, features),
        Task::Yolov3Relu => yolov3(graph, head, features, &Op::Relu),
        Task::Yolov3 => yolov3(graph, head, features, &Op::LeakyRelu { slope: 0.1 }),
        Task::Language => unreachable!("`ModelConfig::graph` refuses it"),
    }
}

/// U-Net (Ronneberger 2015) on C5…C1: upsample, join with the next finer map, one 3x3; logits at stride 2.
///
/// Narrow on purpose (`2·width` down to `width / 4` channels): the decoder costs less than the encoder in int8.
fn segmentation(graph: &mut Graph, head: &Head, features: &Features) {
    let width = features.channels[0];
    let mut x = features.c5().to_owned();
    let mut channels = features.channels[4];
    for (level, out) in [(3, 2 * width), (2, width), (1, width / 2), (0, width / 4)] {
        let name = format!("seg.{}", level + 1);
        let reduced = conv_bn(
            graph,
            &format!("{name}.reduce"),
            &format!("{name}.bn1"),
            &x,
            conv(channels, out, 1, 1),
        );
        let reduced = graph.push(format!("{name}.relu1"), Op::Relu, &[&reduced]);
        let up = graph.push(format!("{name}.up"), Op::UpsampleNearest { factor: 2 }, &[&reduced]);
        let joined = graph.push(
            format!("{name}.join"),
            Op::Concat { axis: 0 },
            &[&up, &features.names[level]],
        );
        let op = conv(out + features.channels[level], out, 3, 1);
        let y = conv_bn(graph, &format!("{name}.conv"), &format!("{name}.bn2"), &joined, op);
        x = graph.push(format!("{name}.relu2"), Op::Relu, &[&y]);
        channels = out;
    }
    let node = graph.push("seg.out", biased(channels, head.labels.len()), &[&x]);
    graph.outputs.push(Output { name: head.task.to_string(), node });
}

/// Anchor-free detector in the manner of FCOS: on C3–C5, each cell tells per class a score, and
/// its distances to the left, top, right and bottom edges. Channels: `labels` scores, then 4 distances
/// (in units of the stride, before the exponential), then centre-ness.
fn detection(graph: &mut Graph, head: &Head, features: &Features) {
    let width = 2 * features.channels[0];
    for level in 3..=5 {
        let name = format!("det.p{level}");
        let x = &features.names[level - 1];
        let op = conv(features.channels[level - 1], width, 1, 1);
        let y = conv_bn(graph, &format!("{name}.reduce"), &format!("{name}.bn1"), x, op);
        let y = graph.push(format!("{name}.relu1"), Op::Relu, &[&y]);
        let y = conv_bn(
            graph,
            &format!("{name}.conv"),
            &format!("{name}.bn2"),
            &y,
            conv(width, width, 3, 1),
        );
        let y = graph.push(format!("{name}.relu2"), Op::Relu, &[&y]);
        let node = graph.push(format!("{name}.out"), biased(width, head.labels.len() + 5), &[&y]);
        graph.outputs.push(Output { name: format!("detection.p{level}"), node });
    }
}

/// YOLOv3 on C5, C4, C3: five convolutions a level, of which the coarser level's result is upsampled and joined with
/// the finer map. Its widths at the published backbone's 64 channels (512, 256, 128). Channels: for each of [`ANCHORS`] of the level `x, y, w, h, object`, then the classes.
fn yolov3(graph: &mut Graph, head: &Head, features: &Features, rectify: &Op) {
    let mut coarser: Option<(String, usize)> = None;
    for level in (3..=5).rev() {
        let width = features.channels[0] << (level - 2);
        let map = &features.names[level - 1];
        let (mut x, mut channels) = (map.clone(), features.channels[level - 1]);
        if let Some((above, above_channels)) = coarser {
            let name = format!("yolo.p{level}.reduce");
            let op = conv(above_channels, width, 1, 1);
            let y = conv_bn_relu(graph, &name, &above, op, rectify);
            let up = Op::UpsampleNearest { factor: 2 };
            let up = graph.push(format!("yolo.p{level}.up"), up, &[&y]);
            x = graph.push(format!("yolo.p{level}.join"), Op::Concat { axis: 0 }, &[&up, map]);
            channels += width;
        }
        for (at, (out, kernel)) in
            [(width, 1), (2 * width, 3), (width, 1), (2 * width, 3), (width, 1)]
                .into_iter()
                .enumerate()
        {
            let name = format!("yolo.p{level}.{at}");
            x = conv_bn_relu(graph, &name, &x, conv(channels, out, kernel, 1), rectify);
            channels = out;
        }
        coarser = Some((x.clone(), width));
        let name = format!("yolo.p{level}.5");
        let y = conv_bn_relu(graph, &name, &x, conv(width, 2 * width, 3, 1), rectify);
        let out = biased(2 * width, ANCHORS[0].len() * (head.labels.len() + 5));
        let node = graph.push(format!("yolo.p{level}.out"), out, &[&y]);
        graph.outputs.push(Output { name: format!("yolov3.p{level}"), node });
    }
}

/// YOLOv3's anchors on C3, C4, C5: width and height in pixels of its 416x416 input, which scale with the input.
pub const ANCHORS: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];
/// Side of the input [`ANCHORS`] are meant for.
pub const ANCHOR_INPUT: f32 = 416.0;

/// Convolution, batch normalisation, a kind of ReLU as `name.conv`, `name.bn`, `name.relu`; returns the last.
fn conv_bn_relu(graph: &mut Graph, name: &str, x: &str, op: Op, rectify: &Op) -> String {
    let y = conv_bn(graph, &format!("{name}.conv"), &format!("{name}.bn"), x, op);
    graph.push(format!("{name}.relu"), rectify.clone(), &[&y])
}

fn biased(in_channels: usize, out_channels: usize) -> Op {
    Op::conv2d([in_channels, out_channels], 1, 1, 0, 1, true)
}
