//! Times a model when told to, so that engines can take turns on one machine.
//!
//! `alternate MODEL.onnx THREADS [IMAGE.f32]`: prints the load time in milliseconds and `ready`; then answers each line
//! on standard input: `N` runs N times and prints the N latencies in milliseconds, `outputs` prints the results,
//! `outputs IMAGE.f32` those of another image, and `memory` the resident and the highest resident megabytes, all as
//! JSON, `layers` a table with the machine's peak. The instruction set is `CXR_ISA` or the best.
//! `runtime/benches/peers.py` speaks to it.
#![expect(clippy::print_stdout, reason = "a program that answers on its output")]

use engine::{Engine, Options};
use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant;
use std::{env, fs};

const USAGE: &str = "expected MODEL.onnx THREADS [IMAGE.f32]";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ([model, threads], image) = arguments.split_first_chunk().ok_or(USAGE)?;
    let bytes = fs::read(model)?;
    let start = Instant::now();
    let mut engine = Engine::from_onnx(&bytes, &[], &Options::threads(threads.parse()?))?;
    drop(bytes);
    let load = milliseconds(start);
    let image = match image {
        [] => vec![0.5; engine.input_shape().iter().product()],
        [file] => floats(&fs::read(file)?)?,
        _ => return Err(USAGE.into()),
    };
    engine.run(&image)?;
    let (first, isa) = (milliseconds(start), engine.isa());
    println!("load {load:.1} ms, first result {first:.1} ms, {isa}\nready");
    stdout().flush()?;
    for line in stdin().lock().lines() {
        let line = line?;
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("layers", _) => layers(&mut engine, &image)?,
            ("outputs", "") => outputs(&mut engine, &image)?,
            ("outputs", file) => outputs(&mut engine, &floats(&fs::read(file)?)?)?,
            ("memory", _) => memory()?,
            (count, _) => {
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

/// Little-endian numbers of a file.
fn floats(bytes: &[u8]) -> Result<Vec<f32>, Box<dyn Error>> {
    let (numbers, []) = bytes.as_chunks::<4>() else {
        return Err(format!("an image of {} bytes, expected a multiple of 4", bytes.len()).into());
    };
    Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// `{"name":[values]}` on one line; Rust's shortest decimals give the same bits back.
fn outputs(engine: &mut Engine, image: &[f32]) -> Result<(), Box<dyn Error>> {
    let results = engine.run(image)?.outputs;
    let all = results.iter().map(|output| format!("{:?}:{:?}", output.name, output.data));
    println!("{{{}}}", all.collect::<Vec<_>>().join(","));
    Ok(())
}

/// Resident and highest resident size, in 10⁶ bytes.
fn memory() -> Result<(), Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kib.map(|kib| format!("{name:?}:{:.3}", kib * 1.024e-3)).ok_or(name.to_owned())
    };
    println!("{{{},{}}}", field("VmRSS")?, field("VmHWM")?);
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
    let peak = kernels::peak_macs_per_second(kernels::Isa::from_name(engine.isa())?) / 1e9;
    println!("sum {:.3} ms, peak {peak:.1} GMAC/s of one thread", best.iter().sum::<f64>() / 1e3);
    Ok(())
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
