//! Times a file's way to the network's input when told to, so that others can take turns on the same machine.
//!
//! `pixels FILE`: prints `ready`; then answers each line on standard input: `N` reads the file's bytes N times and prints
//! the N times in milliseconds, `stages N` prints the times of each stage as JSON, `decode N` reads N times without the
//! network's input, `input` prints the network's input as JSON and
//! `bandwidth` how many gigabytes a second this processor reads from memory. `runtime/benches/pixels.py` speaks to it.
#![expect(clippy::print_stdout, reason = "a program that answers on its output")]

use graph::Preprocess;
use radiograph::{gate, network_input, read};
use std::error::Error;
use std::hint::black_box;
use std::io::{Write, stdin, stdout};
use std::time::Instant;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let file = env::args_os().nth(1).ok_or("expected FILE")?;
    let bytes = fs::read(file)?;
    run(&bytes)?;
    println!("ready");
    stdout().flush()?;
    for line in stdin().lines() {
        match line?.split_whitespace().collect::<Vec<_>>()[..] {
            ["input"] => println!("{:?}", input(&bytes)?),
            ["bandwidth"] => println!("{:.2}", gigabytes_per_second()),
            ["stages", count] => {
                let times = (0..count.parse()?).map(|_| run(&bytes));
                let [read, gate, input] = columns(&times.collect::<Result<Vec<_>, _>>()?);
                println!("{{\"read\":{read:?},\"gate\":{gate:?},\"input\":{input:?}}}");
            }
            ["decode", count] => {
                for _ in 0..count.parse()? {
                    black_box(read(&bytes)?);
                }
                println!("{count}");
            }
            [count] => {
                let mut times = Vec::new();
                for _ in 0..count.parse()? {
                    let start = Instant::now();
                    black_box(input(&bytes)?);
                    times.push(format!("{:.4}", milliseconds(start)));
                }
                println!("{}", times.join(" "));
            }
            _ => return Err("expected N, stages N, decode N, input or bandwidth".into()),
        }
        stdout().flush()?;
    }
    Ok(())
}

fn input(bytes: &[u8]) -> Result<Vec<f32>, Box<dyn Error>> {
    Ok(network_input(&read(bytes)?.image, &Preprocess::PRIOR))
}

/// Milliseconds of reading, of the gate, and of resizing and normalising.
fn run(bytes: &[u8]) -> Result<[f64; 3], Box<dyn Error>> {
    let start = Instant::now();
    let radiograph = read(bytes)?;
    let read = milliseconds(start);
    let start = Instant::now();
    let _ = black_box(gate(&radiograph));
    let gate = milliseconds(start);
    let start = Instant::now();
    black_box(network_input(&radiograph.image, &Preprocess::PRIOR));
    Ok([read, gate, milliseconds(start)])
}

fn columns(rows: &[[f64; 3]]) -> [Vec<f64>; 3] {
    [0, 1, 2].map(|at| rows.iter().map(|row| row[at]).collect())
}

/// The best reading of 16 MB, each short enough for a turn of its own on a busy machine, of more than caches hold.
fn gigabytes_per_second() -> f64 {
    let numbers = vec![1u64; 128 << 20];
    let read = |part: &[u64]| {
        let start = Instant::now();
        black_box(part.iter().fold(0, |all: u64, x| all.wrapping_add(*x)));
        size_of_val(part) as f64 / 1e6 / milliseconds(start)
    };
    let rounds = [0, 1, 2].map(|_| numbers.chunks_exact(2 << 20).map(read).fold(0.0, f64::max));
    rounds.into_iter().fold(0.0, f64::max)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
