//! Lines that are worse than TCP: serial ones, and ones that flip bits.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use firmware_host::link::line::Caller;
use firmware_host::link::tls::{Client, Identity, Records};
use firmware_host::link::{Link, Tty, connect_tcp};
use firmware_host::{Device, Patience};
use protocol::encode_frame;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use support::{Agent, bundle, key, of_the_box, ours, run, states};

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
fn flip(mut from: TcpStream, mut to: TcpStream, every: u64, passed: &AtomicU64) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        for byte in &mut bytes[..length] {
            let passed = passed.fetch_add(1, Ordering::Relaxed) + 1;
            if passed.is_multiple_of(every) {
                *byte ^= 1 << (passed / every % 8);
            }
        }
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A way to `there` that flips one bit in every so many towards the box, and from it.
fn noisy(there: String, every: [u64; 2]) -> (String, Arc<[AtomicU64; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let passed = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let counters = Arc::clone(&passed);
    thread::spawn(move || {
        for here in listener.incoming() {
            let (here, there) = (here.unwrap(), connect_tcp(&there).unwrap());
            let (here2, there2) = (here.try_clone().unwrap(), there.try_clone().unwrap());
            let (to, from) = (Arc::clone(&counters), Arc::clone(&counters));
            thread::spawn(move || flip(here, there, every[0], &to[0]));
            thread::spawn(move || flip(there2, here2, every[1], &from[1]));
        }
    });
    (address, passed)
}

/// Every flip breaks the session; the push goes on in the next one.
#[test]
fn a_push_over_a_line_that_flips_bits_arrives_whole() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let (every, file) = ([300_007, 20_011], bundle("1.0.0", 2 << 20, Some(&key())));
    let (address, passed) = noisy(agent.address.strip_prefix("tcp://").unwrap().into(), every);
    let path = folder.path().join("1.0.0");
    fs::write(&path, &file).unwrap();
    let way = agent.way();
    let device = format!("tcp://{address}");
    let push = ["push", path.to_str().unwrap(), "--device", &device, "--retry", "60s", "--json"];
    let pushed = run(&[&push[..], &way[2..]].concat());
    assert!(pushed.status.success(), "{pushed:?}");
    let flips: u64 = (0..2).map(|at| passed[at].load(Ordering::Relaxed) / every[at]).sum();
    assert!(flips > 5, "{flips} flips");
    assert_eq!(fs::read(folder.path().join("slots/slot-a.bundle")).unwrap(), file);
    assert_eq!(agent.states(), states("verified", "empty", "none"));
}

/// A wire between two pseudo-terminals: what goes into the one at the returned path comes out at the agent's,
/// and the other way, less what `spoil` makes of it, each way for itself.
fn wire(agent: &Agent, spoil: impl FnMut(&[u8]) -> Vec<u8> + Clone + Send + 'static) -> PathBuf {
    let there = agent.address.strip_prefix("pty://").unwrap();
    let mut there = Tty::open(Path::new(there), None).unwrap();
    let (mut here, path) = Tty::pair().unwrap();
    thread::spawn(move || {
        let (mut spoil_to, mut spoil_from) = (spoil.clone(), spoil);
        let mut bytes = [0; 4096];
        let (glance, time) = (Duration::from_millis(1), Duration::from_secs(20));
        loop {
            if let Ok(length) = here.receive(&mut bytes, glance)
                && there.send(&spoil_to(&bytes[..length]), time).is_err()
            {
                return;
            }
            if let Ok(length) = there.receive(&mut bytes, glance)
                && here.send(&spoil_from(&bytes[..length]), time).is_err()
            {
                return;
            }
        }
    });
    path
}

/// Does something to one byte in so many.
fn one_in(
    every: usize,
    what: impl Fn(u8, &mut Vec<u8>) + Clone,
) -> impl FnMut(&[u8]) -> Vec<u8> + Clone {
    let mut passed = 0_usize;
    move |bytes| {
        let mut spoiled = Vec::new();
        for &byte in bytes {
            passed += 1;
            if passed.is_multiple_of(every) { what(byte, &mut spoiled) } else { spoiled.push(byte) }
        }
        spoiled
    }
}

/// Does something to one whole frame in so many, however its bytes come.
fn one_frame_in(every: usize, times: usize) -> impl FnMut(&[u8]) -> Vec<u8> + Clone {
    let (mut passed, mut frame) = (0_usize, Vec::new());
    move |bytes| {
        let mut spoiled = Vec::new();
        for &byte in bytes {
            frame.push(byte);
            if byte == 0 {
                let whole = std::mem::take(&mut frame);
                passed += usize::from(whole.len() > 1);
                let is_hit = whole.len() > 1 && passed.is_multiple_of(every);
                let times = if is_hit { times } else { 1 };
                (0..times).for_each(|_| spoiled.extend_from_slice(&whole));
            }
        }
        spoiled
    }
}

fn a_push_survives(spoil: impl FnMut(&[u8]) -> Vec<u8> + Clone + Send + 'static) {
    let said = push_over(spoil);
    assert!(said.contains("trying again"), "{said}");
}

/// What the verb said.
fn push_over(spoil: impl FnMut(&[u8]) -> Vec<u8> + Clone + Send + 'static) -> String {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "[listen]\npty = \"link\"\n");
    let path = folder.path().join("1.0.0");
    let file = bundle("1.0.0", 200_000, Some(&key()));
    fs::write(&path, &file).unwrap();
    let device = format!("pty://{}", wire(&agent, spoil).display());
    let push = ["push", path.to_str().unwrap(), "--device", &device];
    let patience = ["--retry", "100s", "--timeout", "2s", "--json"];
    let pushed = run(&[&push[..], &patience, &agent.way()[2..]].concat());
    assert!(pushed.status.success(), "{pushed:?}\n{}", agent.log());
    assert_eq!(fs::read(folder.path().join("slots/slot-a.bundle")).unwrap(), file);
    String::from_utf8_lossy(&pushed.stderr).into_owned()
}

#[test]
fn a_push_survives_flipped_bits_on_a_serial_line() {
    a_push_survives(one_in(50_021, |byte, to| to.push(byte ^ 4)));
}

#[test]
fn a_push_survives_lost_bytes_on_a_serial_line() {
    a_push_survives(one_in(50_021, |_, _| {}));
}

#[test]
fn a_push_survives_doubled_bytes_on_a_serial_line() {
    a_push_survives(one_in(50_021, |byte, to| to.extend([byte, byte])));
}

#[test]
fn a_push_survives_lost_frames_on_a_serial_line() {
    a_push_survives(one_frame_in(23, 0));
}

/// A frame seen before is passed over: no session breaks.
#[test]
fn doubled_frames_on_a_serial_line_change_nothing() {
    assert_eq!(push_over(one_frame_in(7, 2)).matches("trying again").count(), 0);
}

#[test]
fn what_earlier_peers_left_in_a_line_does_not_confuse_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "[listen]\npty = \"link\"\n");
    let path = PathBuf::from(agent.address.strip_prefix("pty://").unwrap());
    let time = Duration::from_secs(20);
    // One who opens a session and says no more, one in the middle of a session of before, and noise.
    let open = [&[0][..], &[7; 8], &[0; 4], b"half a ClientHello"].concat();
    let stale = [&[1][..], &[9; 8], &[5, 0, 0, 0], b"of a session that nobody has"].concat();
    let noise: Vec<u8> =
        (0..9_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [encode_frame(&open), encode_frame(&stale), noise] {
        let mut peer = Tty::open(&path, None).unwrap();
        peer.send(&bytes, time).unwrap();
        drop(peer);
        assert_eq!(agent.ok(&["ping"])["count"], 5);
    }
    // A box that was started again knows no session; it says so.
    let mut device = device_at(&path);
    device.ping(b"x").unwrap();
    agent.kill();
    let agent = Agent::start(folder.path(), "");
    assert!(device.ping(b"x").is_err());
    agent.ok(&["slots"]);
}

fn device_at(path: &Path) -> Device {
    let identity = Identity::new(&ours());
    let client = Client::new(&identity, Some(of_the_box().verifying_key()), Records::Short);
    let patience = Patience { silence: Duration::from_secs(2), call: Duration::from_secs(20) };
    let line = Caller::new(Tty::open(path, None).unwrap()).unwrap();
    Device::open(Box::new(client.connect(line, patience.call).unwrap()), patience).unwrap()
}

#[test]
fn a_line_without_tls_may_report_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "[listen]\npty = \"link\"\nplain = true\n");
    let plain = |verb: &[&str]| {
        let output = run(&[verb, &["--device", &agent.address, "--plain", "--json"]].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(plain(&["ping"]).0, Some(0));
    for verb in [&["slots"][..], &["logs"], &["rollback"], &["keyring", "show"], &["bench"]] {
        let (status, said) = plain(verb);
        assert_eq!(status, Some(6), "{verb:?}");
        assert!(said.contains("the role report, which may not"), "{verb:?}: {said}");
    }
    // With TLS nobody understands the other, and the verb ends in time.
    let tls = agent.refused(&["slots", "--timeout", "500ms"]);
    assert!(tls["error"].as_str().unwrap().contains("cannot reach"), "{tls}");
}

#[test]
fn a_line_with_tls_does_not_answer_without() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "[listen]\npty = \"link\"\n");
    let device = ["--device", &agent.address, "--plain", "--timeout", "500ms", "--json"];
    let output = run(&[&["ping"][..], &device].concat());
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(agent.ok(&["ping", "--count", "1"])["count"], 1);
    let tcp = run(&["ping", "--device", "tcp://127.0.0.1:1", "--plain"]);
    assert!(String::from_utf8_lossy(&tcp.stderr).contains("TCP always has TLS"), "{tcp:?}");
}
