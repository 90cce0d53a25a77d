//! Images from a USB stick: a socket beside the slots, for this machine's administrator alone.
//!
//! ```text
//! firmware-host offline ── {"image": path} ─▶ agent    reads the file itself
//!                       ◀─ {"at": "receiving", …} ──   a line whenever there is news
//!                       ◀─ {"at": "end", …} ────────   confirmed or failed, with the reason
//! ```
//!
//! By the rules of a push: signature, floor, self-test, trial. Nothing here confirms. Who may open the socket is
//! whoever the file system lets; over a network nobody can.

use super::{Agent, evidence};
use crate::swu::{self, Swu, SwuError};
use anyhow::{Context, Result};
use bundle::PACK_LIMIT;
use protocol::{Digest, Refusal, Request, Response, SlotId, Standing};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;
use thiserror::Error;

/// The socket, in the folder of the slots.
pub const SOCKET: &str = "offline.sock";

/// Longest request, in bytes.
const REQUEST: u64 = 8 << 10;
const PIECE: usize = 64 << 10;
/// How often somebody who waits for the end of a trial is shown that we are alive.
const ALIVE: Duration = Duration::from_secs(2);

/// What the agent is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// An SWU image, by its absolute path.
    pub image: PathBuf,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum News {
    Receiving { percent: u64 },
    SelfTest,
    Trial { slot: String },
    End { device: String, confirmed: bool, details: Vec<String>, clock: u64 },
}

#[derive(Debug, Error)]
enum OfflineError {
    #[error("cannot read {}: {source}", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Image(#[from] SwuError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Whoever asked is gone.
    #[error("nobody listens any more")]
    Left,
}

/// Opens the socket and answers on it from now on.
pub(super) fn open(agent: &Arc<Agent>) -> Result<()> {
    let path = agent.config.slots.join(SOCKET);
    let listen = || -> std::io::Result<UnixListener> {
        // The folder is ours alone: a socket there is left over from an earlier start.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = listen().with_context(|| format!("cannot listen on {}", path.display()))?;
    let agent = Arc::clone(agent);
    let thread = thread::Builder::new().name("offline".into());
    thread.spawn(move || {
        // One after the other: there are two slots.
        for stream in listener.incoming() {
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    log::warn!("offline: {error}");
                    thread::sleep(Duration::from_secs(1));
                    continue;
                }
            };
            match catch_unwind(AssertUnwindSafe(|| answer(&agent, &stream))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::warn!("offline: {error:#}"),
                Err(_panic) => log::error!("offline: the work on an image panicked"),
            }
        }
    })?;
    Ok(())
}

fn answer(agent: &Agent, stream: &UnixStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST)).read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line).context("not an order")?;
    log::info!("offline: {}", order.image.display());
    let told = install(agent, &order.image, &mut |news| tell(stream, news));
    let (confirmed, details) = match told {
        Ok(sha256) => outcome(agent, sha256, stream)?,
        Err(OfflineError::Left) => return Ok(()),
        Err(error) => (
            false,
            evidence::failure(&error.to_string(), agent.slots().record(), &agent.config.slots),
        ),
    };
    let device = agent.device.clone();
    tell(stream, &News::End { device, confirmed, details, clock: agent.now().wall })?;
    Ok(())
}

fn tell(mut stream: &UnixStream, news: &News) -> Result<(), OfflineError> {
    let line = serde_json::to_string(news).expect("plain data") + "\n";
    stream.write_all(line.as_bytes()).map_err(|_| OfflineError::Left)
}

/// From a file to a trial.
fn install(
    agent: &Agent,
    path: &Path,
    tell: &mut impl FnMut(&News) -> Result<(), OfflineError>,
) -> Result<Digest, OfflineError> {
    let opened = |source| OfflineError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(opened)?;
    let swu = Swu::open(BufReader::with_capacity(PIECE, file))?;
    let sha256 = if swu.description().file == swu::PACK {
        add_pack(agent, swu)?
    } else {
        let sha256 = swu.description().sha256;
        let standing = agent.slots().record().standing(sha256);
        if matches!(standing, Standing::Absent | Standing::Bad(_)) {
            receive(agent, swu, tell)?;
        }
        sha256
    };
    let standing = agent.slots().record().standing(sha256);
    if !matches!(standing, Standing::OnTrial(_) | Standing::Runs(_)) {
        tell(&News::SelfTest)?;
        agent.ask(Request::Activate { sha256 })?;
    }
    Ok(sha256)
}

/// Reads a pack whole, which is small; returns the SHA-256 of the file that a slot holds now with it.
fn add_pack<R: Read>(agent: &Agent, mut swu: Swu<R>) -> Result<Digest, OfflineError> {
    let (limit, found) = (PACK_LIMIT, swu.size());
    if found > limit {
        return Err(Refusal::TooLarge { found, limit }.into());
    }
    let expected = swu.description().sha256;
    let (mut pack, mut buffer) = (Vec::new(), vec![0; PIECE]);
    while let length @ 1.. = swu.read(&mut buffer)? {
        pack.extend_from_slice(&buffer[..length]);
    }
    swu.finish()?;
    let found = Digest(Sha256::digest(&pack).into());
    if found != expected {
        let detail = format!("its SHA-256 is {found}, sw-description says {expected}");
        return Err(Refusal::Pack { detail }.into());
    }
    match agent.add_pack_alone(&pack)? {
        Response::Composed { sha256, .. } => Ok(sha256),
        other => Err(Refusal::State { detail: format!("the slots answered {other:?}") }.into()),
    }
}

fn receive<R: Read>(
    agent: &Agent,
    mut swu: Swu<R>,
    tell: &mut impl FnMut(&News) -> Result<(), OfflineError>,
) -> Result<SlotId, OfflineError> {
    let (sha256, total) = (swu.description().sha256, swu.size());
    agent.ask(Request::Begin { sha256, total })?;
    let (mut offset, mut told, mut hasher) = (0, 0, Sha256::new());
    let mut buffer = vec![0; PIECE];
    while let length @ 1.. = swu.read(&mut buffer)? {
        hasher.update(&buffer[..length]);
        // What the slot has already it leaves alone.
        agent.write_patiently(sha256, offset, &buffer[..length])?;
        offset += length as u64;
        let percent = offset * 100 / total.max(1);
        if percent >= told + 10 {
            told = percent;
            tell(&News::Receiving { percent })?;
        }
    }
    // Of a bundle that is not the one described the slots shall say so, and keep that as the reason.
    if Digest(hasher.finalize().into()) == sha256 {
        swu.finish()?;
    }
    match agent.ask(Request::Finish { sha256 })? {
        Response::Verified { slot } => Ok(slot),
        other => Err(Refusal::State { detail: format!("the slots answered {other:?}") }.into()),
    }
}

/// Waits for the end of the trial.
fn outcome(agent: &Agent, sha256: Digest, stream: &UnixStream) -> Result<(bool, Vec<String>)> {
    let mut slots = agent.slots();
    loop {
        let slot = match slots.record().standing(sha256) {
            Standing::OnTrial(slot) => slot,
            Standing::Runs(_) | Standing::Kept(_) => {
                let record = slots.record().clone();
                drop(slots);
                return Ok((true, evidence::success(&record, &agent.running_packs())));
            }
            Standing::Absent | Standing::Waits(_) | Standing::Bad(_) => {
                return Ok((
                    false,
                    evidence::failure("the trial ended", slots.record(), &agent.config.slots),
                ));
            }
        };
        drop(slots);
        tell(stream, &News::Trial { slot: slot.to_string() })?;
        let waited = agent.changed.wait_timeout(agent.slots(), ALIVE);
        (slots, _) = waited.unwrap_or_else(PoisonError::into_inner);
    }
}
