//! What the machine could do: the rate at which an instruction set multiplies bytes with everything in registers.

use std::time::{Duration, Instant};

use crate::isa::Isa;

/// Multiply-accumulates per second of one thread with `isa`'s dot product instruction, operands in registers:
/// the best of several short measurements, since other programs and the clock can only make it slower. Takes
/// about 50 ms.
///
/// Measure it in the same process and as close as possible to what it is compared with: clocks drift.
pub fn peak_macs_per_second(isa: Isa) -> f64 {
    let peak = isa.peak();
    let measure = |rounds: usize| {
        let start = Instant::now();
        // SAFETY: `isa` proves that the CPU has the instructions.
        let macs = unsafe { peak(rounds) };
        (macs, start.elapsed())
    };
    let mut rounds = 1000;
    while measure(rounds).1 < Duration::from_millis(2) {
        rounds *= 2;
    }
    let rate = |(macs, time): (u64, Duration)| macs as f64 / time.as_secs_f64();
    (0..12).map(|_| rate(measure(rounds))).fold(0.0, f64::max)
}
