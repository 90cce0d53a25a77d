//! A daemon in a temporary folder and a DICOM peer that can misbehave.
#![expect(dead_code, reason = "each test binary uses a part")]

pub(crate) mod archive;
pub(crate) mod browser;
pub(crate) mod elements;
pub(crate) mod faults;
pub(crate) mod fixtures;
pub(crate) mod model;
pub(crate) mod orthanc;
pub(crate) mod peer;
pub(crate) mod pki;
pub(crate) mod reference;
pub(crate) mod scu;
pub(crate) mod site;
pub(crate) mod slots;
pub(crate) mod web;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Longest a test waits for anything: generous, since machines under test are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `runtime serve` with its own folder; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) dicom: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// What differs from the defaults, as lines of the TOML tables.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings<'a> {
    /// `slots = "slots"` (an empty folder) if empty.
    pub(crate) bundle: &'a str,
    pub(crate) dicom: &'a str,
    pub(crate) spool: &'a str,
    pub(crate) worker: &'a str,
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// Another one than ours.
    pub(crate) binary: Option<&'a str>,
    pub(crate) http: &'a str,
    /// Most descriptors the daemon may have open.
    pub(crate) descriptors: Option<u32>,
}

impl Daemon {
    pub(crate) fn start(settings: Settings<'_>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings)
    }

    /// Starts in a folder that may hold an earlier daemon's spool.
    pub(crate) fn start_in(folder: tempfile::TempDir, settings: Settings<'_>) -> Self {
        Self::try_start_in(folder, settings).unwrap_or_else(|(status, folder)| {
            let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            panic!("the daemon ended with {status}:\n{log}")
        })
    }

    /// As [`Self::start_in`]; the status and the folder of a daemon that ended before it was ready.
    pub(crate) fn try_start_in(
        folder: tempfile::TempDir,
        settings: Settings<'_>,
    ) -> Result<Self, (ExitStatus, tempfile::TempDir)> {
        fs::create_dir_all(folder.path().join("slots")).unwrap();
        let bundle = if settings.bundle.is_empty() { "slots = \"slots\"" } else { settings.bundle };
        let config = format!(
            "[bundle]\n{bundle}\npoll_seconds = 0.05\n[http]\n{}\n\
             [spool]\npath = \"spool\"\n{}\n[worker]\n{}\n[dicom]\n{}\n",
            listening(settings.http),
            settings.spool,
            settings.worker,
            listening(settings.dicom)
        );
        let path = folder.path().join("runtime.toml");
        fs::write(&path, config).unwrap();
        let ready = folder.path().join("ready.json");
        let _ = fs::remove_file(&ready);
        let log =
            fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let binary = settings.binary.unwrap_or(env!("CARGO_BIN_EXE_runtime"));
        let mut command = match settings.descriptors {
            None => Command::new(binary),
            Some(most) => {
                let mut shell = Command::new("sh");
                let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
                shell.args(["-c", &limited, binary]);
                shell
            }
        };
        let child = command
            .args(["serve", "-v", "--config"])
            .arg(&path)
            .arg("--ready-file")
            .arg(&ready)
            .envs(settings.environment.iter().copied())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Self {
            child,
            folder,
            dicom: ([127, 0, 0, 1], 0).into(),
            http: ([127, 0, 0, 1], 0).into(),
        };
        let log = daemon.folder.path().join("log");
        let log = || fs::read_to_string(&log).unwrap_or_default();
        let child = &mut daemon.child;
        let look = || match child.try_wait().unwrap() {
            Some(status) => Some(Err(status)),
            None => fs::read_to_string(&ready).ok().map(Ok),
        };
        let text = match wait("the ready file", look, log) {
            Ok(text) => text,
            Err(status) => return Err((status, daemon.take_folder())),
        };
        let addresses: serde_json::Value = serde_json::from_str(&text).unwrap();
        daemon.dicom = addresses["dicom"].as_str().unwrap().parse().unwrap();
        daemon.http = addresses["http"].as_str().unwrap().parse().unwrap();
        Ok(daemon)
    }

    /// SIGKILL, then a start in the same folder.
    pub(crate) fn kill_and_restart(self, settings: Settings<'_>) -> Self {
        Self::start_in(self.kill(), settings)
    }

    /// SIGKILL; what is left is the folder.
    pub(crate) fn kill(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.take_folder()
    }

    fn take_folder(&mut self) -> tempfile::TempDir {
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal, `TERM` or `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let child = &mut self.child;
        wait("the end", || child.try_wait().unwrap(), String::new)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        let head = response.windows(4).position(|w| w == b"\r\n\r\n").expect("a complete head");
        let status = String::from_utf8_lossy(&response[9..12]).parse().unwrap();
        let chunked = String::from_utf8_lossy(&response[..head])
            .to_lowercase()
            .contains("transfer-encoding: chunked");
        assert!(!chunked, "the harness reads plain bodies only");
        (status, response[head + 4..].to_vec())
    }

    pub(crate) fn json(&self, path: &str) -> (u16, serde_json::Value) {
        let (status, body) = self.get(path);
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// The findings of an image, once they are there.
    pub(crate) fn findings(&self, uid: &str) -> serde_json::Value {
        self.wait("findings", |daemon| {
            let (status, body) = daemon.json(&format!("/images/{uid}"));
            assert!(matches!(status, 200 | 202), "{status} {body}");
            (status == 200).then_some(body)
        })
    }

    /// Value of a metric.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let page = String::from_utf8(self.get("/metrics").1).unwrap();
        let line = page
            .lines()
            .find(|l| l.split(' ').next() == Some(name))
            .expect("a metric of that name");
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Polls until there is something, at most [`PATIENCE`].
    pub(crate) fn wait<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        wait(what, || look(self), || self.log())
    }

    pub(crate) fn spool(&self, folder: &str) -> Vec<PathBuf> {
        list(&self.folder.path().join("spool").join(folder))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Resident memory, bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A table's lines; on a free port of loopback, if they say nothing else.
fn listening(lines: &str) -> String {
    if lines.contains("listen = ") {
        return lines.to_owned();
    }
    format!("listen = \"127.0.0.1:0\"\n{lines}")
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>, log: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}:\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}
