//! What language takes of the network's time: `beside ROUNDS WITHOUT.bundle WITH.bundle`, two bundles of one checkpoint. They
//! run one image on one thread in turns; phrases are scored and heat maps drawn where a bundle has them. Of each layer the
//! least time counts, and these are added up: other programs only ever make a layer slower.
#![expect(clippy::print_stdout, reason = "a program")]

use bundle::Bundle;
use engine::{Engine, Options, ZeroShot};
use graph::Placement;
use std::error::Error;
use std::time::{Duration, Instant};
use std::{env, path::Path};

const USAGE: &str = "expected ROUNDS WITHOUT.bundle WITH.bundle";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [rounds, without, with] = arguments.as_slice() else { return Err(USAGE.into()) };
    let (mut without, mut with) = (Turns::open(without)?, Turns::open(with)?);
    for _ in 0..rounds.parse()? {
        without.take()?;
        with.take()?;
    }
    let (base, whole) = (without.least(), with.least());
    println!("network without language: {base:.2} ms, {}", without.describe());
    println!("network with language: {:.2} ms, {}", whole - with.phrases(), with.describe());
    println!("findings and maps: {:.2} ms", with.phrases());
    println!("language: {:.2} ms, {:.1} %", whole - base, (whole / base - 1.0) * 100.0);
    Ok(())
}

/// A bundle and its least times.
struct Turns {
    engine: Engine,
    zero_shot: Option<ZeroShot>,
    input: Vec<f32>,
    placed: Placement,
    layers: Vec<Duration>,
    phrases: Duration,
}

impl Turns {
    fn open(file: &str) -> Result<Self, Box<dyn Error>> {
        let bundle = Bundle::open(Path::new(file))?;
        let engine = Engine::open(&bundle, &Options::threads(1))?;
        let zero_shot = ZeroShot::open(&bundle, &engine)?;
        let preprocess = bundle.manifest.preprocess;
        let golden = bundle.golden()?;
        let vector = golden.vectors.first().ok_or_else(|| format!("{file}: no golden vectors"))?;
        Ok(Self {
            input: vector.input(&preprocess),
            placed: preprocess.place([preprocess.height, preprocess.width]),
            layers: vec![Duration::MAX; engine.layers().len()],
            phrases: if zero_shot.is_some() { Duration::MAX } else { Duration::ZERO },
            engine,
            zero_shot,
        })
    }

    fn take(&mut self) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        let (outputs, times) = self.engine.run_timed(&self.input, move || start.elapsed())?;
        self.layers.iter_mut().zip(times).for_each(|(least, time)| *least = time.min(*least));
        if let Some(zero_shot) = &mut self.zero_shot {
            let start = Instant::now();
            zero_shot.tell(&outputs, &self.placed)?;
            self.phrases = start.elapsed().min(self.phrases);
        }
        Ok(())
    }

    /// Milliseconds of an image.
    fn least(&self) -> f64 {
        self.layers.iter().sum::<Duration>().as_secs_f64() * 1e3 + self.phrases()
    }

    /// Milliseconds of scores and maps.
    fn phrases(&self) -> f64 {
        self.phrases.as_secs_f64() * 1e3
    }

    fn describe(&self) -> String {
        let macs = self.engine.integer_share().integer_macs / 1_000_000;
        let findings = self.zero_shot.as_ref().map_or(0, |it| it.codes().len());
        format!("{macs} million multiplications, {findings} findings, {}", self.engine.isa())
    }
}
