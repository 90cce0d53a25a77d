//! `trainer bench`: how long a training step takes, stage by stage, on made-up pairs.

use crate::{
    device::DeviceArg,
    pretrain::{Prepared, PretrainConfig, Stage, Trainer},
    prior::{Objective, Prior},
    terminal::Terminal,
    text::Encoded,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::{fs, path::PathBuf, time::Instant};
use tch::{Device, nn};

/// Measures seconds per training step of each stage
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Model, batch and stages
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Steps measured of each stage, after one that is not
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// Threads libtorch computes with
    #[arg(long)]
    threads: Option<i32>,
    /// Tokens of every report
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Sentences of every report
    #[arg(long, default_value_t = 6)]
    sentences: usize,
    /// Change the configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    stage: &'a str,
    batch: usize,
    /// Median.
    seconds_per_step: f64,
    fastest: f64,
    /// Most memory the process has held so far.
    rss_mb: f64,
}

impl BenchArgs {
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        ensure!(self.steps > 0, "steps is 0, expected 1 or more");
        ensure!(
            self.sentences > 0 && self.tokens >= self.sentences + 2,
            "{} tokens cannot hold {} sentences and two marks",
            self.tokens,
            self.sentences
        );
        let config = PretrainConfig::read(&self.config, &self.changes)?;
        if let Some(threads) = self.threads {
            tch::set_num_threads(threads);
        }
        let device = self.device.open(0)?;
        let pieces = config.text.vocabulary as i64;
        let text = config.text_encoder(pieces);
        ensure!(
            self.tokens as i64 <= text.max_position_embeddings,
            "{} tokens, the text encoder reads {}",
            self.tokens,
            text.max_position_embeddings
        );
        tch::manual_seed(config.seed as i64);
        let store = nn::VarStore::new(device);
        let graph = config.checkpoint().graph()?;
        let prior = Prior::new(&store.root(), &graph, config.prior(text), None)?;
        let mut trainer = Trainer::new(prior, store, &config, None)?;
        let batch = self.pairs(&config, pieces);
        for stage in &config.stage {
            trainer.reset_optimizer();
            let mut seconds = (0..=self.steps)
                .map(|step| self.time(&mut trainer, stage, &batch, step, device))
                .collect::<Result<Vec<f64>>>()?;
            seconds.remove(0);
            seconds.sort_by(f64::total_cmp);
            let line = Line {
                stage: &stage.name,
                batch: config.batch,
                seconds_per_step: seconds[seconds.len() / 2],
                fastest: seconds[0],
                rss_mb: peak_memory()?,
            };
            terminal.json(&line)?;
            terminal.say(format!(
                "{}: {:.3} s per step of {} pairs ({:.1} pairs/s), fastest {:.3} s, {:.0} MB",
                line.stage,
                line.seconds_per_step,
                line.batch,
                line.batch as f64 / line.seconds_per_step,
                line.fastest,
                line.rss_mb
            ))?;
        }
        Ok(())
    }

    fn time(
        &self,
        trainer: &mut Trainer,
        stage: &Stage,
        batch: &Prepared,
        step: usize,
        device: Device,
    ) -> Result<f64> {
        let objective = Objective { weights: stage.weights, tau: stage.tau.at(0.0) };
        let begun = Instant::now();
        trainer.step(
            std::slice::from_ref(batch),
            &objective,
            stage.learning_rate.start,
            step as u64,
        )?;
        if let Device::Cuda(index) = device {
            tch::Cuda::synchronize(index as i64);
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// One batch of noise with reports of the lengths asked for.
    fn pairs(&self, config: &PretrainConfig, pieces: i64) -> Prepared {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let pixels = config.batch * config.preprocess.height * config.preprocess.width;
        let words = self.tokens - 2;
        let reports = (0..config.batch).map(|_| {
            let mut ids = vec![2];
            ids.extend((0..words).map(|_| rng.random_range(5..pieces.max(6))));
            ids.push(3);
            let mut sentence = vec![0];
            sentence.extend((0..words).map(|at| (at * self.sentences / words) as i64 + 1));
            sentence.push(0);
            Encoded { ids, sentence, sentences: self.sentences }
        });
        let reports = reports.collect();
        let ids = (0..config.batch).map(|n| format!("noise-{n}")).collect();
        Prepared {
            images: (0..pixels).map(|_| rng.random_range(-2.0..2.0)).collect(),
            reports,
            ids,
        }
    }
}

/// The most memory this process has held, in MB.
fn peak_memory() -> Result<f64> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: f64 = peak
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .context("/proc/self/status has no VmHWM")?;
    Ok(kilobytes / 1024.0)
}
