//! Transposed convolutions as convolutions: each output row of a stride belongs to a phase, and each phase is an ordinary
//! convolution (Shi et al. 2016, sub-pixel convolution).
//!
//! With stride `s` and `p` rows cut off at the top, output row `y = s·m + t` reads input row `m + ⌊(t + p) / s⌋ − j` through
//! kernel row `(t + p) mod s + s·j`, for every `j` that the kernel has. One convolution makes all phases as channels
//! (`O · s · s` of them); a transposition of the phases puts them between the rows and columns.

use crate::read::weights::{Array, Weights};
use graph::{Graph, Node, Op};

/// Sizes of one transposed convolution.
struct Sizes {
    /// Channels in, channels out, groups.
    channels: [usize; 2],
    groups: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
    bias: bool,
    /// Rows and columns before and after.
    input: [usize; 2],
    output: [usize; 2],
}

/// How far phases of an axis read: `before` source rows up, `after` down.
struct Reach {
    before: usize,
    after: usize,
}

/// Replaces every transposed convolution.
pub(crate) fn write_out(graph: &mut Graph, weights: &mut Weights) {
    let is_one = |node: &Node| matches!(node.op, Op::ConvTranspose2d { .. });
    while let Some(at) = graph.nodes.iter().position(is_one) {
        let node = graph.nodes[at].clone();
        let Ok(shapes) = graph.shapes() else { return };
        let side = |name: &str| [shapes[name][1], shapes[name][2]];
        let Op::ConvTranspose2d {
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            bias,
            ..
        } = node.op
        else {
            return;
        };
        let sizes = Sizes {
            channels: [in_channels, out_channels],
            groups,
            kernel,
            stride,
            padding,
            dilation,
            bias,
            input: side(&node.inputs[0]),
            output: side(&node.name),
        };
        let parts = parts(&node, &sizes, weights);
        graph.nodes.splice(at..=at, parts);
    }
}

/// The convolution, the phases put in place, and what is left over cut off. The last node keeps the name.
fn parts(node: &Node, sizes: &Sizes, weights: &mut Weights) -> Vec<Node> {
    let [rows, columns] = [0, 1].map(|axis| sizes.output[axis].div_ceil(sizes.stride[axis]));
    let [s, t] = sizes.stride;
    let outputs = sizes.channels[1];
    let (conv, reach) = convolution(sizes, [rows, columns]);
    let kernel = sizes.phases(weights, &node.name, &reach);
    weights.insert(format!("{}.phases.weight", node.name), kernel);
    if let Some(bias) = weights.remove(&format!("{}.bias", node.name)) {
        let values = bias.values.iter().flat_map(|&b| std::iter::repeat_n(b, s * t)).collect();
        let bias = Array { shape: vec![outputs * s * t], values };
        weights.insert(format!("{}.phases.bias", node.name), bias);
    }
    let mut nodes: Vec<Node> = Vec::new();
    let mut push = |part: &str, op: Op, input: &str| {
        let name = format!("{}.{part}", node.name);
        nodes.push(Node { name: name.clone(), op, inputs: vec![input.to_owned()] });
        name
    };
    let mut y = push("phases", conv, &node.inputs[0]);
    if [s, t] != [1, 1] {
        y = push("split", Op::Reshape { shape: vec![outputs, s, t, rows, columns] }, &y);
        y = push("between", Op::Transpose { order: vec![0, 3, 1, 4, 2] }, &y);
        y = push("joined", Op::Reshape { shape: vec![outputs, rows * s, columns * t] }, &y);
    }
    for (axis, whole) in [(0, rows * s), (1, columns * t)] {
        let end = sizes.output[axis];
        if end != whole {
            let op = Op::Slice { axis: axis + 1, start: 0, end, step: 1 };
            y = push(["rows", "columns"][axis], op, &y);
        }
    }
    let last = nodes.last_mut().expect("there is a convolution");
    if last.name.ends_with(".phases") {
        // Its weights go by its name.
        for param in ["weight", "bias"] {
            if let Some(array) = weights.remove(&format!("{}.{param}", last.name)) {
                weights.insert(format!("{}.{param}", node.name), array);
            }
        }
    }
    last.name.clone_from(&node.name);
    nodes
}

/// The convolution that makes `rows × columns` pixels of all phases.
fn convolution(sizes: &Sizes, places: [usize; 2]) -> (Op, [Reach; 2]) {
    let reach = [0, 1].map(|axis| sizes.reach(axis));
    let kernel = [0, 1].map(|axis| reach[axis].before + reach[axis].after + 1);
    // As many places as phases have pixels: what is missing at the far end is border.
    let far = |axis: usize| {
        (places[axis] + kernel[axis] - 1).saturating_sub(sizes.input[axis] + reach[axis].before)
    };
    let op = Op::Conv2d {
        in_channels: sizes.channels[0],
        out_channels: sizes.channels[1] * sizes.stride[0] * sizes.stride[1],
        kernel,
        stride: [1; 2],
        padding: [reach[0].before, reach[1].before, far(0), far(1)],
        dilation: [1; 2],
        groups: sizes.groups,
        bias: sizes.bias,
    };
    (op, reach)
}

impl Sizes {
    /// For kernel row `k` and the phase that it belongs to: that phase, and how far down its source lies.
    fn source(&self, axis: usize, k: usize) -> impl Iterator<Item = (usize, isize)> {
        let (stride, padding) = (self.stride[axis] as isize, self.padding[axis] as isize);
        let at = (self.dilation[axis] * k) as isize;
        // Row `y` reads source `(y + padding − at) / stride` where that is whole.
        (0..stride).filter_map(move |phase| {
            let source = phase + padding - at;
            (source.rem_euclid(stride) == 0).then(|| (phase as usize, source.div_euclid(stride)))
        })
    }

    fn reach(&self, axis: usize) -> Reach {
        let offsets =
            (0..self.kernel[axis]).flat_map(|k| self.source(axis, k)).map(|(_, down)| down);
        let (least, most) =
            offsets.fold((0, 0), |(least, most), down| (least.min(down), most.max(down)));
        Reach { before: least.unsigned_abs(), after: most.unsigned_abs() }
    }

    /// `[I, O / groups, kH, kW]` as `[O · s · s, I / groups, …]` of the convolution; taps that no phase has are 0.
    fn phases(&self, weights: &mut Weights, name: &str, reach: &[Reach; 2]) -> Array {
        let old = weights.remove(&format!("{name}.weight")).expect("weights were checked");
        let [s, t] = self.stride;
        let [inputs, outputs] = self.channels.map(|channels| channels / self.groups);
        let [h, w] = [0, 1].map(|axis| reach[axis].before + reach[axis].after + 1);
        let [kh, kw] = self.kernel;
        let mut values = vec![0.0; self.channels[1] * s * t * inputs * h * w];
        for o in 0..self.channels[1] {
            let group = o / outputs;
            for i in 0..inputs {
                for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                    let from = (((group * inputs + i) * outputs + o % outputs) * kh + ky) * kw + kx;
                    for (phase_y, down) in self.source(0, ky) {
                        for (phase_x, right) in self.source(1, kx) {
                            let y = (reach[0].before as isize + down) as usize;
                            let x = (reach[1].before as isize + right) as usize;
                            let row = (o * s + phase_y) * t + phase_x;
                            values[((row * inputs + i) * h + y) * w + x] = old.values[from];
                        }
                    }
                }
            }
        }
        Array { shape: vec![self.channels[1] * s * t, inputs, h, w], values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures, passes::interpreter::Interpreter};

    fn network(op: Op) -> Graph {
        Graph {
            name: "up".into(),
            input: "image".into(),
            input_shape: [4, 5, 6],
            nodes: vec![Node { name: "up".into(), op, inputs: vec!["image".into()] }],
            outputs: vec![graph::Output { name: "out".into(), node: "up".into() }],
        }
    }

    #[test]
    fn a_transposed_convolution_written_out_means_the_same() {
        for (kernel, stride, padding, output_padding, dilation, groups) in [
            ([2, 2], [2, 2], [0, 0, 0, 0], [0, 0], [1, 1], 1),
            ([4, 4], [2, 2], [1, 1, 1, 1], [0, 0], [1, 1], 1),
            ([3, 3], [2, 2], [1, 1, 1, 1], [1, 1], [1, 1], 2),
            ([3, 3], [1, 1], [1, 1, 1, 1], [0, 0], [1, 1], 1),
            ([3, 2], [2, 3], [1, 0, 0, 1], [0, 1], [2, 1], 4),
            ([5, 5], [3, 2], [2, 1, 0, 2], [1, 0], [1, 2], 1),
        ] {
            let graph = network(Op::ConvTranspose2d {
                in_channels: 4,
                out_channels: 8,
                kernel,
                stride,
                padding,
                output_padding,
                dilation,
                groups,
                bias: true,
            });
            let params = fixtures::random(&graph, 3);
            let (mut written, mut written_params) = (graph.clone(), params.clone());
            write_out(&mut written, &mut written_params);
            crate::read::weights::check(&written_params, &written).unwrap();
            let image = fixtures::image(&graph, 5);
            let [before, after] =
                [(&graph, &params), (&written, &written_params)].map(|(graph, params)| {
                    Interpreter::new(graph, params).unwrap().outputs(&image).unwrap()
                });
            let difference = fixtures::relative_difference(&before[0].1, &after[0].1);
            assert!(difference < 1e-5, "{kernel:?} {stride:?}: {difference}");
        }
    }
}
