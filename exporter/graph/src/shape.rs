//! Shape inference: the size of every tensor, or which node does not fit.

use crate::{Graph, Op};
use std::collections::HashMap;
use thiserror::Error;

/// A node whose inputs do not fit its operation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The node reads a tensor nobody made before it.
    #[error("node `{node}` reads `{input}`, which no earlier node makes")]
    Unknown { node: String, input: String },
    /// The node's input has a shape its operation does not take.
    #[error("node `{node}` has inputs {found:?}, expected {expected}")]
    Mismatch { node: String, found: Vec<Vec<usize>>, expected: String },
}

impl Graph {
    /// Shape of every tensor without the batch axis (`[C, H, W]` or `[C]`), the input's included.
    pub fn shapes(&self) -> Result<HashMap<&str, Vec<usize>>, ShapeError> {
        let mut shapes: HashMap<&str, Vec<usize>> = HashMap::new();
        shapes.insert(&self.input, self.input_shape.to_vec());
        for node in &self.nodes {
            let inputs = node
                .inputs
                .iter()
                .map(|input| {
                    shapes.get(input.as_str()).cloned().ok_or_else(|| ShapeError::Unknown {
                        node: node.name.clone(),
                        input: input.clone(),
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            let shape = infer(&node.op, &inputs).map_err(|expected| ShapeError::Mismatch {
                node: node.name.clone(),
                found: inputs,
                expected,
            })?;
            shapes.insert(&node.name, shape);
        }
        Ok(shapes)
    }
}

/// The output's shape, or what was expected instead.
fn infer(op: &Op, inputs: &[Vec<usize>]) -> Result<Vec<usize>, String> {
    let views: Vec<&[usize]> = inputs.iter().map(Vec::as_slice).collect();
    match op {
        Op::Constant { shape } if views.is_empty() => return Ok(shape.clone()),
        Op::Constant { .. } => return Err("no input".into()),
        Op::Add | Op::Sub | Op::Mul => {
            let [a, b] = views[..] else { return Err("two tensors".into()) };
            return broadcast(a, b).ok_or_else(|| "two tensors of one shape, or sides of 1".into());
        }
        Op::MatMul => return product(&views),
        Op::Concat { axis } => {
            let expected = || format!("tensors that differ along axis {axis} only");
            return joined(&views, *axis).ok_or_else(expected);
        }
        _ => {}
    }
    let [x] = views[..] else { return Err("one tensor".into()) };
    one_input(op, x)
}

/// What an operation on one tensor makes of `x`.
fn one_input(op: &Op, x: &[usize]) -> Result<Vec<usize>, String> {
    let same = |fits: bool, expected: String| fits.then(|| x.to_vec()).ok_or(expected);
    match op {
        Op::Relu | Op::Relu6 | Op::LeakyRelu { .. } | Op::Unary { .. } => Ok(x.to_vec()),
        Op::BatchNorm2d { channels, .. } | Op::GroupNorm { channels, .. } => {
            let image = x.len() == 3 && x[0] == *channels;
            let groups = matches!(op, Op::GroupNorm { groups, .. } if *groups == 0 || channels % groups != 0);
            same(image && !groups, format!("[{channels}, H, W] of whole groups"))
        }
        Op::LayerNorm { channels, .. } => {
            same(x.last() == Some(channels), format!("[…, {channels}]"))
        }
        Op::Softmax => same(!x.is_empty(), "[…, N]".into()),
        Op::Linear { in_features, out_features } => match x.split_last() {
            Some((last, rows)) if last == in_features => Ok([rows, &[*out_features]].concat()),
            _ => Err(format!("[…, {in_features}]")),
        },
        Op::Reshape { shape } => {
            let same = x.iter().product::<usize>() == shape.iter().product::<usize>();
            same.then(|| shape.clone()).ok_or_else(|| format!("as many values as {shape:?} has"))
        }
        Op::Transpose { order } => {
            let mut axes = order.clone();
            axes.sort_unstable();
            let all = axes.iter().copied().eq(0..x.len());
            let sides = || order.iter().map(|&axis| x[axis]).collect();
            all.then(sides)
                .ok_or_else(|| format!("{} axes, each named once in {order:?}", order.len()))
        }
        Op::AddConstant { shape } | Op::MulConstant { shape } => {
            broadcast(x, shape).ok_or_else(|| format!("{shape:?}, or sides of 1"))
        }
        Op::Slice { axis, start, end, step } => {
            let fits = x.get(*axis).is_some_and(|side| start < end && end <= side) && *step > 0;
            let sliced = || {
                let mut y = x.to_vec();
                y[*axis] = (end - start).div_ceil(*step);
                y
            };
            fits.then(sliced).ok_or_else(|| {
                format!("axis {axis} with more than {start} and at least {end} places")
            })
        }
        Op::Mean { axis } => {
            let rest = || {
                x.iter().enumerate().filter(|(at, _)| at != axis).map(|(_, &side)| side).collect()
            };
            (*axis < x.len()).then(rest).ok_or_else(|| format!("more than {axis} axes"))
        }
        _ => image(op, x),
    }
}

/// What an operation on images makes of `[C, H, W]`.
fn image(op: &Op, x: &[usize]) -> Result<Vec<usize>, String> {
    let &[c, h, w] = x else { return Err("[C, H, W]".into()) };
    match op {
        Op::Conv2d { in_channels, out_channels, kernel, stride, padding, dilation, .. } => {
            if c != *in_channels {
                return Err(format!("[{in_channels}, H, W]"));
            }
            let window = Window { kernel, stride, padding, dilation };
            Ok(vec![*out_channels, window.count(0, h)?, window.count(1, w)?])
        }
        Op::ConvTranspose2d {
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            output_padding,
            dilation,
            ..
        } => {
            let side = |axis: usize, size: usize| {
                let span = dilation[axis] * (kernel[axis] - 1) + 1 + output_padding[axis];
                let whole = (size - 1) * stride[axis] + span;
                whole.checked_sub(padding[axis] + padding[axis + 2]).filter(|&side| side > 0)
            };
            match [side(0, h), side(1, w)] {
                [Some(h), Some(w)] if c == *in_channels => Ok(vec![*out_channels, h, w]),
                _ => Err(format!("[{in_channels}, H, W], larger than what is cut off")),
            }
        }
        Op::MaxPool2d { kernel, stride, padding, dilation } => {
            let window = Window { kernel, stride, padding, dilation };
            Ok(vec![c, window.count(0, h)?, window.count(1, w)?])
        }
        Op::AvgPool2d { kernel, stride, padding, .. } => {
            let window = Window { kernel, stride, padding, dilation: &[1; 2] };
            Ok(vec![c, window.count(0, h)?, window.count(1, w)?])
        }
        Op::Pad { padding: [top, left, bottom, right], .. } => {
            Ok(vec![c, h + top + bottom, w + left + right])
        }
        Op::GlobalAvgPool => Ok(vec![c]),
        Op::AttentionPool2d { channels, tokens, .. } => (c == *channels && h * w == *tokens)
            .then(|| vec![c])
            .ok_or_else(|| format!("[{channels}, H, W] with H·W = {tokens}")),
        Op::UpsampleNearest { factor } => Ok(vec![c, h * factor, w * factor]),
        Op::Resize { size: [h, w], .. } => Ok(vec![c, *h, *w]),
        _ => unreachable!("operations on other tensors come before"),
    }
}

/// The shape of a sum or product of two tensors, a side of 1 repeated, shorter shapes from the right.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let side = |x: &[usize], at: usize| (at + x.len()).checked_sub(rank).map_or(1, |at| x[at]);
    let sides = (0..rank).map(|at| match (side(a, at), side(b, at)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    });
    sides.collect()
}

fn product(views: &[&[usize]]) -> Result<Vec<usize>, String> {
    match views {
        [[a @ .., m, k], [b @ .., rows, n]] if k == rows && a == b => Ok([a, &[*m, *n]].concat()),
        _ => Err("[…, M, K] and […, K, N]".into()),
    }
}

/// The shape of tensors one behind the other along an axis, all other sides alike.
pub fn joined(views: &[&[usize]], axis: usize) -> Option<Vec<usize>> {
    let first = views.first().filter(|x| axis < x.len())?;
    let alike = |x: &&[usize]| {
        x.len() == first.len() && x[..axis] == first[..axis] && x[axis + 1..] == first[axis + 1..]
    };
    let mut y = first.to_vec();
    y[axis] = views.iter().all(alike).then(|| views.iter().map(|x| x[axis]).sum())?;
    Some(y)
}

/// A sliding window.
struct Window<'a> {
    kernel: &'a [usize; 2],
    stride: &'a [usize; 2],
    padding: &'a [usize; 4],
    dilation: &'a [usize; 2],
}

impl Window<'_> {
    /// Positions along an axis of `size` pixels.
    fn count(&self, axis: usize, size: usize) -> Result<usize, String> {
        let span = self.dilation[axis] * (self.kernel[axis].max(1) - 1) + 1;
        let padded = size + self.padding[axis] + self.padding[axis + 2];
        if padded < span || self.stride[axis] == 0 {
            return Err(format!("at least {span} pixels a side after padding"));
        }
        Ok((padded - span) / self.stride[axis] + 1)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Backbone, Graph, Head, ModelConfig, Op, Pool, Task};

    #[test]
    fn every_head_gets_the_shapes_it_promises() {
        let head = |task, n| Head { task, labels: vec!["x".into(); n] };
        for detector in [Task::Detection, Task::Yolov3, Task::Yolov3Relu] {
            let config = ModelConfig {
                heads: vec![
                    head(Task::Classification, 14),
                    head(Task::Segmentation, 1),
                    head(detector, 2),
                ],
                ..ModelConfig::encoder(Backbone::Resnet50, Pool::Attention)
            };
            let graph = config.graph([1, 224, 224]).unwrap();
            let shapes = graph.shapes().unwrap();
            let of = |name: &str| {
                let output = graph.outputs.iter().find(|output| output.name == name).unwrap();
                shapes[output.node.as_str()].clone()
            };
            assert_eq!(of("embedding"), [2048]);
            assert_eq!(of("classification"), [14]);
            assert_eq!(of("segmentation"), [1, 112, 112]);
            let (name, channels) =
                if detector == Task::Detection { ("detection", 7) } else { ("yolov3", 3 * 7) };
            assert_eq!(of(&format!("{name}.p3")), [channels, 28, 28]);
            assert_eq!(of(&format!("{name}.p5")), [channels, 7, 7]);
        }
    }

    #[test]
    fn yolov3_is_leaky_but_where_it_was_trained_with_relu() {
        let graph = |task| {
            let heads = vec![Head { task, labels: vec!["x".into()] }];
            let config =
                ModelConfig { heads, ..ModelConfig::encoder(Backbone::Resnet18, Pool::Mean) };
            config.graph([1, 64, 64]).unwrap()
        };
        let (leaky, relu) = (graph(Task::Yolov3), graph(Task::Yolov3Relu));
        let count = |graph: &Graph, op: Op| {
            graph.nodes.iter().filter(|n| n.name.starts_with("yolo.") && n.op == op).count()
        };
        // Six a level, and one to each finer level.
        assert_eq!(count(&leaky, Op::LeakyRelu { slope: 0.1 }), 3 * 6 + 2);
        assert_eq!((count(&leaky, Op::Relu), count(&relu, Op::Relu)), (0, 3 * 6 + 2));
        assert_eq!(leaky.params(), relu.params());
    }

    #[test]
    fn boxes_come_from_one_head() {
        let head = |task| Head { task, labels: vec!["x".into()] };
        let heads = vec![head(Task::Detection), head(Task::Yolov3)];
        let config = ModelConfig { heads, ..ModelConfig::encoder(Backbone::Resnet18, Pool::Mean) };
        let error = config.graph([1, 64, 64]).unwrap_err().to_string();
        assert_eq!(
            error,
            "the heads detection and yolov3-leaky both find boxes, expected at most one"
        );
    }
}
