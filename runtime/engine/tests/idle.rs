//! The box is fanless: between images the threads of the pool sleep.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "int8/qdq.rs"]
#[expect(dead_code, reason = "not every layer is drawn here")]
mod qdq;

use engine::{Engine, Options};
use qdq::{Layer, Qdq, Rectify};
use std::fs;
use std::time::Duration;

/// Processor time of all threads of this process so far.
fn processor_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks.map(|task| {
        let statistics = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        statistics.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}

#[test]
fn threads_sleep_between_images() {
    let (mut net, x) = Qdq::new(1, false, [3, 40, 40]);
    let y = net.conv(&x, Layer::square(64, 3, 1, Rectify::Relu));
    let z = net.conv(&y, Layer::square(64, 3, 1, Rectify::Relu));
    net.output(&z);
    let mut engine = Engine::from_onnx(&net.bytes(), &[], &Options::threads(4)).unwrap();
    let image = vec![0.5; 3 * 40 * 40];
    let before = processor_time();
    engine.run(&image).unwrap();
    let busy = processor_time() - before;
    assert!(busy > Duration::from_micros(100), "the clock does not count: {busy:?}");

    // They look for more work for about 30 µs; that is over long before this nap is.
    std::thread::sleep(Duration::from_millis(20));
    let before = processor_time();
    std::thread::sleep(Duration::from_millis(300));
    let idle = processor_time() - before;
    assert!(idle < Duration::from_millis(3), "{idle:?} of processor time while idle");
}
