//! A daemon or an agent: started, waited for, killed when dropped.

use crate::tool::Tool;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a service may take until it says it is ready: a cold model load on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Service {
    child: Child,
    log: PathBuf,
    ready: Value,
}

impl Service {
    /// Starts `tool` with `--ready-file`, its log in `folder/NAME.log`, and waits until it is ready.
    pub fn start(tool: Tool, folder: &Path, name: &str) -> Result<Self> {
        let (log, ready) =
            (folder.join(format!("{name}.log")), folder.join(format!("{name}.ready")));
        fs::remove_file(&ready).ok();
        let stderr =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = tool.arg("--ready-file").arg(&ready).into_command();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut service = Self { child, log, ready: Value::Null };
        service.ready = service.wait(&ready)?;
        Ok(service)
    }

    /// The address it listens on, by the name it has in the ready file: `dicom`, `http`, `tcp`.
    pub fn address(&self, name: &str) -> Result<SocketAddr> {
        let address =
            self.ready[name].as_str().with_context(|| format!("no {name} in {}", self.ready))?;
        address.parse().with_context(|| format!("{name} is {address:?}, expected an address"))
    }

    /// What the ready file says besides: the box's `key`.
    pub fn said(&self, name: &str) -> Result<&str> {
        self.ready[name].as_str().with_context(|| format!("no {name} in {}", self.ready))
    }

    /// SIGKILL: what a power cut looks like from inside.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait(&mut self, ready: &Path) -> Result<Value> {
        let start = Instant::now();
        loop {
            // Written aside and renamed, so what is there is whole.
            if let Ok(text) = fs::read_to_string(ready) {
                return serde_json::from_str(&text)
                    .with_context(|| format!("{}: {text:?}", ready.display()));
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status} before it was ready: {}", self.log());
            }
            ensure!(start.elapsed() < PATIENCE, "not ready after {PATIENCE:?}: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An address that was free a moment ago: for peers that cannot be told to choose one.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Asks until the answer is there.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(start.elapsed() < PATIENCE, "{what}: nothing after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}
