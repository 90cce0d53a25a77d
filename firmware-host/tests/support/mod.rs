//! Bundles made for the tests, and a real agent that runs until dropped.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "tests")]

use bundle::{Bundle, Manifest, SealedPack, SigningKey, section};
use firmware_host::link::connect_tcp;
use firmware_host::link::tls::{Client, Identity, Records, Tls};
use firmware_host::{Kind, swu};
use graph::{Backbone, Head, ModelConfig, Pool, Preprocess, Task};
use language::{Codes, Language, Pack, Space};
use machine::Machine;
use protocol::{BootRecord, Candidate, Moment, Proven, Running, Terms};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The key of whoever runs the verbs here; may do everything.
pub(crate) fn ours() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

/// The box's.
pub(crate) fn of_the_box() -> SigningKey {
    SigningKey::from_bytes(&[4; 32])
}

/// The way into an agent of these tests.
pub(crate) fn connect(tcp: &str) -> Tls<TcpStream> {
    connect_as(&ours(), tcp).unwrap()
}

pub(crate) fn connect_as(key: &SigningKey, tcp: &str) -> io::Result<Tls<TcpStream>> {
    let key = Identity::new(key);
    let client = Client::new(&key, Some(of_the_box().verifying_key()), Records::Long);
    client.connect(connect_tcp(tcp).unwrap(), Duration::from_secs(20))
}

/// A folder of keys in which the box has its key and we may do everything.
pub(crate) fn admit_us(keys: &Path) {
    keyring::write_private_key(&keys.join("box.key"), &of_the_box()).unwrap();
    keyring::write_private_key(&keys.join("ours.key"), &ours()).unwrap();
    let ours = hex::encode(ours().verifying_key().as_bytes());
    let admitted = format!("[[key]]\nkey = \"{ours}\"\nrole = \"administer\"\n");
    fs::write(keys.join("admitted.toml"), admitted).unwrap();
}

/// A signed bundle of about `size` bytes.
pub(crate) fn bundle(version: &str, size: usize, key: Option<&SigningKey>) -> Vec<u8> {
    let model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
    let manifest = Manifest::new("chest", version, model, Preprocess::PRIOR);
    // Different in every version, zeros included: COBS has to work for it.
    let seed = version.bytes().map(usize::from).sum::<usize>();
    let model = (0..size).map(|n| ((n * n + seed * n) >> 7) as u8).collect();
    let sections = vec![(section::MODEL.to_owned(), model)];
    Bundle::seal(manifest, sections, key).unwrap().to_bytes().unwrap()
}

/// The space of the bundles and packs of these tests.
pub(crate) fn space(id: u8) -> Space {
    Space { id: [id; 32], width: 8, grid: [2, 3] }
}

/// A signed bundle whose language has `Finding 1`.
pub(crate) fn speaking(version: &str, size: usize) -> Vec<u8> {
    let plain = Bundle::read(bundle(version, size, None)).unwrap();
    let model = plain.section(section::MODEL).unwrap().to_vec();
    let language = Language::drawn(space(1), 1, 0, 5).to_bytes().unwrap();
    let sections = vec![(section::MODEL.into(), model), (section::LANGUAGE.into(), language)];
    let mut manifest = plain.manifest.clone();
    manifest.model.heads.push(Head { task: Task::Language, labels: Vec::new() });
    let sealed = Bundle::seal(manifest, sections, Some(&key())).unwrap();
    sealed.to_bytes().unwrap()
}

/// A pack of one finding.
pub(crate) fn pack(name: &str, version: &str, finding: &str, space: Space) -> Pack {
    let Language { scale, mut prompts, .. } = Language::drawn(space, 1, 0, 6);
    prompts[0].name = finding.into();
    let (name, version) = (name.into(), version.into());
    let mut pack = Pack { name, version, space, scale, prompts, golden: Vec::new() };
    pack.prove_by(&[1, 2], Codes { scale: 1.0 / 64.0, zero: 128 }).unwrap();
    pack
}

/// A signed pack of one finding that is called as the pack is.
pub(crate) fn sealed(name: &str, version: &str) -> SealedPack {
    pack(name, version, name, space(1)).seal(Some(&key())).unwrap()
}

/// A bundle as an SWU image.
pub(crate) fn packed(version: &str, bundle: &[u8]) -> Vec<u8> {
    packed_as(swu::IMAGE, version, bundle)
}

/// An SWU image of a file of this name.
pub(crate) fn packed_as(name: &str, version: &str, bundle: &[u8]) -> Vec<u8> {
    let description = swu::Description {
        version: version.into(),
        text: format!("chest {version}"),
        hardware: vec![swu::HARDWARE.into()],
        file: name.into(),
        sha256: protocol::Digest(Sha256::digest(bundle).into()),
    };
    let (mut out, size) = (Vec::new(), (bundle.len() as u64, swu::sum(0, bundle)));
    swu::write(&mut out, &description.to_text(), None, name, &mut &bundle[..], size).unwrap();
    out
}

/// A signed bundle of about `size` bytes in an SWU image.
pub(crate) fn image(version: &str, size: usize) -> Vec<u8> {
    packed(version, &bundle(version, size, Some(&key())))
}

/// What a daemon writes that runs the active slot, all being well.
pub(crate) fn word(record: &BootRecord, now: &Moment) -> Option<Running> {
    let Candidate { slot, digest, generation } = record.to_run()?;
    let seconds = now.uptime.as_secs();
    Some(Running {
        digest,
        slot,
        boot_id: now.boot,
        golden_vectors: 3,
        answered: 0,
        failures: 0,
        generation,
        process: 1,
        started_seconds: 0,
        loaded_seconds: seconds,
        written_seconds: seconds,
        celsius: Some(40.0),
        free: Some(1 << 30),
        failure: None,
        stopped: false,
        deaths: 0,
    })
}

/// The proof that its word is.
pub(crate) fn prove(record: &BootRecord, now: &Moment) -> Option<Proven> {
    let terms = Terms { fresh: 5, soak: 0, images: 0, max_celsius: None, min_free: None };
    word(record, now)?.prove(record.candidate_on_trial()?, &terms, now).ok()
}

fn record(folder: &Path) -> Option<BootRecord> {
    let slots = folder.join("slots");
    let copies = protocol::RECORD_FILES.map(|name| fs::read(slots.join(name)).ok());
    protocol::newest([copies[0].as_deref(), copies[1].as_deref()]).unwrap()
}

/// The word of a daemon for the agent in `folder`; `false` if there is nothing to run.
fn says(folder: &Path, change: impl FnOnce(&mut Running)) -> bool {
    let root = folder.join("root");
    let now = Machine::new(if root.exists() { &root } else { Path::new("/") }).moment();
    let Some(mut word) = record(folder).and_then(|record| word(&record, &now)) else {
        return false;
    };
    change(&mut word);
    let json = serde_json::to_vec(&word).unwrap();
    durable::write(&folder.join("slots").join(protocol::RUNNING_FILE), &json).unwrap();
    true
}

/// Daemons that run whatever they are to, and run it well, until dropped.
pub(crate) struct Daemons {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemons {
    /// One for each folder of an agent.
    pub(crate) fn start(folders: Vec<PathBuf>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for folder in &folders {
                    says(folder, |_| {});
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The line of a configuration that makes the agent believe in the machine of [`machine_says`].
pub(crate) fn sysroot(folder: &Path) -> String {
    format!("sysroot = {:?}\n", folder.join("root"))
}

/// A machine that was started for the `boot`th time, `seconds` ago.
pub(crate) fn machine_says(folder: &Path, boot: u8, seconds: u64) {
    let proc = folder.join("root/proc");
    fs::create_dir_all(proc.join("sys/kernel/random")).unwrap();
    let id = protocol::BootId([boot; 16]).to_string();
    durable::write(&proc.join("sys/kernel/random/boot_id"), id.as_bytes()).unwrap();
    durable::write(&proc.join("uptime"), format!("{seconds}.50 1.00").as_bytes()).unwrap();
}

/// `firmware-host agent` in a folder of its own.
pub(crate) struct Agent {
    child: Child,
    folder: PathBuf,
    pub(crate) address: String,
    our_key: String,
    box_key: String,
}

impl Agent {
    /// Starts an agent with the slots in `folder`; `more` is added to the end of its configuration.
    pub(crate) fn start(folder: &Path, more: &str) -> Self {
        let (config, ready) = (folder.join("agent.toml"), folder.join("agent.ready"));
        fs::write(folder.join("site.pub"), hex::encode(key().verifying_key().as_bytes())).unwrap();
        let keys = folder.join("keys");
        if !keys.exists() {
            admit_us(&keys);
        }
        if !more.is_empty() || !config.exists() {
            let activate = "[activate]\nselftest = [\"test\", \"-s\", \"{bundle}\"]\n";
            let activate = if more.contains("[activate]") { "" } else { activate };
            let listen =
                if more.contains("[listen]") { "" } else { "[listen]\ntcp = \"127.0.0.1:0\"\n" };
            let soak = "[trial]\nsoak = \"0s\"\n";
            let trial = if more.contains("[trial]") { "" } else { soak };
            let more = more.replace("[trial]\n", soak);
            // What stands before the first table.
            let (top, more) = more.split_at(more.find('[').unwrap_or(0));
            let text = format!(
                "slots = \"slots\"\n{top}{listen}[bundles]\ntrusted_keys = [\"site.pub\"]\n{activate}{trial}{more}"
            );
            fs::write(&config, text).unwrap();
        }
        fs::remove_file(&ready).ok();
        let log = File::options().create(true).append(true).open(folder.join("agent.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_firmware-host"))
            .args(["-v", "agent", "--config"])
            .arg(&config)
            .arg("--ready-file")
            .arg(&ready)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut agent = Self {
            child,
            folder: folder.to_owned(),
            address: String::new(),
            our_key: keys.join("ours.key").to_str().unwrap().to_owned(),
            box_key: hex::encode(of_the_box().verifying_key().as_bytes()),
        };
        let addresses = until("the agent is ready", || {
            let ended = agent.child.try_wait().unwrap();
            assert!(ended.is_none(), "the agent ended: {}", agent.log());
            fs::read_to_string(&ready).ok()
        });
        let addresses: Value = serde_json::from_str(&addresses).unwrap();
        agent.address = match addresses["tcp"].as_str() {
            Some(tcp) => format!("tcp://{tcp}"),
            None => format!("pty://{}", addresses["pty"].as_str().unwrap()),
        };
        agent
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The boot record as the daemon reads it.
    pub(crate) fn record(&self) -> Option<BootRecord> {
        record(&self.folder)
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Runs a verb against this agent.
    pub(crate) fn verb(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &self.way(), &["--json"]].concat())
    }

    /// `host:port`
    pub(crate) fn tcp(&self) -> &str {
        self.address.strip_prefix("tcp://").unwrap()
    }

    /// What every verb is told of this agent.
    pub(crate) fn way(&self) -> [&str; 6] {
        let (key, box_key) = (&self.our_key, &self.box_key);
        ["--device", &self.address, "--key", key, "--box-key", box_key]
    }

    /// A verb that must succeed; what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Value {
        let output = self.verb(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}\n{}", self.log());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Ends the trial for good, the daemon having nothing to say against the bundle.
    pub(crate) fn confirm(&self) {
        self.says(|_| {});
        self.ok(&["confirm"]);
    }

    /// A verb that must fail; its error document, whose code the exit status agrees with.
    pub(crate) fn refused(&self, arguments: &[&str]) -> Value {
        let output = self.verb(arguments);
        assert!(output.stderr.starts_with(b"error: ") || output.stderr.contains(&b'\n'));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let kind = Kind::ALL.into_iter().find(|kind| document["code"] == kind.code());
        let status = kind.map(|kind| i32::from(kind.status()));
        assert_eq!(output.status.code(), status, "{arguments:?}: {output:?}");
        document
    }

    /// Writes what a daemon would that runs the active slot; `change` makes it another word.
    pub(crate) fn says(&self, change: impl FnOnce(&mut Running)) {
        assert!(says(&self.folder, change), "nothing runs");
    }

    /// State of slot a, of slot b, and the slot that runs.
    pub(crate) fn states(&self) -> (String, String, String) {
        let record = self.ok(&["slots"]);
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        (
            text(&record["slots"][0]["state"]),
            text(&record["slots"][1]["state"]),
            text(&record["active"]),
        )
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_firmware-host")).args(arguments).output().unwrap()
}

/// Asks until the answer is there.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: not after a minute");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn states(a: &str, b: &str, active: &str) -> (String, String, String) {
    (a.into(), b.into(), active.into())
}
