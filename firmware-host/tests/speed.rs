//! How fast a push is, beside the most that its line could do in the same run.
//!
//! In CI small files and loose bounds. For figures, `docs/speed.md` has the commands: `LINK_MIB=100` is the size of the
//! bundle over TLS, and what was measured is then in `target/tmp/speed.json`.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use firmware_host::link::tls::{Admission, Client, Identity, Records, Server};
use firmware_host::link::{Link, Tty, connect_tcp};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use support::{Agent, bundle, key, of_the_box, ours, run};

const TIME: Duration = Duration::from_secs(60);
/// What crosses a bare line at a time.
const PIECE: usize = 64 << 10;

fn mebibytes() -> usize {
    std::env::var("LINK_MIB").map_or(8, |text| text.parse().expect("a number"))
}

/// A push, with the handshake, all writes to the disk and the check.
struct Pushed {
    bytes_per_second: f64,
    /// Processor seconds of both ends: what a busy machine tells, too.
    workstation: f64,
    on_box: f64,
}

/// User and system time of a process, or of those that this one has waited for.
fn processor_seconds(stat: &str, fields: [usize; 2]) -> f64 {
    let text = fs::read_to_string(stat).unwrap();
    // Behind the name, which may hold anything.
    let words: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    fields.iter().map(|field| words[field - 3].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Pushes `file` and has it checked.
fn push(agent: &Agent, device: &str, file: &[u8]) -> Pushed {
    let stat = format!("/proc/{}/stat", agent.pid());
    let spent =
        || (processor_seconds("/proc/self/stat", [16, 17]), processor_seconds(&stat, [14, 15]));
    let before = spent();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("speed-{}", file.len()));
    fs::write(&path, file).unwrap();
    let verb = ["push", path.to_str().unwrap(), "--device", device, "--json"];
    let pushed = run(&[&verb[..], &agent.way()[2..]].concat());
    assert!(pushed.status.success(), "{pushed:?}\n{}", agent.log());
    fs::remove_file(&path).unwrap();
    let told: Value = serde_json::from_slice(&pushed.stdout).unwrap();
    let bytes_per_second = file.len() as f64 / told["seconds"].as_f64().unwrap();
    let after = spent();
    Pushed { bytes_per_second, workstation: after.0 - before.0, on_box: after.1 - before.1 }
}

#[derive(Debug)]
struct Everybody;

impl Admission for Everybody {
    fn admits(&self, _: &keyring::VerifyingKey) -> bool {
        true
    }
}

/// Sends `bytes` over a bare link to a thread that throws them away; bytes a second.
fn bare<S: Link, R: Link + 'static>(
    bytes: &[u8],
    accept: impl FnOnce(TcpStream) -> R + Send + 'static,
    connect: impl FnOnce(TcpStream) -> S,
) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let total = bytes.len();
    let receiver = thread::spawn(move || {
        let mut link = accept(listener.accept().unwrap().0);
        let (mut buffer, mut received) = (vec![0; PIECE], 0);
        while received < total {
            received += link.receive(&mut buffer, TIME).unwrap();
        }
        link.send(b"!", TIME).unwrap();
    });
    let mut link = connect(connect_tcp(&address).unwrap());
    let start = Instant::now();
    bytes.chunks(PIECE).for_each(|piece| link.send(piece, TIME).unwrap());
    assert_eq!(link.receive(&mut [0; 8], TIME).unwrap(), 1);
    let seconds = start.elapsed().as_secs_f64();
    receiver.join().unwrap();
    total as f64 / seconds
}

fn note(name: &str, figures: Value) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("speed.json");
    let known = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let mut known: Value = known.unwrap_or_else(|| json!({}));
    known[name] = figures;
    fs::write(path, serde_json::to_string_pretty(&known).unwrap()).unwrap();
}

/// One processor's speed at what a push cannot do without: a write to the disk, and SHA-256 of every byte.
fn disk_and_hash(folder: &Path, file: &[u8]) -> (f64, f64) {
    let start = Instant::now();
    let mut on_disk = fs::File::create(folder.join("copy")).unwrap();
    on_disk.write_all(file).unwrap();
    on_disk.sync_all().unwrap();
    let disk = file.len() as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut bytes = Vec::new();
    fs::File::open(folder.join("copy")).unwrap().read_to_end(&mut bytes).unwrap();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
    assert_ne!(digest[..], [0; 32]);
    (disk, bytes.len() as f64 / start.elapsed().as_secs_f64())
}

#[test]
fn a_push_over_tls_is_measured_beside_what_tls_alone_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = bundle("1.0.0", mebibytes() << 20, Some(&key()));
    let agent = Agent::start(folder.path(), "");
    let Pushed { bytes_per_second: pushed, workstation, on_box } =
        push(&agent, &agent.address, &file);
    let server = Server::new(&Identity::new(&of_the_box()), Arc::new(Everybody), Records::Long);
    let expected = Some(of_the_box().verifying_key());
    let client = Client::new(&Identity::new(&ours()), expected, Records::Long);
    let tls = bare(
        &file,
        move |stream| server.accept(stream, TIME).unwrap(),
        |stream| client.connect(stream, TIME).unwrap(),
    );
    let tcp = bare(&file, |stream| stream, |stream| stream);
    let (disk, hash) = disk_and_hash(folder.path(), &file);
    let megabytes = |rate: f64| (rate / 1e5).round() / 10.0;
    note(
        "tls",
        json!({
            "bytes": file.len(), "push_mb_per_second": megabytes(pushed),
            "tls_alone_mb_per_second": megabytes(tls), "tcp_alone_mb_per_second": megabytes(tcp),
            "disk_alone_mb_per_second": megabytes(disk), "sha256_alone_mb_per_second": megabytes(hash),
            "processor_seconds": { "workstation": workstation, "box": on_box },
            "of_tls_alone": (pushed / tls * 1000.0).round() / 1000.0,
        }),
    );
    // Far below what is to be: a busy machine and a build without optimisation are no failure.
    assert!(pushed > 1e6, "{pushed} bytes a second");
}

/// What `bench` says of a line is what its baud rate allows, and most of it.
#[test]
fn bench_fills_a_serial_line_and_says_how_much_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "[listen]\npty = \"link\"\n");
    let baud = 460_800.0;
    let line = serial(&agent, baud);
    let device = format!("serial://{}?baud={baud}", line.display());
    let verb = ["bench", "--time", "2s", "--json", "--device", &device];
    let told = run(&[&verb[..], &agent.way()[2..]].concat());
    assert!(told.status.success(), "{told:?}\n{}", agent.log());
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["line_bytes_per_second"], baud / 10.0);
    for way in ["to_box_of_line", "from_box_of_line"] {
        let share = told[way].as_f64().unwrap();
        assert!(share > 0.5 && share <= 1.0, "{way}: {told}");
    }
    assert_eq!(told["frames_dropped"], 0);
}

/// A serial line of `baud` bits a second, eight data bits, a start and a stop bit, between two pseudo-terminals. What
/// waits is sent without a pause, as a UART with a buffer does.
fn serial(agent: &Agent, baud: f64) -> PathBuf {
    let there = agent.address.strip_prefix("pty://").unwrap();
    let mut there = Tty::open(Path::new(there), None).unwrap();
    let (mut here, path) = Tty::pair().unwrap();
    thread::spawn(move || {
        let (mut to, mut from) = (Pace::new(baud), Pace::new(baud));
        while to.pass(&mut here, &mut there) && from.pass(&mut there, &mut here) {
            thread::sleep(to.wait().min(from.wait()));
        }
    });
    path
}

/// One direction of a line.
struct Pace {
    bytes_per_second: f64,
    free: Instant,
}

impl Pace {
    /// How much a UART's driver may hold back of what it was late for.
    const BUFFER: Duration = Duration::from_millis(200);

    fn new(baud: f64) -> Self {
        Self { bytes_per_second: baud / 10.0, free: Instant::now() }
    }

    fn wait(&self) -> Duration {
        let left = self.free.saturating_duration_since(Instant::now());
        left.clamp(Duration::from_micros(200), Duration::from_millis(2))
    }

    /// Passes on what waits, should the line be free; `false` once an end is gone.
    fn pass(&mut self, from: &mut Tty, to: &mut Tty) -> bool {
        let now = Instant::now();
        if self.free > now {
            return true;
        }
        let mut bytes = [0; 1024];
        let Ok(length) = from.receive(&mut bytes, Duration::ZERO) else {
            // Nothing waits: the line rests, and what it did not send is lost for it.
            self.free = now;
            return true;
        };
        let late = now.checked_sub(Self::BUFFER).map_or(now, |late| self.free.max(late));
        self.free = late + Duration::from_secs_f64(length as f64 / self.bytes_per_second);
        to.send(&bytes[..length], TIME).is_ok()
    }
}

#[test]
fn a_push_over_a_serial_line_leaves_little_of_the_line_unused() {
    let folder = tempfile::tempdir().unwrap();
    let kibibytes = if std::env::var("LINK_MIB").is_ok() { 3000 } else { 100 };
    let baud = if std::env::var("LINK_MIB").is_ok() { 3e6 } else { 460_800.0 };
    let file = bundle("1.0.0", kibibytes << 10, Some(&key()));
    let agent = Agent::start(folder.path(), "[listen]\npty = \"link\"\n");
    let device = format!("pty://{}", serial(&agent, baud).display());
    let rate = push(&agent, &device, &file).bytes_per_second;
    let share = rate / (baud / 10.0);
    note(
        "serial",
        json!({
            "bytes": file.len(), "baud": baud, "push_bytes_per_second": rate.round(),
            "line_bytes_per_second": baud / 10.0, "of_the_line": (share * 1000.0).round() / 1000.0,
        }),
    );
    assert!(share <= 1.0, "faster than the line: {share}");
    assert!(share > 0.5, "{share} of {baud} baud");
}
