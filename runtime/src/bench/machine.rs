//! What the machine is and could do, asked of the machine.

use anyhow::{Context, Result};
use kernels::Isa;
use std::{fs, path::Path, thread};

/// Multiplications per second of `threads` threads at once, each with `isa`'s dot product and everything in registers.
///
/// Measured with all of them busy: two threads of one core, or a clock that falls under load, are part of the machine.
pub(crate) fn peak(isa: Isa, threads: u32) -> f64 {
    thread::scope(|scope| {
        let all: Vec<_> =
            (0..threads).map(|_| scope.spawn(move || kernels::peak_macs_per_second(isa))).collect();
        all.into_iter().map(|one| one.join().expect("the loop of a micro-benchmark")).sum()
    })
}

/// A field of /proc/self/status, 10⁶ bytes.
pub(crate) fn memory(field: &str) -> Result<f64> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .with_context(|| format!("/proc/self/status has no {field}"))?;
    Ok(kib * 1024.0 / 1e6)
}

/// Whether a folder lies in a file system that is memory.
pub(crate) fn is_in_memory(folder: &Path) -> Result<bool> {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    let found = rustix::fs::statfs(folder).with_context(|| folder.display().to_string())?;
    Ok(found.f_type == TMPFS)
}

/// Its name, as the kernel gives it; ARM kernels give numbers instead.
pub(crate) fn processor() -> String {
    let described = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = described.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let numbers = || Some(format!("{} part {}", field("CPU implementer")?, field("CPU part")?));
    field("model name").or_else(numbers).unwrap_or_else(|| "unknown".into())
}
