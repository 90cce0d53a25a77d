//! Other people's programs as peers; a test that needs one is skipped with a line where it is not installed.

use super::PATIENCE;
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A process that ends with the test.
pub(crate) struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A free address that nobody is given by chance, for who listens there later, or again: no ephemeral port, and another
/// one for each test.
pub(crate) fn lasting() -> SocketAddr {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let address =
        |number: u32| SocketAddr::from(([127, 0, 0, 1], (20_000 + number % 12_000) as u16));
    let numbers = std::iter::repeat_with(|| GIVEN.fetch_add(1, Ordering::Relaxed)).take(12_000);
    numbers
        .map(|number| address(std::process::id().wrapping_mul(101).wrapping_add(number)))
        .find(|&address| TcpListener::bind(address).is_ok())
        .expect("a port below the ephemeral ones")
}

/// Starts a program that listens at `address`; `None`, and the test is skipped, where it is not installed.
pub(crate) fn start(mut command: Command, address: SocketAddr, package: &str) -> Option<Peer> {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(child) = child else {
        skip::because(format_args!("{command:?} cannot be started: {package}"));
        return None;
    };
    let mut peer = Peer(child);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = peer.0.try_wait().unwrap() {
            panic!("{command:?} ended with {status}");
        }
        assert!(Instant::now() < deadline, "{command:?} does not listen");
        thread::sleep(Duration::from_millis(50));
    }
    Some(peer)
}

/// The interpreter with the packages of `tests/requirements.txt`.
pub(crate) fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python")
}
