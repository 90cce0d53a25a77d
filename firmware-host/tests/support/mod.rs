//! Bundles made for the tests, and a real agent that runs until dropped.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "tests")]

use bundle::{Bundle, Manifest, SigningKey, section};
use firmware_host::swu;
use graph::{Backbone, ModelConfig, Pool, Preprocess};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
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

/// A bundle as an SWU image.
pub(crate) fn packed(version: &str, bundle: &[u8]) -> Vec<u8> {
    let description = swu::Description {
        version: version.into(),
        text: format!("chest {version}"),
        hardware: vec![swu::HARDWARE.into()],
        file: swu::IMAGE.into(),
        sha256: protocol::Digest(Sha256::digest(bundle).into()),
    };
    let (mut out, size) = (Vec::new(), (bundle.len() as u64, swu::sum(0, bundle)));
    swu::write(&mut out, &description.to_text(), None, &mut &bundle[..], size).unwrap();
    out
}

/// A signed bundle of about `size` bytes in an SWU image.
pub(crate) fn image(version: &str, size: usize) -> Vec<u8> {
    packed(version, &bundle(version, size, Some(&key())))
}

/// `firmware-host agent` in a folder of its own.
pub(crate) struct Agent {
    child: Child,
    folder: PathBuf,
    pub(crate) address: String,
}

impl Agent {
    /// Starts an agent with the slots in `folder`; `more` is added to the end of its configuration.
    pub(crate) fn start(folder: &Path, more: &str) -> Self {
        let (config, ready) = (folder.join("agent.toml"), folder.join("agent.ready"));
        fs::write(folder.join("site.pub"), hex::encode(key().verifying_key().as_bytes())).unwrap();
        if !more.is_empty() || !config.exists() {
            let activate = "[activate]\nselftest = [\"test\", \"-s\", \"{bundle}\"]\n";
            let activate = if more.contains("[activate]") { "" } else { activate };
            let listen =
                if more.contains("[listen]") { "" } else { "[listen]\ntcp = \"127.0.0.1:0\"\n" };
            let text = format!(
                "slots = \"slots\"\n{listen}[bundles]\ntrusted_keys = [\"site.pub\"]\n{activate}{more}"
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
        let mut agent = Self { child, folder: folder.to_owned(), address: String::new() };
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
    pub(crate) fn record(&self) -> Option<protocol::BootRecord> {
        let slots = self.folder.join("slots");
        let copies = protocol::RECORD_FILES.map(|name| fs::read(slots.join(name)).ok());
        protocol::newest([copies[0].as_deref(), copies[1].as_deref()]).unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Runs a verb against this agent.
    pub(crate) fn verb(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--device", &self.address, "--json"]].concat())
    }

    /// A verb that must succeed; what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Value {
        let output = self.verb(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}\n{}", self.log());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Ends the trial for good.
    pub(crate) fn confirm(&self) {
        self.ok(&["confirm"]);
    }

    /// A verb that must fail with exit status 1; its error document.
    pub(crate) fn refused(&self, arguments: &[&str]) -> Value {
        let output = self.verb(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(output.stderr.starts_with(b"error: ") || output.stderr.contains(&b'\n'));
        serde_json::from_slice(&output.stdout).unwrap()
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
