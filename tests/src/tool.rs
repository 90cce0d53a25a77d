//! The four binaries, run as a user runs them.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// One of our binaries with its arguments.
#[derive(Debug)]
pub struct Tool {
    name: &'static str,
    command: Command,
}

pub fn trainer() -> Tool {
    Tool::new("trainer")
}

pub fn exporter() -> Tool {
    Tool::new("exporter")
}

pub fn runtime() -> Tool {
    Tool::new("runtime")
}

pub fn firmware_host() -> Tool {
    Tool::new("firmware-host")
}

/// The repository's root.
pub fn root() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests lies in the root").to_owned()
}

/// The Python that holds the oracles; `make setup` makes it.
pub fn python() -> Command {
    Command::new(root().join(".venv/bin/python"))
}

impl Tool {
    fn new(name: &'static str) -> Self {
        Self { name, command: Command::new(binaries().join(name)) }
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs to the end; what it printed, whatever its status.
    pub fn output(mut self) -> Result<Output> {
        let command = self.command.env_remove("RUST_BACKTRACE").stdin(Stdio::null());
        command.output().with_context(|| format!("cannot start {}: run `make build`", self.name))
    }

    /// Runs to the end and expects success; the logs go where ours go.
    pub fn run(mut self) -> Result<()> {
        let status = self.command.stdin(Stdio::null()).status();
        let status = status.with_context(|| format!("cannot start {}", self.name))?;
        if !status.success() {
            bail!("{:?} ended with {status}", self.command);
        }
        Ok(())
    }

    /// Runs with `--json`: one document or one a line.
    pub fn json(self) -> Result<Vec<Value>> {
        let tool = self.arg("--json");
        let line = format!("{:?}", tool.command);
        let output = tool.output()?;
        if !output.status.success() {
            bail!("{line} ended with {}: {}", output.status, text(&output.stderr));
        }
        serde_json::Deserializer::from_slice(&output.stdout)
            .into_iter::<Value>()
            .map(|value| {
                value.with_context(|| format!("{line} printed no JSON: {}", text(&output.stdout)))
            })
            .collect()
    }

    /// Runs, expects exit status 1 and one line on stderr; returns it.
    pub fn refusal(self) -> Result<String> {
        let line = format!("{:?}", self.command);
        let output = self.output()?;
        let stderr = text(&output.stderr);
        if output.status.code() != Some(1) {
            bail!("{line} ended with {}, expected 1: {stderr}", output.status);
        }
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        let [error] = errors[..] else {
            bail!("{line} printed {stderr:?}, expected one error line")
        };
        if stderr.lines().last() != Some(error) {
            bail!("{line} printed {stderr:?}, expected the error last");
        }
        Ok(error.to_owned())
    }

    pub(crate) fn into_command(self) -> Command {
        self.command
    }
}

/// Where cargo put the binaries: beside the program that runs, or one folder up for a test.
pub fn binaries() -> PathBuf {
    let mut folder = std::env::current_exe().expect("the running program has a path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
