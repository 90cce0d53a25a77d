//! The process in which the second bundle runs, as the daemon sees it.
//!
//! A process of its own, because a shadow must not be able to end the daemon: not by a panic, not by taking all
//! memory, not by hanging. It has the lowest priority, a limit of memory, and is the first that the kernel ends when
//! memory runs out.

use super::work::{Order, Said};
use crate::spool::Key;
use anyhow::{Context, Result, anyhow, bail};
use results::{BundleId, Record};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child as Process, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

/// How long a bundle may take to load and to prove itself.
const LOADING: Duration = Duration::from_secs(600);
/// How long it may take over an image.
const LOOKING: Duration = Duration::from_secs(120);

/// Ended when dropped.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    orders: ChildStdin,
    said: Receiver<String>,
    pub(super) bundle: BundleId,
}

impl Child {
    /// Starts it and waits until its bundle is loaded; fails with what the bundle was refused for.
    pub(super) fn start(order: &Order) -> Result<Self> {
        // Whatever file the daemon was started from: an update may have replaced it by now.
        let mut process = Command::new("/proc/self/exe")
            .arg0("runtime")
            .args(order.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start its process")?;
        let orders = process.stdin.take().context("its process has no input")?;
        let answers = process.stdout.take().context("its process has no output")?;
        // On a thread of its own, so that whoever waits for a line can stop waiting.
        let (sender, said) = mpsc::channel();
        let hear = move || {
            let mut lines = BufReader::new(answers).lines().map_while(Result::ok);
            let _ = lines.try_for_each(|line| sender.send(line));
        };
        let thread = thread::Builder::new().name("shadow-hears".into()).spawn(hear);
        thread.context("cannot start the thread that hears it")?;
        let mut child = Self { process, orders, said, bundle: BundleId::default() };
        match child.hear(LOADING)? {
            Said::Ready(bundle) => child.bundle = bundle,
            Said::Refused(why) => bail!(why),
            Said::Found(_) => bail!("its process answered before it was asked"),
        }
        Ok(child)
    }

    /// What it says about an image. After an error it is not to be used again.
    pub(super) fn look(&mut self, key: &Key) -> Result<Record> {
        writeln!(self.orders, "{}", key.name()).context("its process takes no orders")?;
        match self.hear(LOOKING)? {
            Said::Found(record) => Ok(*record),
            Said::Refused(why) => bail!(why),
            Said::Ready(_) => bail!("its process began anew"),
        }
    }

    /// Bytes of memory that it holds now.
    pub(super) fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
    }

    fn hear(&mut self, patience: Duration) -> Result<Said> {
        match self.said.recv_timeout(patience) {
            Ok(line) => serde_json::from_str(&line).context("its process said nonsense"),
            Err(RecvTimeoutError::Timeout) => Err(anyhow!("it took longer than {patience:?}")),
            Err(RecvTimeoutError::Disconnected) => match self.process.wait() {
                Ok(status) => Err(anyhow!("its process ended: {status}")),
                Err(error) => Err(error).context("its process is lost"),
            },
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
