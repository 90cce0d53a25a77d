//! Networks drawn from a seed: the same weights on every machine, whatever its processor.

use anyhow::{Context, Result};
use graph::{CheckpointConfig, Head, ModelConfig, Pool, Preprocess, Task};
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::Path;

/// Writes a checkpoint of a width-16 ResNet-18 with one head on 64x64 pixels.
///
/// He weights (PyTorch's in an attention pool), batch statistics near (0, 1): activations of ordinary size, nothing learnt.
pub fn checkpoint(folder: &Path, task: Task, labels: &[&str], pool: Pool, seed: u64) -> Result<()> {
    let labels = labels.iter().map(|&label| label.into()).collect();
    let encoder = ModelConfig::encoder(graph::Backbone::Resnet18, pool);
    let config = CheckpointConfig {
        model: ModelConfig { width: 16, heads: vec![Head { task, labels }], ..encoder },
        preprocess: Preprocess { height: 64, width: 64, ..Preprocess::PRIOR },
    };
    let mut noise = Noise(seed);
    let drawn: Vec<(String, Vec<usize>, Vec<u8>)> = config
        .graph()?
        .params()
        .into_iter()
        .map(|param| {
            let count = param.shape.iter().product::<usize>();
            let fan_in = param.shape[1..].iter().product::<usize>();
            let value = |noise: &mut Noise| match param.name.rsplit('.').next() {
                Some("weight") if param.name.starts_with("attnpool.") => {
                    noise.normal() * (3.0 * fan_in as f32).sqrt().recip()
                }
                Some("weight") if param.shape.len() > 1 => {
                    noise.normal() * (2.0 / fan_in as f32).sqrt()
                }
                Some("weight" | "running_var") => 1.0 + 0.3 * noise.uniform(),
                _ => 0.1 * noise.normal(),
            };
            let bytes = (0..count).flat_map(|_| value(&mut noise).to_le_bytes()).collect();
            (param.name, param.shape, bytes)
        })
        .collect();
    let views = drawn
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>>>()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(folder.join("config.toml"), toml::to_string(&config)?)?;
    fs::write(folder.join("state.json"), r#"{"step":0,"epoch":0,"finished":true}"#)?;
    fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None)?)?;
    Ok(())
}

/// SplitMix64.
struct Noise(u64);

impl Noise {
    /// In `[0, 1)`.
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0
    }

    /// Sum of twelve: close enough to normal, and the same on every machine.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}
