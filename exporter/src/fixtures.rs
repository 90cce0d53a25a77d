//! Small networks and images drawn from a seed, for tests.

use crate::read::weights::{self, Array, Weights};
use checkpoint::State;
use graph::{Backbone, CheckpointConfig, Graph, Head, ModelConfig, Pool, Preprocess, Task};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A width-8 network with all three heads on 64x64 pixels.
pub(crate) fn network(backbone: Backbone, seed: u32) -> (Graph, Weights) {
    let graph = config(backbone).graph([1, 64, 64]).unwrap();
    let weights = random(&graph, seed);
    (graph, weights)
}

/// [`network`] with YOLOv3 in place of the anchor-free detector.
pub(crate) fn yolov3(backbone: Backbone, seed: u32) -> (Graph, Weights) {
    let graph = yolov3_config(backbone).graph([1, 64, 64]).unwrap();
    let weights = random(&graph, seed);
    (graph, weights)
}

pub(crate) fn yolov3_config(backbone: Backbone) -> ModelConfig {
    let mut config = config(backbone);
    let detector = config.heads.iter_mut().find(|head| head.task == Task::Detection);
    detector.expect("the usual network detects").task = Task::Yolov3;
    config
}

/// [`config`] with an attention pool, as PRIOR's encoder has.
pub(crate) fn attention_config(backbone: Backbone) -> ModelConfig {
    ModelConfig { pool: Pool::Attention, ..config(backbone) }
}

pub(crate) fn config(backbone: Backbone) -> ModelConfig {
    let head = |task, labels: &[&str]| Head {
        task,
        labels: labels.iter().map(|&label| label.into()).collect(),
    };
    ModelConfig {
        width: 8,
        heads: vec![
            head(Task::Classification, &["Pneumonia", "Effusion"]),
            head(Task::Segmentation, &["Lung"]),
            head(Task::Detection, &["Opacity"]),
        ],
        ..ModelConfig::encoder(backbone, Pool::Mean)
    }
}

/// He weights (PyTorch's in an attention pool), batch statistics near (0, 1).
pub(crate) fn random(graph: &Graph, seed: u32) -> Weights {
    let mut noise = Noise(seed.wrapping_mul(2_654_435_761) | 1);
    graph
        .params()
        .into_iter()
        .map(|param| {
            let count = param.shape.iter().product::<usize>();
            let fan_in = param.shape[1..].iter().product::<usize>().max(1);
            let is_kernel = param.shape.len() > 1;
            let values = (0..count)
                .map(|_| match param.name.rsplit('.').next() {
                    Some("weight") if param.name.starts_with("attnpool.") => {
                        // As PyTorch draws linear layers; He's would make one token take all.
                        noise.normal() * (3.0 * fan_in as f32).sqrt().recip()
                    }
                    Some("weight") if is_kernel => noise.normal() * (2.0 / fan_in as f32).sqrt(),
                    Some("weight" | "running_var") => 1.0 + 0.3 * noise.uniform(),
                    _ => 0.1 * noise.normal(),
                })
                .collect();
            (param.name, Array { shape: param.shape, values })
        })
        .collect()
}

pub(crate) fn zeros(graph: &Graph) -> Weights {
    let zero = |shape: &[usize]| vec![0.0; shape.iter().product()];
    graph
        .params()
        .into_iter()
        .map(|p| (p.name, Array { values: zero(&p.shape), shape: p.shape }))
        .collect()
}

/// A smooth random picture, roughly normalised.
pub(crate) fn image(graph: &Graph, seed: u32) -> Vec<f32> {
    let [c, h, w] = graph.input_shape;
    let mut noise = Noise(seed.wrapping_mul(747_796_405) | 1);
    let waves: Vec<[f32; 3]> =
        (0..6).map(|_| [0.2 * noise.normal(), 0.2 * noise.normal(), noise.normal()]).collect();
    (0..c * h * w)
        .map(|at| {
            let (y, x) = ((at / w % h) as f32, (at % w) as f32);
            let smooth: f32 = waves.iter().map(|[a, b, p]| (a * x + b * y + p).sin()).sum();
            0.4 * smooth + 0.1 * noise.normal()
        })
        .collect()
}

/// A checkpoint folder with a width-8 network, and a folder of eight pictures beside it.
pub(crate) fn workplace(backbone: Backbone) -> (TempDir, PathBuf, PathBuf) {
    workplace_of(config(backbone))
}

/// [`workplace`] for a network of one's own.
pub(crate) fn workplace_of(model: ModelConfig) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, images) = (folder.path().join("checkpoint"), folder.path().join("images"));
    let config = CheckpointConfig {
        model,
        preprocess: Preprocess { height: 64, width: 64, ..Preprocess::PRIOR },
    };
    let graph = config.graph().unwrap();
    save(&checkpoint, &config, &random(&graph, 11));
    fs::create_dir(&images).unwrap();
    for seed in 0..8 {
        let pixels: Vec<u8> = image(&graph, seed)
            .iter()
            .map(|x| (128.0 + 60.0 * x).clamp(0.0, 255.0) as u8)
            .collect();
        save_picture(&images.join(format!("{seed}.png")), &pixels);
    }
    (folder, checkpoint, images)
}

pub(crate) fn save(folder: &Path, config: &CheckpointConfig, weights: &Weights) {
    let tables = toml::Table::try_from(config).unwrap();
    let state = State { seed: Some(0), ..State::default() };
    checkpoint::save(folder, weights::tensors(weights), &tables, &state, None).unwrap();
}

/// To change what [`save`] wrote.
pub(crate) fn read_weights(path: &Path) -> Weights {
    weights::of(checkpoint::read_tensors(path).unwrap()).unwrap()
}

pub(crate) fn write_weights(path: &Path, weights: &Weights) {
    safetensors::serialize_to_file(weights::tensors(weights), None, path).unwrap();
}

/// 64x64 grey.
pub(crate) fn save_picture(path: &Path, pixels: &[u8]) {
    image::save_buffer(path, pixels, 64, 64, image::ColorType::L8).unwrap();
}

/// Largest difference over the largest magnitude.
pub(crate) fn relative_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let most = a.iter().fold(1e-9_f32, |most, x| most.max(x.abs()));
    a.iter().zip(b).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs())) / most
}

struct Noise(u32);

impl Noise {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / 16_777_216.0
    }

    /// Sum of twelve: close enough to normal.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}
