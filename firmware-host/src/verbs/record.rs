//! `record`.

use crate::address::Address;
use crate::output::Output;
use anyhow::{Context, Result};
use clap::Args;
use firmware_host::link::{Passed, Recording, Wire, pass};
use serde_json::json;
use std::io::{self, ErrorKind, IsTerminal};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks for somebody who connects.
const LOOK: Duration = Duration::from_millis(20);

/// Stands between two peers, passes on what they say, and writes it down
///
/// Over a line without TLS that is what the protocol says, and `replay` can say it again; of TLS it is what an
/// eavesdropper sees. It ends when a peer leaves, after `--for`, or when Enter is pressed.
#[derive(Debug, Args)]
pub(crate) struct Record {
    /// Where the one peer finds us: tcp://HOST:PORT (port 0: a free one) or pty://PATH, a new pseudo-terminal
    #[arg(long, value_name = "ADDRESS")]
    listen: Address,
    /// Where the box is
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
    /// A new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// No longer than that
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Written once we listen: {"tcp": "address:port"}
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Record {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let start = Instant::now();
        let failed = || format!("cannot record in {}", self.out.display());
        let listening = Listening::open(&self.listen)?;
        let recording = Recording::create(&self.out).with_context(failed)?;
        if let Some(ready) = &self.ready_file {
            let tcp = match &listening {
                Listening::Tcp(listener) => Some(listener.local_addr()?.to_string()),
                Listening::Line(_) => None,
            };
            durable::write(ready, json!({ "tcp": tcp }).to_string().as_bytes())
                .with_context(|| format!("cannot write {}", ready.display()))?;
        }
        let pressed = AtomicBool::new(false);
        let is_over = || {
            let late = self.time.is_some_and(|time| start.elapsed() >= time);
            late || pressed.load(Ordering::Relaxed)
        };
        let passed = thread::scope(|scope| {
            if io::stdin().is_terminal() {
                // Ends with the process, should nobody press it.
                scope.spawn(|| pressed.store(enter_is_pressed(&is_over), Ordering::Relaxed));
            }
            let passed = listening.accept(&is_over).and_then(|here| match here {
                Some(here) => Ok(pass(here, self.to.wire()?, &recording, &is_over)?),
                None => Ok(Passed::default()),
            });
            pressed.store(true, Ordering::Relaxed);
            passed
        });
        // Also of what failed: that is what one looks into.
        let ended = recording.lock().unwrap_or_else(PoisonError::into_inner).finish();
        let Passed { to_box, from_box } = passed?;
        ended.with_context(failed)?;
        let text = format!("{}: {to_box} bytes to the box, {from_box} from it", self.out.display());
        output.say(&text, &json!({ "out": self.out, "to_box": to_box, "from_box": from_box }))
    }
}

/// Where a peer may come from.
enum Listening {
    Tcp(TcpListener),
    /// Whoever opens it is there.
    Line(Wire),
}

impl Listening {
    fn open(address: &Address) -> Result<Self> {
        let failed = || format!("cannot listen on {address}");
        Ok(match address {
            Address::Tcp(at) => {
                let listener = TcpListener::bind(at).with_context(failed)?;
                listener.set_nonblocking(true).with_context(failed)?;
                Self::Tcp(listener)
            }
            Address::Serial(..) => Self::Line(address.wire()?),
            Address::Pty(path) => {
                let tty = firmware_host::link::Tty::pair_at(path).with_context(failed)?;
                Self::Line(Wire::Tty(tty))
            }
        })
    }

    /// The first who comes; none if it is over before.
    fn accept(self, is_over: &dyn Fn() -> bool) -> Result<Option<Wire>> {
        let listener = match self {
            Self::Tcp(listener) => listener,
            Self::Line(wire) => return Ok(Some(wire)),
        };
        while !is_over() {
            match listener.accept() {
                Ok((stream, peer)) => {
                    log::info!("{peer} is here");
                    stream.set_nonblocking(false)?;
                    stream.set_nodelay(true)?;
                    return Ok(Some(Wire::Tcp(stream)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK),
                Err(error) => return Err(error).context("cannot accept"),
            }
        }
        Ok(None)
    }
}

/// Waits for a line on the terminal, or until it is over anyway.
fn enter_is_pressed(is_over: &dyn Fn() -> bool) -> bool {
    let stdin = io::stdin();
    while !is_over() {
        let mut ends = [rustix::event::PollFd::new(&stdin, rustix::event::PollFlags::IN)];
        let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if rustix::event::poll(&mut ends, Some(&time)).is_ok_and(|ready| ready > 0) {
            return true;
        }
    }
    false
}
