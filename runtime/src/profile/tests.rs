//! What is chosen, and what `[worker]` may change.

use super::{threads::Allowed, *};
use protocol::{Core, Derating, Profile};
use rustix::thread::sched_getaffinity;
use std::{fs, path::Path, time::Duration};

/// Four big cores behind four little ones.
fn big_little() -> Profile {
    let core = |number| Core {
        number,
        capacity: if number < 4 { 530 } else { 1024 },
        megahertz: None,
        shares: None,
    };
    Profile {
        name: "generic".into(),
        cores: (0..8).map(core).collect(),
        chosen: vec![4, 5, 6, 7],
        pinned: true,
        power: Vec::new(),
        heat: Heat::default(),
    }
}

fn worker(text: &str) -> WorkerConfig {
    toml::from_str(text).unwrap()
}

#[test]
fn the_configuration_has_the_last_word() {
    let choose = |text: &str| {
        let threads = Threads::among(&big_little(), &worker(text), &Allowed::default());
        (threads.count, threads.cores.len())
    };
    assert_eq!(choose(""), (4, 4));
    assert_eq!(choose("threads = 2"), (2, 4));
    assert_eq!(choose("pin = false"), (4, 0));
    // As many as there are cores, little ones included: bound to four they would wait for each other.
    assert_eq!(choose("threads = 8"), (8, 0));
}

#[test]
fn cores_that_the_process_may_not_use_are_not_counted_on() {
    let choose = |cores: &[u16], at_a_time| {
        let allowed = Allowed { cores: Some(cores.to_vec()), at_a_time: Some(at_a_time) };
        Threads::among(&big_little(), &worker(""), &allowed)
    };
    assert_eq!(choose(&[2, 3, 4, 5], 4), Threads { count: 2, cores: vec![4, 5] });
    assert_eq!(choose(&[4, 5, 6, 7], 1), Threads { count: 1, cores: vec![4, 5, 6, 7] });
    assert_eq!(choose(&[0, 1], 2), Threads { count: 1, cores: vec![] });
}

#[test]
fn a_thread_is_bound_with_those_it_starts_and_only_until_the_work_is_done() {
    let before = sched_getaffinity(None).unwrap();
    let first = (0..1024).find(|&core| before.is_set(core)).unwrap();
    let threads = Threads { count: 1, cores: vec![first as u16] };
    let seen = threads
        .bound(|| std::thread::spawn(|| sched_getaffinity(None).unwrap().count()).join().unwrap());
    assert_eq!(seen, 1);
    assert_eq!(sched_getaffinity(None).unwrap(), before);
    // A core that is not there is no reason not to work.
    assert_eq!(Threads { count: 1, cores: vec![1000] }.bound(|| 5), 5);
}

fn hot(folder: &Path, celsius: u32) {
    let zone = folder.join("sys/class/thermal/thermal_zone0");
    fs::create_dir_all(&zone).unwrap();
    for (name, text) in [
        ("type", "cpu-thermal".to_owned()),
        ("temp", format!("{}000", celsius)),
        ("trip_point_0_type", "passive".to_owned()),
        ("trip_point_0_temp", "90000".to_owned()),
        ("trip_point_1_type", "critical".to_owned()),
        ("trip_point_1_temp", "105000".to_owned()),
    ] {
        fs::write(zone.join(name), text).unwrap();
    }
}

#[test]
fn heat_is_told_and_obeyed_unless_the_configuration_forbids_it() {
    let folder = tempfile::tempdir().unwrap();
    let sysroot = format!("sysroot = {:?}\nthreads = 4\n", folder.path());
    let status = |celsius, more: &str| {
        hot(folder.path(), celsius);
        let compute = Compute::new(&worker(&format!("{sysroot}{more}")));
        let pause = compute.cooling.pause(Duration::from_millis(70));
        (compute.status(), pause)
    };
    let (cool, pause) = status(60, "");
    assert_eq!((cool.working, pause, cool.warnings().len()), (4, None, 0));
    let (warm, pause) = status(91, "");
    assert_eq!((warm.working, pause), (2, None));
    assert!(warm.warnings()[0].contains("cpu-thermal 91.0 °C, limit 90.0 °C"), "{warm:?}");
    let (hot, pause) = status(101, "");
    assert_eq!((hot.working, hot.heat.derating), (1, Derating::Pauses));
    assert_eq!(pause, Some(Duration::from_millis(70)));
    let (told, pause) = status(101, "derate = false");
    assert_eq!((told.working, pause, told.heat.celsius), (4, None, Some(101.0)));
}
