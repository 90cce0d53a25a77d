//! Whatever operators, servers, daemons, clocks, disks and the mains do, in any order: a confirmed bundle always boots,
//! no bundle is confirmed without a proof but by force, and a server hears one outcome of each order, a true one.
//!
//! `MODEL_CASES` says how many histories are tried; each has up to 60 steps. What happened in them is then in
//! `target/tmp/random.json`.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../memory/mod.rs"]
mod memory;
#[path = "../support/mod.rs"]
mod support;

mod server;
mod world;

use firmware_host::agent::action::Permits;
use memory::OUTCOMES;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use protocol::{Moment, SlotId};
use server::Line;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use world::{FILES, Op, Step, TERMS, WORDS, Word, World, said};

fn ops() -> impl Strategy<Value = Op> {
    let file = 0..FILES;
    prop_oneof![
        2 => file.clone().prop_map(Op::Begin),
        4 => (file.clone(), 1..2_500_usize).prop_map(|(file, length)| Op::Write(file, length)),
        2 => file.clone().prop_map(Op::Finish),
        5 => file.clone().prop_map(Op::Push),
        1 => prop::sample::select(&SlotId::ALL[..]).prop_map(Op::Verify),
        6 => file.clone().prop_map(Op::Activate),
        4 => Just(Op::Confirm(Word::Honest)),
        3 => prop::sample::select(&WORDS[..]).prop_map(Op::Confirm),
        1 => file.prop_map(Op::Force),
        2 => Just(Op::Rollback),
        1 => Just(Op::EndTrial),
        1 => (0..4_u64).prop_map(Op::DaemonDied),
        2 => Just(Op::AgentStarts),
        1 => Just(Op::Reboot),
        1 => (0..1000_u64).prop_map(Op::Later),
        1 => any::<u64>().prop_map(Op::WallJumps),
        1 => any::<bool>().prop_map(Op::DiskFull),
        3 => (0..FILES).prop_map(Op::Order),
        8 => (permits(), line()).prop_map(|(permits, line)| Op::Poll(permits, line)),
        2 => line().prop_map(Op::Look),
        1 => Just(Op::Cancel),
        5 => (0..FILES).prop_map(Op::Fleet),
    ]
}

/// What the server lets the box do, should it want anything.
fn permits() -> impl Strategy<Value = Option<Permits>> {
    let all = Permits { download: true, update: true };
    let window_shut = Permits { update: false, ..all };
    prop::sample::select(vec![Some(all), Some(all), Some(window_shut), None])
}

fn line() -> impl Strategy<Value = Line> {
    prop::sample::select(vec![Line::Good, Line::Good, Line::AnswerLost, Line::ReportLost])
}

fn steps() -> impl Strategy<Value = Step> {
    let outcome = prop::sample::select(&OUTCOMES[..]);
    let cut = prop::option::weighted(0.15, (0..14_usize, outcome));
    let hiccup = prop::option::weighted(0.1, 1..14_usize);
    (ops(), cut, hiccup).prop_map(|(op, cut, hiccup)| Step { op, cut, hiccup })
}

fn cases() -> u32 {
    std::env::var("MODEL_CASES").map_or(300, |cases| cases.parse().expect("a number"))
}

#[test]
fn a_confirmed_bundle_always_boots_none_is_confirmed_unproven_and_a_server_hears_the_truth() {
    let config =
        ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    let counts = Mutex::new(BTreeMap::<String, u64>::new());
    let histories = prop::collection::vec(steps(), 1..60);
    let tried = TestRunner::new(config).run(&histories, |steps| {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
        world.calm_down();
        let mut counts = counts.lock().unwrap();
        *counts.entry("histories".into()).or_default() += 1;
        for (what, count) in world.counts {
            *counts.entry(what.to_owned()).or_default() += count;
        }
        Ok(())
    });
    tried.unwrap();
    let text = serde_json::to_string_pretty(&counts.into_inner().unwrap()).unwrap();
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("random.json"), text).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// The wall clock may say what it likes.
    #[test]
    fn no_wall_clock_changes_a_proof(walls in any::<[u64; 2]>(), kind in prop::sample::select(&WORDS[..])) {
        let mut world = World::new();
        world.apply(Op::Push(0)).unwrap();
        world.apply(Op::Activate(0)).unwrap();
        let record = world.slots.record();
        let trial = record.candidate_on_trial().unwrap();
        let judged = walls.map(|wall| {
            let now = Moment { wall, ..world.now };
            said(kind, record, &now).prove(trial, &TERMS, &now)
        });
        prop_assert_eq!(&judged[0], &judged[1]);
        prop_assert_eq!(judged[0].is_ok(), matches!(kind, Word::Honest));
    }
}

/// The histories are worth something: without a proof in the way, the model would notice.
#[test]
fn the_model_would_notice_a_confirm_without_a_proof() {
    let mut world = World::new();
    for op in [Op::Push(0), Op::Activate(0), Op::Confirm(Word::Honest)] {
        world.apply(op).unwrap();
    }
    world.check();
    world.proven.clear();
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.check()));
    assert!(noticed.is_err());
}

/// And a report that is not true, or told twice.
#[test]
fn the_model_would_notice_a_false_report() {
    for false_reports in [vec![true], vec![false, false]] {
        let mut world = World::new();
        world.apply(Op::Order(0)).unwrap();
        world.check();
        world.server.reported(false_reports);
        let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.check()));
        assert!(noticed.is_err());
    }
}
