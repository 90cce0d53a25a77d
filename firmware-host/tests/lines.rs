//! Lines that are worse than TCP: serial ones, and ones that flip bits.

mod support;

use firmware_host::link::connect_tcp;
use firmware_host::{Device, Patience};
use protocol::{Digest, SlotId};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use support::{Agent, bundle, key, states};

#[test]
fn a_box_on_a_pseudo_terminal_is_used_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.0.0");
    fs::write(&path, bundle("1.0.0", 300_000, Some(&key()))).unwrap();
    let path = path.to_str().unwrap();
    let agent = Agent::start(folder.path(), "[listen]\npty = \"link\"\n");
    assert!(agent.address.starts_with("pty://"));
    agent.ok(&["push", path]);
    agent.ok(&["activate"]);
    agent.confirm();
    assert_eq!(agent.states(), states("confirmed", "empty", "a"));
    assert_eq!(agent.ok(&["info"])["frames_dropped"], 0);
    // A new start makes a new terminal behind the same name.
    agent.kill();
    let agent = Agent::start(folder.path(), "");
    assert_eq!(agent.states(), states("confirmed", "empty", "a"));
}

/// Forwards bytes and flips one bit in every so many; counts the flips.
fn flip(mut from: TcpStream, mut to: TcpStream, every: usize, flips: Arc<AtomicU64>) {
    let (mut bytes, mut passed) = ([0; 4096], 0);
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        for byte in &mut bytes[..length] {
            passed += 1;
            if passed % every == 0 {
                *byte ^= 1 << (passed / every % 8);
                flips.fetch_add(1, Ordering::Relaxed);
            }
        }
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
}

#[test]
fn a_push_over_a_line_that_flips_bits_arrives_whole() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = connect_tcp(&proxy.local_addr().unwrap().to_string()).unwrap();
    let (proxy, _) = proxy.accept().unwrap();
    let there = connect_tcp(agent.address.strip_prefix("tcp://").unwrap()).unwrap();
    let flips = Arc::new(AtomicU64::new(0));
    for (from, to, every) in [(&proxy, &there, 300_007), (&there, &proxy, 1_009)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let flips = Arc::clone(&flips);
        thread::spawn(move || flip(from, to, every, flips));
    }
    let file = bundle("1.0.0", 2 << 20, Some(&key()));
    let patience = Patience { silence: Duration::from_millis(200), call: Duration::from_secs(60) };
    let mut device = Device::open(Box::new(here), patience).unwrap();
    let mut pushed = device.push(&file, Digest(Sha256::digest(&file).into()), |_| {});
    // A begin or finish may be the one that is hit: what a verb does with `--retry`.
    for _ in 0..20 {
        if pushed.is_ok() {
            break;
        }
        pushed = device.push(&file, Digest(Sha256::digest(&file).into()), |_| {});
    }
    assert_eq!(pushed.unwrap(), SlotId::A);
    assert!(flips.load(Ordering::Relaxed) > 3);
    assert_eq!(fs::read(folder.path().join("slots/slot-a.bundle")).unwrap(), file);
    assert!(agent.ok(&["info"])["frames_dropped"].as_u64().unwrap() > 3);
}
