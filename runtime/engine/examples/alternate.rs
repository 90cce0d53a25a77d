//! Times a model when told to, so that engines can take turns on one machine.
//!
//! `alternate MODEL.onnx THREADS`: prints the load time in milliseconds and `ready`; then for each line `N` on
//! standard input runs N times and prints the N latencies in milliseconds. `layers` prints a table instead.
//! The instruction set is `CXR_ISA` or the best.
#![expect(clippy::print_stdout, reason = "a program that answers on its output")]

use engine::{Engine, Options};
use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, threads] = &arguments[..] else { return Err("expected MODEL.onnx THREADS".into()) };
    let bytes = fs::read(model)?;
    let start = Instant::now();
    let mut engine = Engine::from_onnx(&bytes, &[], &Options::threads(threads.parse()?))?;
    drop(bytes);
    let load = milliseconds(start);
    let image = vec![0.5; engine.input_shape().iter().product()];
    engine.run(&image)?;
    let (first, isa) = (milliseconds(start), engine.isa());
    println!("load {load:.1} ms, first result {first:.1} ms, {isa}\nready");
    stdout().flush()?;
    for line in stdin().lock().lines() {
        match line?.trim() {
            "layers" => layers(&mut engine, &image)?,
            count => {
                let mut latencies = Vec::new();
                for _ in 0..count.parse()? {
                    let start = Instant::now();
                    engine.run(&image)?;
                    latencies.push(format!("{:.4}", milliseconds(start)));
                }
                println!("{}", latencies.join(" "));
            }
        }
        stdout().flush()?;
    }
    Ok(())
}

/// Fastest of 30 runs, layer by layer.
fn layers(engine: &mut Engine, image: &[f32]) -> Result<(), Box<dyn Error>> {
    let layers = engine.layers();
    let mut best = vec![f64::INFINITY; layers.len()];
    for _ in 0..30 {
        let start = Instant::now();
        let (_, times) = engine.run_timed(image, move || start.elapsed())?;
        best.iter_mut().zip(times).for_each(|(best, t)| *best = best.min(t.as_secs_f64() * 1e6));
    }
    for (layer, micros) in layers.iter().zip(&best) {
        let [c, h, w] = layer.output;
        let rate = layer.macs as f64 / micros / 1e3;
        println!(
            "{:<44} {:<22} {c:>5}x{h}x{w:<4} {micros:>9.1} us {rate:>7.1} GMAC/s",
            layer.name, layer.kind
        );
    }
    println!("sum {:.3} ms", best.iter().sum::<f64>() / 1e3);
    Ok(())
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
