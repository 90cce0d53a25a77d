//! `runtime bench`: MLPerf's three scenarios on one bundle, each layer's time, and what the machine could do.
//!
//! | scenario | query | reported |
//! |---|---|---|
//! | single-stream | one image | 90th percentile by early stopping |
//! | multi-stream | eight images | 99th percentile by early stopping |
//! | offline | one image, back to back | images per second |

mod early_stopping;

use crate::{Output, print_json};
use anyhow::{Context, Result, ensure};
use bundle::Bundle;
use clap::{Args, ValueEnum};
use engine::{Engine, Options};
use indicatif::{ProgressBar, ProgressStyle};
use kernels::Isa;
use serde::Serialize;
use std::{
    fmt::Write as _,
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

/// The JSON of `runtime bench --json` (DESIGN §5): append only.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    bundle: String,
    digest: String,
    scenario: Scenario,
    threads: u32,
    isa: String,
    queries: u64,
    latency_ms: Latency,
    images_per_second: f64,
    /// Multiplications of one image by its median time and the machine's peak.
    peak_share: Option<f64>,
    /// Of all threads, 10⁹ multiplications per second.
    peak_gmacs: f64,
    integer_gmacs: f64,
    float_gmacs: f64,
    /// From the file to the first result.
    load_ms: f64,
    rss_mb: f64,
    peak_rss_mb: f64,
    bundle_mb: f64,
    layers: Vec<Layer>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    /// By early stopping; none offline, or if there were too few queries.
    reported: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct Layer {
    name: String,
    kind: String,
    /// Median.
    ms: f64,
    mmacs: f64,
    peak_share: Option<f64>,
}

/// Runs of which each layer's median is taken.
const LAYER_RUNS: usize = 21;
const WARM_UP: usize = 5;

impl Bench {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        ensure!(
            (0.0..=86_400.0).contains(&self.seconds),
            "--seconds is {}, expected 0 to 86400",
            self.seconds
        );
        let measured = self.measure()?;
        if output.json {
            print_json(&measured)
        } else {
            Ok(io::stdout().write_all(table(&measured).as_bytes())?)
        }
    }

    fn measure(&self) -> Result<Measured> {
        let began = Instant::now();
        let bundle = Bundle::open(&self.bundle)?;
        let mut engine = Engine::open(&bundle, &Options::threads(self.threads as usize))
            .with_context(|| format!("{}", self.bundle.display()))?;
        let input = input(&bundle, &engine)?;
        engine.run(&input)?;
        let load_ms = milliseconds(began.elapsed());
        let (id, digest) = (bundle.manifest.id.clone(), bundle.digest());
        drop(bundle);

        for _ in 0..WARM_UP {
            engine.run(&input)?;
        }
        let isa = Isa::from_name(engine.isa())?;
        let peak = kernels::peak_macs_per_second(isa) * f64::from(self.threads);
        let latencies = self.queries(&mut engine, &input)?;
        let layers = layers(&mut engine, &input, peak)?;

        let total: f64 = latencies.iter().sum();
        let mut sorted = latencies;
        sorted.sort_by(f64::total_cmp);
        let queries = sorted.len() as u64;
        let images = self.scenario.images_per_query();
        let share = engine.integer_share();
        let per_image = percentile(&sorted, 0.5) / images as f64 / 1000.0;
        let rate = share.integer_macs as f64 / per_image;
        Ok(Measured {
            bundle: id,
            digest,
            scenario: self.scenario,
            threads: self.threads,
            isa: engine.isa().to_owned(),
            queries,
            latency_ms: Latency {
                p50: percentile(&sorted, 0.5),
                p90: percentile(&sorted, 0.9),
                p99: percentile(&sorted, 0.99),
                reported: self
                    .scenario
                    .percentile()
                    .and_then(|p| early_stopping::reported(&sorted, p)),
            },
            images_per_second: (queries * images) as f64 / total * 1000.0,
            peak_share: (share.integer_macs > 0).then_some(rate / peak),
            peak_gmacs: peak / 1e9,
            integer_gmacs: share.integer_macs as f64 / 1e9,
            float_gmacs: share.float_macs as f64 / 1e9,
            load_ms,
            rss_mb: memory("VmRSS")?,
            peak_rss_mb: memory("VmHWM")?,
            bundle_mb: fs::metadata(&self.bundle)?.len() as f64 / 1e6,
            layers,
        })
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

/// Median time of each layer.
fn layers(engine: &mut Engine, input: &[f32], peak: f64) -> Result<Vec<Layer>> {
    let began = Instant::now();
    let runs = (0..LAYER_RUNS)
        .map(|_| Ok(engine.run_timed(input, move || began.elapsed())?.1))
        .collect::<Result<Vec<_>>>()?;
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
        }
    };
    Ok(engine.layers().into_iter().enumerate().map(layer).collect())
}

/// Nearest rank; `sorted` is not empty.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A field of /proc/self/status, 10⁶ bytes.
fn memory(field: &str) -> Result<f64> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .with_context(|| format!("/proc/self/status has no {field}"))?;
    Ok(kib * 1024.0 / 1e6)
}

/// For people: the layers that take most, then the summary.
fn table(m: &Measured) -> String {
    let mut text = String::new();
    let mut layers: Vec<_> = m.layers.iter().collect();
    layers.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let all: f64 = layers.iter().map(|layer| layer.ms).sum();
    for layer in layers.iter().take(12) {
        let share =
            layer.peak_share.map(|s| format!("{:3.0} % of peak", s * 100.0)).unwrap_or_default();
        let _ = writeln!(
            text,
            "{:8.3} ms {:4.1} %  {:18} {:40} {share}",
            layer.ms,
            layer.ms / all * 100.0,
            layer.kind,
            layer.name
        );
    }
    let Latency { p50, p90, p99, reported } = m.latency_ms;
    let reported = reported.map(|r| format!("{r:.3}")).unwrap_or_else(|| "-".into());
    let _ = writeln!(
        text,
        "{} · {} threads · {} · {} queries\n\
         latency ms: p50 {p50:.3}, p90 {p90:.3}, p99 {p99:.3}, reported {reported} · {:.1} images/s\n\
         {:.3} GMAC int8, {:.3} float · {} of {:.0} GMAC/s peak · load {:.0} ms · {:.0} MB resident, bundle {:.1} MB",
        m.bundle,
        m.threads,
        m.isa,
        m.queries,
        m.images_per_second,
        m.integer_gmacs,
        m.float_gmacs,
        m.peak_share.map(|s| format!("{:.0} %", s * 100.0)).unwrap_or_else(|| "-".into()),
        m.peak_gmacs,
        m.load_ms,
        m.rss_mb,
        m.bundle_mb,
    );
    text
}
