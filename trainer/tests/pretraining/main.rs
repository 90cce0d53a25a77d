//! What a pre-training run promises, on a tiny model and drawn pictures.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod checkpoints;
mod command;
mod losses;
mod quirks;
mod ranks;
mod waits;

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tch::Device;
use trainer::{
    index::Record,
    pretrain::{Pairs, PretrainConfig, Run, Setup},
    text::Words,
};

/// Two stages, so that there is a boundary: 24 pairs, batch 4, 6 steps an epoch.
const CONFIG: &str = r#"
seed = 11
batch = 4
weight-decay = 1e-4
clip-norm = 5.0
max-tokens = 24
rotation = 5.0
flip = true

[model]
backbone = "resnet18"
width = 4
pool = "attention"

[preprocess]
height = 32
width = 32
mean = 0.5
std = 0.25

[joint]
embed = 32
prototypes = 8
queries = 4
decoder-layers = 1
decoder-heads = 2
decoder-intermediate = 32
dropout = 0.1
image-dropout = 0.5
temperature = 0.07

[text]
vocabulary = 128
hidden = 32
layers = 1
heads = 2
intermediate = 32

[[stage]]
name = "first"
epochs = 1
learning-rate = { start = 1e-4, peak = 1e-3, end = 0.0, warm-up-epochs = 0 }
weights = { global = 1.0, local-image = 1.0, local-text = 1.0 }

[[stage]]
name = "second"
epochs = 1
learning-rate = { start = 1e-4, peak = 1e-3, end = 0.0, warm-up-epochs = 1 }
tau = { linear = 0.9 }

[stage.weights]
global = 1.0
local-image = 1.0
local-text = 1.0
prototype = 1.0
image = 1.0
sentence = 1.0
divergence = 1.0
report = 1.0
"#;

fn records(folder: &Path) -> Vec<Record> {
    (0..24_u32)
        .map(|n| {
            let image = folder.join(format!("{n}.png"));
            let pixel = |x: u32, y: u32| image::Luma([((x * (n + 1)) ^ (y * 3)) as u8]);
            image::GrayImage::from_fn(40, 36, pixel).save(&image).unwrap();
            let side = ["left", "right", "lower", "upper"][n as usize % 4];
            let text = format!("There is a {side} opacity. Heart size {}. No effusion.", n % 3);
            Record {
                id: format!("case-{n}"),
                patient_id: n.to_string(),
                image,
                findings_text: Some(text),
                ..Record::default()
            }
        })
        .collect()
}

fn config(changes: &[&str]) -> PretrainConfig {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, CONFIG).unwrap();
    let changes: Vec<String> = changes.iter().map(|&s| s.to_owned()).collect();
    PretrainConfig::read(&path, &changes).unwrap()
}

fn run(data: &Path, out: &Path, resume: bool, changes: &[&str]) -> Run {
    open(&records(data), out, resume, changes, Device::Cpu).unwrap()
}

fn open(
    records: &[Record],
    out: &Path,
    resume: bool,
    changes: &[&str],
    device: Device,
) -> anyhow::Result<Run> {
    let config = config(changes);
    let pairs = Pairs::of(records, 1, |_| true);
    let sentences: Vec<String> =
        pairs.all.iter().flat_map(|pair| pair.sentences.iter().cloned()).collect();
    let words = Words::build(sentences.iter().map(String::as_str), 128).unwrap();
    let setup = Setup {
        prior: config.prior(config.text_encoder(words.count())),
        config,
        pairs,
        words,
        start: HashMap::new(),
        cache: None,
        out: out.to_owned(),
        device,
        group: None,
    };
    Run::new(setup, resume)
}

/// Runs share libtorch's one generator, so they take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// τ of the next `steps` steps.
fn taus(run: &mut Run, steps: usize) -> Vec<f64> {
    let mut taus = Vec::new();
    run.train(|progress| {
        taus.push(progress.tau);
        Ok(taus.len() < steps)
    })
    .unwrap();
    taus
}

/// Losses of the next `steps` steps.
fn losses(run: &mut Run, steps: usize) -> Vec<f64> {
    let mut losses = Vec::new();
    run.train(|progress| {
        losses.push(progress.outcome.loss);
        Ok(losses.len() < steps)
    })
    .unwrap();
    losses
}
