//! `runtime bench`: MLPerf's three scenarios on one bundle, each layer's time, and what the machine could do.
//!
//! | scenario | query | reported |
//! |---|---|---|
//! | single-stream | one image | 90th percentile by early stopping |
//! | multi-stream | eight images | 99th percentile by early stopping |
//! | offline | one image, back to back | images per second |
//!
//! With `--end-to-end`, what is measured is the whole daemon: see [`end_to_end`].
//!
//! The peak is measured in the same process, before and behind the queries; the better of the two counts.

mod early_stopping;
mod end_to_end;
pub(crate) mod machine;
mod measured;

use crate::{Output, print_json};
use anyhow::{Context, Result, ensure};
use bundle::Bundle;
use clap::{Args, ValueEnum};
use end_to_end::EndToEnd;
use engine::{Engine, Options, ZeroShot};
use graph::Placement;
use indicatif::{ProgressBar, ProgressStyle};
use kernels::Isa;
use measured::{Language, Latency, Layer, Measured, Part};
use serde::Serialize;
use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

/// Measures latency, throughput and memory
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Bundle written by `exporter quantize`
    #[arg(long)]
    bundle: PathBuf,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    #[arg(long, value_enum, default_value_t = Scenario::SingleStream)]
    scenario: Scenario,
    /// At least that many queries
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    queries: u64,
    /// For at least that long; MLPerf asks for 600
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// DICOM files to send to a daemon of its own, instead: each stage from the sender to the archive
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["scenario", "queries", "seconds"])]
    end_to_end: Vec<PathBuf>,
    /// How often each file is sent
    #[arg(long, default_value_t = 21, requires = "end_to_end", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Where that daemon has its spool for a while; its disk is part of what is measured
    #[arg(long, value_name = "DIR", requires = "end_to_end")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Scenario {
    SingleStream,
    MultiStream,
    Offline,
}

impl Scenario {
    fn images_per_query(self) -> u64 {
        if self == Self::MultiStream { 8 } else { 1 }
    }

    /// What early stopping reports; offline reports throughput instead.
    fn percentile(self) -> Option<f64> {
        match self {
            Self::SingleStream => Some(0.9),
            Self::MultiStream => Some(0.99),
            Self::Offline => None,
        }
    }
}

/// Runs of which each layer's median is taken.
const LAYER_RUNS: usize = 21;
const LANGUAGE_RUNS: usize = 101;
const WARM_UP: usize = 5;

impl Bench {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        if !self.end_to_end.is_empty() {
            let Self { bundle, threads, end_to_end: files, rounds, folder, .. } = self;
            return EndToEnd { bundle, threads, files, rounds, folder }.run(output);
        }
        ensure!(
            (0.0..=86_400.0).contains(&self.seconds),
            "--seconds is {}, expected 0 to 86400",
            self.seconds
        );
        let measured = self.measure()?;
        if output.json {
            print_json(&measured)
        } else {
            Ok(io::stdout().write_all(measured.table().as_bytes())?)
        }
    }

    /// Load, warm up, peak, queries, peak again, layers.
    fn measure(&self) -> Result<Measured> {
        let began = Instant::now();
        let bundle = Bundle::open(&self.bundle)?;
        let mut engine = Engine::open(&bundle, &Options::threads(self.threads as usize))
            .with_context(|| format!("{}", self.bundle.display()))?;
        let input = input(&bundle, &engine)?;
        engine.run(&input)?;
        let load_ms = milliseconds(began.elapsed());
        let (id, digest) = (bundle.manifest.id.clone(), bundle.digest());
        let zero_shot = ZeroShot::open(&bundle, &engine)?;
        let size = bundle.manifest.preprocess;
        let placed = size.place([size.height, size.width]);
        drop(bundle);

        for _ in 0..WARM_UP {
            engine.run(&input)?;
        }
        let isa = Isa::from_name(engine.isa())?;
        let before = machine::peak(isa, self.threads);
        let mut latencies = self.queries(&mut engine, &input)?;
        let peak = machine::peak(isa, self.threads).max(before);
        let (layers, whole_ms) = layers(&mut engine, &input, peak)?;
        let language =
            zero_shot.map(|it| language(&mut engine, it, &input, &placed)).transpose()?;

        let total: f64 = latencies.iter().sum();
        latencies.sort_by(f64::total_cmp);
        let (queries, images) = (latencies.len() as u64, self.scenario.images_per_query());
        let share = engine.integer_share();
        let per_image = percentile(&latencies, 0.5) / images as f64;
        let floor_ms = share.integer_macs as f64 / peak * 1000.0;
        let rss_mb = machine::memory("VmRSS")?;
        let in_layers: f64 = layers.iter().map(|layer| layer.ms).sum();
        Ok(Measured {
            bundle: id,
            digest,
            scenario: self.scenario,
            threads: self.threads,
            isa: engine.isa().to_owned(),
            queries,
            latency_ms: self.latency(&latencies),
            images_per_second: (queries * images) as f64 / total * 1000.0,
            peak_share: (share.integer_macs > 0).then_some(floor_ms / per_image),
            peak_gmacs: peak / 1e9,
            integer_gmacs: share.integer_macs as f64 / 1e9,
            float_gmacs: share.float_macs as f64 / 1e9,
            load_ms,
            rss_mb,
            peak_rss_mb: machine::memory("VmHWM")?.max(rss_mb), // the kernel updates it late
            bundle_mb: fs::metadata(&self.bundle)?.len() as f64 / 1e6,
            parts: Part::of(&layers),
            float_nodes: share.float_nodes.clone(),
            layers,
            images_per_query: images,
            reported_percentile: self.scenario.percentile(),
            seconds: total / 1000.0,
            floor_ms,
            outside_layers_ms: whole_ms - in_layers,
            processor: machine::processor(),
            language,
        })
    }

    fn latency(&self, sorted: &[f64]) -> Latency {
        let reported = |p| early_stopping::reported(sorted, p);
        Latency {
            p50: percentile(sorted, 0.5),
            p90: percentile(sorted, 0.9),
            p99: percentile(sorted, 0.99),
            reported: self.scenario.percentile().and_then(reported),
        }
    }

    /// Milliseconds of each query, in order.
    fn queries(&self, engine: &mut Engine, input: &[f32]) -> Result<Vec<f64>> {
        let bar = ProgressBar::new(self.queries).with_style(
            ProgressStyle::with_template("{bar:40} {pos}/{len} queries, {elapsed}")
                .context("progress template")?,
        );
        let images = self.scenario.images_per_query();
        let mut latencies = Vec::with_capacity(self.queries as usize);
        let began = Instant::now();
        while latencies.len() < self.queries as usize
            || began.elapsed().as_secs_f64() < self.seconds
        {
            let start = Instant::now();
            for _ in 0..images {
                engine.run(input)?;
            }
            latencies.push(milliseconds(start.elapsed()));
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(latencies)
    }
}

/// The first golden vector; without any, grey.
fn input(bundle: &Bundle, engine: &Engine) -> Result<Vec<f32>> {
    let golden = bundle.golden()?;
    let expected: usize = engine.input_shape().iter().product();
    let first = golden.vectors.first().map(|vector| vector.input(&bundle.manifest.preprocess));
    Ok(first.filter(|input| input.len() == expected).unwrap_or_else(|| vec![0.0; expected]))
}

/// Median time of each layer, and of the same runs from one end to the other.
fn layers(engine: &mut Engine, input: &[f32], peak: f64) -> Result<(Vec<Layer>, f64)> {
    let (mut runs, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..LAYER_RUNS {
        let start = Instant::now();
        runs.push(engine.run_timed(input, move || start.elapsed())?.1);
        whole.push(milliseconds(start.elapsed()));
    }
    whole.sort_by(f64::total_cmp);
    let layer = |(at, info): (usize, engine::LayerInfo)| {
        let mut times: Vec<f64> = runs.iter().map(|run| milliseconds(run[at])).collect();
        times.sort_by(f64::total_cmp);
        let ms = percentile(&times, 0.5);
        let share = info.macs as f64 / (ms / 1000.0) / peak;
        Layer {
            name: info.name,
            kind: info.kind,
            ms,
            mmacs: info.macs as f64 / 1e6,
            peak_share: (info.macs > 0 && share.is_finite()).then_some(share),
            lost_ms: ms - info.macs as f64 / peak * 1000.0,
        }
    };
    let layers = engine.layers().into_iter().enumerate().map(layer).collect();
    Ok((layers, percentile(&whole, 0.5)))
}

/// Least time of phrases and sentences, each behind a run of the network that left the caches as it does, beside the
/// least times of the network's layers. Other programs only ever make them slower, so the least is what it takes; a
/// whole run is too long to be left alone on a busy machine.
fn language(
    engine: &mut Engine,
    mut zero_shot: ZeroShot,
    input: &[f32],
    placed: &Placement,
) -> Result<Language> {
    let (mut layers, mut ms) = (vec![Duration::MAX; engine.layers().len()], f64::MAX);
    for _ in 0..LANGUAGE_RUNS {
        let start = Instant::now();
        let (outputs, times) = engine.run_timed(input, move || start.elapsed())?;
        let ran = Instant::now();
        zero_shot.tell(&outputs, placed)?;
        ms = ms.min(milliseconds(ran.elapsed()));
        layers.iter_mut().zip(times).for_each(|(least, time)| *least = time.min(*least));
    }
    let network_ms = milliseconds(layers.iter().sum());
    let sentences = zero_shot.language().bank.iter().flat_map(|bank| &bank.sentences);
    Ok(Language {
        findings: zero_shot.codes().len(),
        sentences: sentences.flatten().count(),
        ms,
        network_ms,
        share: ms / network_ms,
    })
}

/// Nearest rank; `sorted` is not empty.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
