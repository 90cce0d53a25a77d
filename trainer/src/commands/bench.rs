//! `trainer bench`: how long a training step takes, stage by stage, on made-up pairs or real ones.

use crate::{
    device::DeviceArg,
    index::{self, Split},
    pretrain::{Loading, Pairs, Pictures, Prepared, PretrainConfig, Stage, Trainer},
    prior::{Objective, Prior},
    terminal::Terminal,
    text::{Encoded, Words},
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};
use tch::{Device, nn};
use torch_ext::Operation;

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
    /// Pairs of this index's train split instead of made-up ones; the shape of the text encoder stays the configuration's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tokens", "sentences"])]
    data: Option<PathBuf>,
    /// Also tell the operations that take longest, and how often each runs in a step
    #[arg(long)]
    profile: bool,
    /// Make one step for each line of standard input, which says the number of a stage, and answer with its seconds: for
    /// programs that measure in turns
    #[arg(long, conflicts_with_all = ["steps", "profile"])]
    on_request: bool,
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
    /// Most of the card's memory its tensors have taken so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    card_mb: Option<f64>,
}

/// What is measured.
struct Bench {
    config: PretrainConfig,
    trainer: Trainer,
    batches: Vec<Prepared>,
    device: Device,
    /// Steps made so far.
    step: usize,
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
        let mut bench = self.prepare()?;
        if self.on_request {
            return bench.answer(terminal);
        }
        for at in 0..bench.config.stage.len() {
            let stage = bench.config.stage[at].clone();
            bench.trainer.reset_optimizer();
            bench.time(&stage)?;
            let mut seconds: Vec<f64> =
                (0..self.steps).map(|_| bench.time(&stage)).collect::<Result<_>>()?;
            seconds.sort_by(f64::total_cmp);
            let line = Line {
                stage: &stage.name,
                batch: bench.config.batch,
                seconds_per_step: seconds[seconds.len() / 2],
                fastest: seconds[0],
                rss_mb: peak_memory()?,
                card_mb: bench.card_memory()?,
            };
            terminal.json(&line)?;
            terminal.say(format!(
                "{}: {:.3} s per step of {} pairs ({:.1} pairs/s), fastest {:.3} s, {:.0} MB{}",
                line.stage,
                line.seconds_per_step,
                line.batch,
                line.batch as f64 / line.seconds_per_step,
                line.fastest,
                line.rss_mb,
                line.card_mb.map_or(String::new(), |mb| format!(", {mb:.0} MB of the card"))
            ))?;
            if self.profile {
                let (seconds, operations) = torch_ext::profile(|| bench.time(&stage))?;
                tell(&stage.name, seconds?, &operations, terminal)?;
            }
        }
        Ok(())
    }

    fn prepare(&self) -> Result<Bench> {
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
        let trainer = Trainer::new(prior, store, &config, None)?;
        let batches = match &self.data {
            Some(data) => real(&config, data)?,
            None => vec![self.pairs(&config, pieces)],
        };
        Ok(Bench { config, trainer, batches, device, step: 0 })
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
            Encoded { ids, sentence, sentences: self.sentences, padding: 0 }
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

impl Bench {
    /// One step of this stage on the next batch.
    fn time(&mut self, stage: &Stage) -> Result<f64> {
        let objective = Objective { weights: stage.weights, tau: stage.tau.at(0.0) };
        let batch = &self.batches[self.step % self.batches.len()];
        self.step += 1;
        let begun = Instant::now();
        let (rate, number) = (stage.learning_rate.start, self.step as u64);
        self.trainer.step(std::slice::from_ref(batch), &objective, rate, number)?;
        if let Device::Cuda(index) = self.device {
            tch::Cuda::synchronize(index as i64);
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// MB, where there is a card and the build has CUDA.
    fn card_memory(&self) -> Result<Option<f64>> {
        let Device::Cuda(index) = self.device else { return Ok(None) };
        if torch_ext::need_nccl().is_err() {
            return Ok(None);
        }
        Ok(Some(torch_ext::card_memory(index)? as f64 / f64::from(1 << 20)))
    }

    /// First what the batches are, so that another program can make the same; then a step for each line.
    fn answer(&mut self, terminal: &Terminal) -> Result<()> {
        let sentences: Vec<Vec<&Vec<i64>>> = self
            .batches
            .iter()
            .map(|batch| batch.reports.iter().map(|report| &report.sentence).collect())
            .collect();
        terminal.json(&json!({ "batches": sentences }))?;
        for line in io::stdin().lines() {
            let line = line.context("cannot read standard input")?;
            let stage = line.trim().parse().ok().and_then(|at: usize| self.config.stage.get(at));
            let stage =
                stage.with_context(|| format!("`{line}` is not the number of a stage"))?.clone();
            let seconds = self.time(&stage)?;
            let (rss_mb, card_mb) = (peak_memory()?, self.card_memory()?);
            terminal.json(&json!({
                "stage": stage.name, "seconds": seconds, "rss_mb": rss_mb, "card_mb": card_mb,
            }))?;
            terminal.say(format!("{} {seconds:.3} s", stage.name))?;
        }
        Ok(())
    }
}

/// Two hundred pairs of the train split in the order of the first epoch, as a run would see them.
fn real(config: &PretrainConfig, data: &Path) -> Result<Vec<Prepared>> {
    let records = index::read(data)?;
    let train = |record: &index::Record| record.split.is_none_or(|split| split == Split::Train);
    let mut pairs = Pairs::of(&records, config.min_sentences, train);
    pairs.all.truncate(200);
    let sentences = pairs.all.iter().flat_map(|pair| pair.sentences.iter());
    let words = Words::build(sentences.map(String::as_str), config.text.vocabulary)?;
    pairs.check(&words, config.batch)?;
    let loading = Arc::new(Loading {
        pictures: Pictures::new(config.kept()?, None)?,
        augmentation: config.augmentation(),
        input: [config.preprocess.height, config.preprocess.width],
        batch: config.batch,
        max_tokens: config.max_tokens,
        hide_words: config.hide_words,
        quirks: config.model.released_quirks,
        seed: config.seed,
        rank: 0,
        world: 1,
        workers: 1,
        words,
        pairs,
    });
    loading.epoch(0, 0).collect()
}

/// Where the time of one step went.
fn tell(stage: &str, seconds: f64, operations: &[Operation], terminal: &Terminal) -> Result<()> {
    const SHOWN: usize = 14;
    let all: f64 = operations.iter().map(|operation| operation.seconds).sum();
    for Operation { name, calls, seconds } in operations.iter().take(SHOWN) {
        terminal.json(
            &json!({ "stage": stage, "operation": name, "calls": calls, "seconds": seconds }),
        )?;
        let share = 100.0 * seconds / all;
        terminal.say(format!("  {share:5.1} %  {seconds:7.3} s  {calls:5} x {name}"))?;
    }
    terminal.say(format!(
        "  of {all:.3} s inside operations, {seconds:.3} s in all, while recording"
    ))?;
    Ok(())
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
