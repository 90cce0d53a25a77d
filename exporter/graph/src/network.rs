//! The network a configuration describes: backbone, pool, heads.

use crate::{
    Backbone, CheckpointConfig, Fit, Graph, Head, ModelConfig, Op, Output, PictureFilter, Pool,
    Preprocess, Task, densenet, efficientnet, heads, mobilenet, resnet,
};
use std::fmt;
use thiserror::Error;

/// Why a configuration describes no network.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    #[error("width is {0}, expected a multiple of 4 from 4 to 1024")]
    Width(usize),

    #[error("input is {height}x{width}, expected 32 to 4096 pixels a side")]
    Size { height: usize, width: usize },

    #[error("preprocess.std is {0}, expected a positive number")]
    Std(f32),

    #[error(
        "preprocess.{key} is {found}, which only networks of other tools have: expected {expected}"
    )]
    Foreign { key: &'static str, found: String, expected: &'static str },

    #[error("the backbone is foreign: a network of another tool, which no checkpoint describes")]
    ForeignBackbone,

    #[error("output_stride is {found}, expected 32: {what} has no other")]
    OutputStride { found: usize, what: String },

    #[error("the {0} head has no labels")]
    NoLabels(Task),

    #[error("two {0} heads, expected at most one")]
    TwoHeads(Task),

    #[error("the heads {0} and {1} both find boxes, expected at most one")]
    TwoDetectors(Task, Task),

    #[error(
        "[model] has a language head, expected none: a PRIOR checkpoint's [prior] describes it"
    )]
    Language,

    #[error("the image encoder `{0}` has no pooled embedding")]
    NoPool(String),
}

impl CheckpointConfig {
    /// The network this checkpoint holds weights for.
    pub fn graph(&self) -> Result<Graph, CheckpointError> {
        let Preprocess { height, width, std, .. } = self.preprocess;
        if !(32..=4096).contains(&height) || !(32..=4096).contains(&width) {
            return Err(CheckpointError::Size { height, width });
        }
        if std.is_nan() || std <= 0.0 {
            return Err(CheckpointError::Std(std));
        }
        self.preprocess.of_ours()?;
        self.model.graph([1, height, width])
    }
}

impl Preprocess {
    /// Refuses what networks of ours are not trained with.
    fn of_ours(&self) -> Result<(), CheckpointError> {
        let foreign = |key, found: &dyn fmt::Debug, expected| {
            Err(CheckpointError::Foreign { key, found: format!("{found:?}"), expected })
        };
        match self {
            Self { others: Some(others), .. } => foreign("others", others, "one grey channel"),
            Self { filter: filter @ PictureFilter::Gaussian, .. } => {
                foreign("filter", filter, "triangle")
            }
            Self { fit: fit @ (Fit::CentreCrop | Fit::ResizeCrop(_)), .. } => {
                foreign("fit", fit, "stretch or pad")
            }
            _ => Ok(()),
        }
    }
}

impl ModelConfig {
    /// The network for input images `[C, H, W]`.
    pub fn graph(&self, input_shape: [usize; 3]) -> Result<Graph, CheckpointError> {
        if self.backbone == Backbone::Foreign {
            return Err(CheckpointError::ForeignBackbone);
        }
        if self.width == 0 || !self.width.is_multiple_of(4) || self.width > 1024 {
            return Err(CheckpointError::Width(self.width));
        }
        self.output_stride_fits()?;
        let (mut graph, features) = self.backbone(input_shape);
        let stride = self.output_stride.pixels();
        let c5 = features.c5().to_owned();
        let channels = features.channels[4];
        let pool = match self.pool {
            Pool::Mean => Op::GlobalAvgPool,
            Pool::Attention => Op::AttentionPool2d {
                channels,
                heads: 8,
                tokens: input_shape[1].div_ceil(stride) * input_shape[2].div_ceil(stride),
            },
        };
        let name = if self.pool == Pool::Mean { "avgpool" } else { "attnpool" };
        graph.push(name, pool, &[&c5]);
        graph.outputs.push(Output { name: "embedding".into(), node: name.into() });
        for (at, head) in self.heads.iter().enumerate() {
            if head.task == Task::Language {
                return Err(CheckpointError::Language);
            }
            if head.labels.is_empty() {
                return Err(CheckpointError::NoLabels(head.task));
            }
            let others = &self.heads[..at];
            if others.iter().any(|other| other.task == head.task) {
                return Err(CheckpointError::TwoHeads(head.task));
            }
            let detects = |head: &&Head| Task::DETECTORS.contains(&head.task);
            if let (Some(other), true) = (others.iter().find(detects), detects(&head)) {
                return Err(CheckpointError::TwoDetectors(other.task, head.task));
            }
            heads::append(&mut graph, head, &features, name);
        }
        Ok(graph)
    }

    /// Refuses what is built for the published stride of 32.
    fn output_stride_fits(&self) -> Result<(), CheckpointError> {
        if self.output_stride.is_published() {
            return Ok(());
        }
        let refused = |what: String| {
            Err(CheckpointError::OutputStride { found: self.output_stride.pixels(), what })
        };
        match self.backbone {
            Backbone::Resnet18 | Backbone::Resnet34 | Backbone::Resnet50 => {}
            other => return refused(format!("the backbone {other}")),
        }
        let built_on_32 =
            |head: &&Head| head.task == Task::Segmentation || Task::DETECTORS.contains(&head.task);
        match self.heads.iter().find(built_on_32) {
            Some(head) => refused(format!("the {} head", head.task)),
            None => Ok(()),
        }
    }

    /// The nodes that make C1–C5, whose strides are 2, 4, 8, 16, 32 or no more than the output stride: what distillation
    /// compares.
    pub fn features(&self, input_shape: [usize; 3]) -> Result<[String; 5], CheckpointError> {
        self.graph(input_shape)?;
        Ok(self.backbone(input_shape).1.names)
    }

    fn backbone(&self, input_shape: [usize; 3]) -> (Graph, resnet::Features) {
        let mut graph = Graph {
            name: self.backbone.to_string(),
            input: "image".into(),
            input_shape,
            nodes: Vec::new(),
            outputs: Vec::new(),
        };
        let features = match self.backbone {
            Backbone::Foreign => unreachable!("`graph` refuses it"),
            Backbone::Densenet121 => densenet::backbone(&mut graph, self.width),
            Backbone::EfficientnetB0 => efficientnet::backbone(&mut graph, self.width),
            Backbone::Mobilenetv2 => mobilenet::backbone(&mut graph, self.width),
            Backbone::Resnet18 => {
                resnet::backbone(&mut graph, [2, 2, 2, 2], 1, self.width, self.output_stride)
            }
            Backbone::Resnet34 => {
                resnet::backbone(&mut graph, [3, 4, 6, 3], 1, self.width, self.output_stride)
            }
            Backbone::Resnet50 => {
                resnet::backbone(&mut graph, [3, 4, 6, 3], 4, self.width, self.output_stride)
            }
        };
        (graph, features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OutputStride;

    fn classifier(backbone: Backbone) -> Graph {
        let head = Head { task: Task::Classification, labels: vec!["x".into(); 1000] };
        let config =
            ModelConfig { heads: vec![head], ..ModelConfig::encoder(backbone, Pool::Mean) };
        config.graph([3, 224, 224]).unwrap()
    }

    #[test]
    fn parameter_counts_equal_torchvisions() {
        for (backbone, count) in [
            (Backbone::Resnet18, 11_689_512),
            (Backbone::Resnet34, 21_797_672),
            (Backbone::Resnet50, 25_557_032),
            (Backbone::Mobilenetv2, 3_504_872),
            (Backbone::Densenet121, 7_978_856),
            (Backbone::EfficientnetB0, 5_288_548),
        ] {
            let params = classifier(backbone).params();
            let trained = params.iter().filter(|p| p.trained);
            let found: usize = trained.map(|p| p.shape.iter().product::<usize>()).sum();
            assert_eq!(found, count, "{backbone}");
        }
    }

    #[test]
    fn names_are_torchvisions() {
        for (backbone, names) in [
            (Backbone::Resnet50, &["conv1.weight", "bn1.running_var", "layer4.2.bn3.bias"][..]),
            (Backbone::Resnet50, &["layer1.0.downsample.0.weight", "layer4.2.conv3.weight"]),
            (Backbone::Mobilenetv2, &["features.1.conv.1.weight", "features.17.conv.3.bias"]),
            (Backbone::Densenet121, &["features.conv0.weight", "features.transition3.norm.bias"]),
            (Backbone::Densenet121, &["features.denseblock4.denselayer16.conv2.weight"]),
            (Backbone::EfficientnetB0, &["features.1.0.block.1.fc1.bias", "features.8.1.weight"]),
            (Backbone::EfficientnetB0, &["features.7.0.block.3.0.weight", "features.0.0.weight"]),
        ] {
            let params = classifier(backbone).params();
            for name in names {
                assert!(params.iter().any(|param| param.name == *name), "{backbone} {name}");
            }
        }
    }

    #[test]
    fn feature_maps_have_the_strides_heads_expect() {
        for (backbone, width) in Backbone::ALL.into_iter().flat_map(|b| [(b, 8), (b, 32), (b, 64)])
        {
            let config = ModelConfig { width, ..ModelConfig::encoder(backbone, Pool::Mean) };
            let graph = config.graph([1, 224, 224]).unwrap();
            let shapes = graph.shapes().unwrap();
            let names = config.features([1, 224, 224]).unwrap();
            let sides = names.map(|name| shapes[name.as_str()][1]);
            assert_eq!(sides, [112, 56, 28, 14, 7], "{backbone} of width {width}");
        }
    }

    #[test]
    fn a_smaller_output_stride_gives_a_finer_map_by_the_same_weights() {
        for backbone in [Backbone::Resnet18, Backbone::Resnet34, Backbone::Resnet50] {
            let published = ModelConfig { width: 8, ..ModelConfig::encoder(backbone, Pool::Mean) };
            for (output_stride, sides) in [
                (OutputStride::S16, [112, 56, 28, 14, 14]),
                (OutputStride::S8, [112, 56, 28, 28, 28]),
            ] {
                let config = ModelConfig { output_stride, ..published.clone() };
                let graph = config.graph([1, 224, 224]).unwrap();
                let shapes = graph.shapes().unwrap();
                let names = config.features([1, 224, 224]).unwrap();
                assert_eq!(names.map(|name| shapes[name.as_str()][1]), sides, "{backbone}");
                assert_eq!(graph.params(), published.graph([1, 224, 224]).unwrap().params());
            }
        }
    }

    #[test]
    fn what_is_built_for_a_stride_of_32_is_refused_at_another() {
        let config = |backbone, task| ModelConfig {
            output_stride: OutputStride::S8,
            heads: vec![Head { task, labels: vec!["x".into()] }],
            ..ModelConfig::encoder(backbone, Pool::Mean)
        };
        let error = |backbone, task| config(backbone, task).graph([1, 64, 64]).unwrap_err();
        for task in [Task::Segmentation, Task::Detection, Task::Yolov3] {
            let error = error(Backbone::Resnet18, task).to_string();
            assert!(error.contains(&format!("the {task} head")), "{error}");
        }
        let error = error(Backbone::Mobilenetv2, Task::Classification).to_string();
        assert!(error.contains("the backbone mobilenetv2"), "{error}");
        config(Backbone::Resnet18, Task::Classification).graph([1, 64, 64]).unwrap();
    }

    #[test]
    fn an_attention_pool_has_a_position_for_each_place_of_a_finer_map() {
        let config = ModelConfig {
            output_stride: OutputStride::S16,
            ..ModelConfig::encoder(Backbone::Resnet18, Pool::Attention)
        };
        let graph = config.graph([1, 64, 96]).unwrap();
        graph.shapes().unwrap();
        let position =
            graph.params().into_iter().find(|p| p.name.ends_with("positional_embedding"));
        assert_eq!(position.unwrap().shape[0], 1 + 4 * 6);
    }
}
