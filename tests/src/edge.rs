//! The box's half: agent and daemon over one slots folder, as `make demo` and the tests start them.

use crate::http;
use crate::radiographs::{self, Syntax};
use crate::service::{Service, until};
use crate::tool::{Tool, binaries, firmware_host, runtime};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A box: its folder survives, its two services may die.
#[derive(Debug)]
pub struct Edge {
    folder: PathBuf,
    agent: Service,
    daemon: Service,
}

/// What is added to the configurations of a box.
#[derive(Clone, Copy, Debug, Default)]
pub struct More<'a> {
    /// To the daemon's: destinations, say.
    pub daemon: &'a str,
    /// To the agent's: tables that it has not yet.
    pub agent: &'a str,
    /// To the agent's `[listen]`.
    pub listen: &'a str,
    /// Instead of `runtime selftest`: a box whose self-test sees nothing.
    pub selftest: Option<&'a str>,
}

impl Edge {
    /// Starts both services on free ports; bundles need a signature of one of `keys`. `more` is added to the daemon's
    /// configuration: destinations, say.
    pub fn start(folder: &Path, keys: &[&Path], more: &str) -> Result<Self> {
        Self::start_with(folder, keys, More { daemon: more, ..More::default() })
    }

    /// The same with more of everything.
    pub fn start_with(folder: &Path, keys: &[&Path], more: More<'_>) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let keys = keys.iter().map(|key| key.canonicalize()).collect::<io::Result<Vec<_>>>();
        let keys = keys.context("cannot find a public key")?;
        let More { daemon: more, agent, listen, selftest } = more;
        let runtime = binaries().join("runtime");
        let selftest = match selftest {
            Some(command) => format!("[{command:?}]"),
            None => format!("[{runtime:?}, \"selftest\", \"--bundle\", \"{{bundle}}\"]"),
        };
        let agent = format!(
            "slots = \"slots\"\n\
             [listen]\ntcp = \"127.0.0.1:0\"\n{listen}\
             [bundles]\ntrusted_keys = {keys:?}\n\
             [activate]\nselftest = {selftest}\n\
             [trial]\nsoak = \"0s\"\n{agent}"
        );
        let daemon = format!(
            "[bundle]\nslots = \"slots\"\ntrusted_keys = {keys:?}\n\
             [dicom]\nlisten = \"127.0.0.1:0\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [spool]\npath = \"spool\"\n{more}"
        );
        fs::write(folder.join("agent.toml"), agent)?;
        fs::write(folder.join("runtime.toml"), daemon)?;
        let agent = firmware_host().args(["agent", "--config"]).arg(folder.join("agent.toml"));
        let agent = Service::start(agent, &folder, "agent")?;
        let daemon = start_daemon(&folder)?;
        let edge = Self { folder, agent, daemon };
        edge.enrol()?;
        Ok(edge)
    }

    /// The agent's address, as `--device` takes it.
    pub fn device(&self) -> Result<String> {
        Ok(format!("tcp://{}", self.agent.address("tcp")?))
    }

    /// A verb of the workstation, aimed at this box.
    pub fn verb(&self, verb: &str) -> Result<Tool> {
        let verb = firmware_host().args([verb, "--device", &self.device()?]);
        let verb = verb.arg("--key").arg(self.folder.join("link.key"));
        Ok(verb.arg("--known-boxes").arg(self.folder.join("known_boxes")))
    }

    /// A verb aimed at the other end of this box's pseudo-terminal, `link` in its folder (`pty = "link"`).
    pub fn verb_over_line(&self, verb: &str) -> Result<Tool> {
        let device = format!("pty://{}", self.folder.join("link").display());
        let verb = firmware_host().args([verb, "--device", &device]);
        let verb = verb.arg("--key").arg(self.folder.join("link.key"));
        Ok(verb.args(["--box-key", self.agent.said("key")?]))
    }

    /// Where its files are: `slots`, `spool`, and whatever its configurations name.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the workstation's key, and its box and it known to each other.
    fn enrol(&self) -> Result<()> {
        let key = self.folder.join("link");
        if !key.with_added_extension("key").exists() {
            firmware_host().args(["keygen", "--out"]).arg(key).json()?;
        }
        let code = firmware_host().args(["code", "--config"]).arg(self.folder.join("agent.toml"));
        let code = code.json()?[0]["code"].as_str().context("no code")?.to_owned();
        self.verb("enrol")?.args(["--code", &code]).json()?;
        Ok(())
    }

    /// Pushes, activates and confirms a bundle; returns once the daemon answers with it.
    pub fn deploy(&self, bundle: &Path) -> Result<()> {
        let digest = bundle::Bundle::open(bundle)?.digest();
        self.install(bundle)?;
        self.wait_for(&digest.into())
    }

    fn install(&self, bundle: &Path) -> Result<()> {
        self.verb("push")?.arg(bundle).run()?;
        self.verb("activate")?.run()?;
        // The daemon loads the bundle first, and says that it answers as it should.
        self.verb("confirm")?.args(["--wait", "60s"]).run()
    }

    /// Waits until the daemon answers with the bundle of this digest.
    pub fn wait_for(&self, digest: &Value) -> Result<()> {
        let http = self.http()?;
        until(&format!("the daemon does not run {digest}"), || {
            let health = http::get_json(http, "/health").ok();
            Ok(health.filter(|health| health["bundle"]["digest"] == *digest).map(|_| ()))
        })
    }

    /// Waits until everything is at its destination: nothing waits, and so many objects were sent.
    pub fn delivered(&self, objects: usize) -> Result<()> {
        until(&format!("delivery of {objects} objects"), || {
            let dead = self.queue("dead")?;
            ensure!(dead.is_empty(), "dead letters: {dead:?}");
            let sent = self.queue("sent")?.len();
            Ok((sent >= objects && self.queue("waiting")?.is_empty()).then_some(()))
        })
    }

    /// The outbox's rows in a state.
    fn queue(&self, state: &str) -> Result<Vec<Value>> {
        let config = self.folder.join("runtime.toml");
        let queue = runtime().args(["queue", "--config"]).arg(config);
        let rows = queue.args(["list", "--state", state]).json()?;
        let [Value::Array(rows)] = &rows[..] else {
            bail!("`runtime queue list` printed {rows:?}, expected one list")
        };
        Ok(rows.clone())
    }

    pub fn dicom(&self) -> Result<SocketAddr> {
        self.daemon.address("dicom")
    }

    pub fn http(&self) -> Result<SocketAddr> {
        self.daemon.address("http")
    }

    pub fn send(&self, file: &Path, syntax: Syntax) -> Result<()> {
        radiographs::send(self.dicom()?, file, syntax)
    }

    /// What the daemon says of an image it was sent, once it has something to say.
    pub fn findings(&self, sop_instance_uid: &str) -> Result<Value> {
        let (http, path) = (self.http()?, format!("/images/{sop_instance_uid}"));
        until(&path, || {
            let Ok(answer) = http::get_json(http, &path) else { return Ok(None) };
            match answer["status"].as_str() {
                Some("analysed" | "not-analysed") => Ok(Some(answer)),
                Some("failed") => bail!("{answer}"),
                _ => Ok(None),
            }
        })
    }

    /// SIGKILL and a new start on the same folder.
    pub fn kill_and_restart_daemon(self) -> Result<Self> {
        let Self { folder, agent, daemon } = self;
        daemon.kill()?;
        let daemon = start_daemon(&folder)?;
        Ok(Self { folder, agent, daemon })
    }

    pub fn logs(&self) -> String {
        format!("{}{}", self.agent.log(), self.daemon.log())
    }
}

fn start_daemon(folder: &Path) -> Result<Service> {
    let daemon = runtime().args(["serve", "--config"]).arg(folder.join("runtime.toml"));
    Service::start(daemon, folder, "daemon")
}
