//! Least time of scoring one image, in milliseconds: `cost [FINDINGS PROTOTYPES [WIDTH]]`. Other programs only ever make
//! it slower, so the least of many runs is what it takes.
#![expect(clippy::print_stdout, reason = "a program")]

use kernels::{Isa, Pool};
use language::{Codes, Language, MapCodes, Scorer, Space, TrialImage};
use std::{env, error::Error, sync::Arc, time::Instant};

const RUNS: usize = 300;

fn main() -> Result<(), Box<dyn Error>> {
    let numbers =
        env::args().skip(1).map(|text| text.parse()).collect::<Result<Vec<usize>, _>>()?;
    let number = |at: usize, usual: usize| numbers.get(at).copied().unwrap_or(usual);
    let (findings, prototypes, width) = (number(0, 20), number(1, 1024), number(2, 768));
    let space = Space { id: [0; 32], width: u32::try_from(width)?, grid: [7, 7] };
    let language = Language::drawn(space, findings, prototypes, 1).with_usual(2);
    let (isa, pool) = (Isa::from_env()?, Arc::new(Pool::new(1)));
    let codes = Codes { scale: 1.0 / 64.0, zero: 128 };
    let codes = MapCodes { places: codes, global_places: Some(codes) };
    let mut scorer = Scorer::new(&language, &[], codes, isa, &pool)?;
    let image = TrialImage::new(&space, 1);
    let (mut score, mut nearest) = (f64::MAX, f64::MAX);
    for _ in 0..RUNS {
        let start = Instant::now();
        std::hint::black_box(scorer.score(image.image()));
        score = score.min(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        std::hint::black_box(scorer.nearest(image.image(), 3));
        nearest = nearest.min(start.elapsed().as_secs_f64() * 1e3);
    }
    let sentences = prototypes.div_ceil(2);
    println!(
        "{findings} findings {score:.3} ms, {sentences} sentences {nearest:.3} ms, {}",
        isa.name()
    );
    Ok(())
}
