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
    match (op, views.as_slice()) {
        (Op::Conv2d { in_channels, out_channels, kernel, stride, padding, .. }, [[c, h, w]])
            if c == in_channels =>
        {
            let size = |size, kernel| window(size, kernel, *stride, *padding);
            Ok(vec![*out_channels, size(*h, kernel[0])?, size(*w, kernel[1])?])
        }
        (Op::Conv2d { in_channels, .. }, _) => Err(format!("[{in_channels}, H, W]")),
        (Op::BatchNorm2d { channels, .. }, [x @ [c, _, _]]) if c == channels => Ok(x.to_vec()),
        (Op::BatchNorm2d { channels, .. }, _) => Err(format!("[{channels}, H, W]")),
        (Op::Relu | Op::Relu6 | Op::LeakyRelu { .. }, [x]) => Ok(x.to_vec()),
        (Op::Relu | Op::Relu6 | Op::LeakyRelu { .. }, _) => Err("one tensor".into()),
        (Op::Add, [a, b]) if a == b => Ok(a.to_vec()),
        (Op::Add, _) => Err("two tensors of one shape".into()),
        (Op::Concat, [[_, h, w], ..])
            if views.iter().all(|x| x.len() == 3 && x[1..] == [*h, *w]) =>
        {
            Ok(vec![views.iter().map(|x| x[0]).sum(), *h, *w])
        }
        (Op::Concat, _) => Err("images of one size".into()),
        (Op::MaxPool2d { kernel, stride, padding }, [[c, h, w]]) => {
            let size = |size| window(size, *kernel, *stride, *padding);
            Ok(vec![*c, size(*h)?, size(*w)?])
        }
        (Op::GlobalAvgPool, [[c, _, _]]) => Ok(vec![*c]),
        (Op::MaxPool2d { .. } | Op::GlobalAvgPool, _) => Err("[C, H, W]".into()),
        (Op::AttentionPool2d { channels, tokens, .. }, [[c, h, w]])
            if c == channels && h * w == *tokens =>
        {
            Ok(vec![*c])
        }
        (Op::AttentionPool2d { channels, tokens, .. }, _) => {
            Err(format!("[{channels}, H, W] with H·W = {tokens}"))
        }
        (Op::UpsampleNearest { factor }, [[c, h, w]]) => Ok(vec![*c, h * factor, w * factor]),
        (Op::UpsampleNearest { .. }, _) => Err("[C, H, W]".into()),
        (Op::Linear { in_features, out_features }, [[n]]) if n == in_features => {
            Ok(vec![*out_features])
        }
        (Op::Linear { in_features, .. }, _) => Err(format!("[{in_features}]")),
        (Op::Reshape { shape }, [x])
            if x.iter().product::<usize>() == shape.iter().product::<usize>() =>
        {
            Ok(shape.clone())
        }
        (Op::Reshape { shape }, _) => Err(format!("as many values as {shape:?} has")),
        (Op::Transpose, [[m, n]]) => Ok(vec![*n, *m]),
        (Op::Softmax, [x @ [_, _]]) => Ok(x.to_vec()),
        (Op::Transpose | Op::Softmax, _) => Err("[M, N]".into()),
        (Op::Append, [[c, _], ..]) if views.iter().all(|x| x.len() == 2 && x[0] == *c) => {
            Ok(vec![*c, views.iter().map(|x| x[1]).sum()])
        }
        (Op::Append, _) => Err("matrices with equally many rows".into()),
        (Op::AddConstant { shape }, [x]) if x == shape => Ok(shape.clone()),
        (Op::AddConstant { shape }, _) => Err(format!("{shape:?}")),
        (Op::MatMul, [[m, k], [rows, n]]) if k == rows => Ok(vec![*m, *n]),
        (Op::MatMul, _) => Err("[M, K] and [K, N]".into()),
    }
}

/// Positions of a sliding window.
fn window(size: usize, kernel: usize, stride: usize, padding: usize) -> Result<usize, String> {
    let padded = size + 2 * padding;
    if padded < kernel || stride == 0 {
        return Err(format!("at least {kernel} pixels a side after padding"));
    }
    Ok((padded - kernel) / stride + 1)
}

#[cfg(test)]
mod tests {
    use crate::{Backbone, Graph, Head, ModelConfig, Op, Pool, Task};

    fn trained(backbone: Backbone) -> usize {
        let config = ModelConfig {
            heads: vec![Head { task: Task::Classification, labels: vec!["x".into(); 1000] }],
            ..ModelConfig::encoder(backbone, Pool::Mean)
        };
        let graph = config.graph([3, 224, 224]).unwrap();
        graph.params().iter().filter(|p| p.trained).map(|p| p.shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn parameter_counts_equal_torchvisions() {
        assert_eq!(trained(Backbone::Resnet18), 11_689_512);
        assert_eq!(trained(Backbone::Resnet34), 21_797_672);
        assert_eq!(trained(Backbone::Resnet50), 25_557_032);
    }

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

    #[test]
    fn names_are_torchvisions() {
        let graph =
            ModelConfig::encoder(Backbone::Resnet50, Pool::Mean).graph([1, 64, 64]).unwrap();
        let names: Vec<String> = graph.params().into_iter().map(|p| p.name).collect();
        for name in [
            "conv1.weight",
            "bn1.running_var",
            "layer1.0.downsample.0.weight",
            "layer4.2.conv3.weight",
            "layer4.2.bn3.bias",
        ] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
    }
}
