//! How many images are answered a second, and how long `/health` takes beside 16 senders. Prints and asserts nothing
//! about time:
//! `cargo test -p runtime --test rate -- --ignored --nocapture`. `RUNTIME_BEFORE` names another binary to compare
//! with; rates of one run may be compared, those of two may not.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

mod common;

use common::{Daemon, Settings, fixtures, model, scu::Scu};
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

const IMAGES: u32 = 60;

#[test]
#[ignore = "a measurement"]
fn answers_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = model::trusted(&model::write(folder.path(), 1));
    let before = std::env::var("RUNTIME_BEFORE").ok();
    for round in 0..3 {
        let ours = env!("CARGO_BIN_EXE_runtime");
        for (name, binary) in [("before", before.as_deref()), ("now", Some(ours))] {
            let Some(binary) = binary else { continue };
            // Stored while no bundle answers, so that only answers are timed.
            let daemon = Daemon::start(Settings { binary: Some(binary), ..Settings::default() });
            let mut scu = Scu::associate(daemon.dicom);
            let began = Instant::now();
            for seed in 0..IMAGES {
                let uid = format!("1.2.{seed}");
                // 632 x 632 pixels of 16 bits: 0.8 MB.
                let dataset =
                    fixtures::encode(&fixtures::chest(&uid, 632, seed), fixtures::IMPLICIT);
                assert_eq!(scu.store_bytes(&uid, &dataset), 0);
            }
            let stored = began.elapsed().as_secs_f64();
            let settings =
                Settings { bundle: &trusted, binary: Some(binary), ..Settings::default() };
            let daemon = daemon.kill_and_restart(settings);
            let began = Instant::now();
            let first = daemon.wait("the first answer", |daemon| {
                Some(daemon.metric("cxr_answer_seconds_count")).filter(|count| *count > 0)
            });
            let since = Instant::now();
            daemon.wait("all answers", |daemon| {
                (daemon.metric("cxr_answer_seconds_count") == u64::from(IMAGES)).then_some(())
            });
            let rate = f64::from(IMAGES - first as u32) / since.elapsed().as_secs_f64();
            let stores = f64::from(IMAGES) / stored;
            println!(
                "{round} {name}: {rate:.1} answers/s ({:.1} s in all), {stores:.1} stores/s",
                began.elapsed().as_secs_f64()
            );
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn health_beside_sixteen_senders() {
    let before = std::env::var("RUNTIME_BEFORE").ok();
    for round in 0..3 {
        let ours = env!("CARGO_BIN_EXE_runtime");
        for (name, binary) in [("before", before.as_deref()), ("now", Some(ours))] {
            let Some(binary) = binary else { continue };
            let daemon = Daemon::start(Settings { binary: Some(binary), ..Settings::default() });
            let done = AtomicBool::new(false);
            let (mut times, stored) = std::thread::scope(|scope| {
                let send = |sender: u32| {
                    let (daemon, done) = (&daemon, &done);
                    scope.spawn(move || {
                        let mut scu = Scu::associate(daemon.dicom);
                        let mut stored = 0;
                        while !done.load(Relaxed) {
                            assert_eq!(scu.store(&format!("1.2.{sender}.{stored}"), stored), 0);
                            stored += 1;
                        }
                        stored
                    })
                };
                let senders: Vec<_> = (0..16).map(send).collect();
                let ask = |_| {
                    std::thread::sleep(Duration::from_millis(5)); // so that many stores lie between
                    let began = Instant::now();
                    daemon.get("/health");
                    began.elapsed()
                };
                let times: Vec<Duration> = (0..1000).map(ask).collect();
                done.store(true, Relaxed);
                let stored: u32 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
                (times, stored)
            });
            times.sort();
            println!("{round} {name}: p50 {:?}, p99 {:?}, {stored} stores", times[500], times[990]);
        }
    }
}
