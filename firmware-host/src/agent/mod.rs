//! The box's end of the link: listens, keeps the slots, guards trials.
//!
//! [`run`] is the whole program; `session` is one connection, [`Slots`] the files, `watch` the clock
//! that ends a trial nobody confirmed, `ddi` the orders of an update server, [`offline`] those from a USB
//! stick. The daemon that runs the bundles is another process: it reads the boot record by itself
//! (`protocol::newest`) and may be told by a command.

mod access;
mod alive;
mod check;
mod code;
mod command;
mod compose;
mod config;
mod control;
mod ddi;
mod disk;
mod durations;
mod evidence;
mod fleet;
mod journal;
mod line;
mod local;
mod logs;
pub mod offline;
mod packs;
mod pending;
mod proof;
mod room;
mod session;
mod slots;
mod watch;

pub use access::{draw_code, install_keyring};
pub use check::Policy;
pub use compose::{Change as PackChange, Composed, compose};
pub use config::{Activate, Config, Confirm, Listen, Trial};
pub use ddi::action;
pub use disk::{Disk, Folder};
pub use fleet::{Credentials, Fleet};
pub use logs::Logs;
pub use slots::Slots;

use crate::enrolment::Binding;
use crate::link::tls::{Admission, Identity, Records, Server, Tls};
use crate::link::{Link, Tty};
use crate::{discover::Hellos, random::random};
use access::Access;
use alive::Alive;
use anyhow::{Context, Result};
use keyring::fingerprint;
use machine::Machine;
use pending::{Pending, Waiting};
use protocol::{Failure, Moment, Refusal, RequestId, Response, SlotId, SlotState};
use room::Room;
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Answers to changes that are remembered, in case they got lost on the way.
const REMEMBERED: usize = 32;

/// A peer that has not proven who it is by then is shown the door.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What all connections share.
struct Agent {
    config: Config,
    access: Arc<Access>,
    slots: Mutex<Slots<Folder>>,
    /// Rung after every change of the boot record.
    changed: Condvar,
    /// The change under way; one at a time.
    busy: Mutex<Option<&'static str>>,
    answered: Mutex<VecDeque<(RequestId, Result<Response, Refusal>)>>,
    machine: Machine,
    /// None: this box serves no X-ray room.
    room: Option<Room>,
    device: String,
    boot: [u8; 16],
    start: Instant,
    dropped: AtomicU64,
    connections: AtomicUsize,
}

/// Runs until killed, which is safe at any moment. `ready` is written once connections are accepted.
pub fn run(config: Config, ready: Option<&Path>) -> Result<()> {
    let folder = Folder::open(&config.slots)
        .with_context(|| format!("cannot use {}", config.slots.display()))?;
    let now = Machine::new(&config.sysroot).moment();
    let slots = Slots::open(folder, config.policy.clone(), &now)
        .with_context(|| format!("cannot use {}", config.slots.display()))?;
    match slots.record().running() {
        Some((id, slot)) => log::info!("slot {id} runs, {:?}", slot.state),
        None => log::info!("no slot runs"),
    }
    let doors = Doors::open(&config.listen)?;
    let mut addresses = doors.addresses.clone();
    let agent = Arc::new(Agent::new(config, slots)?);
    addresses["key"] = fingerprint(&agent.access.identity().public()).into();
    match agent.access.draw_first_code() {
        Ok(None) => {}
        Ok(Some(path)) => {
            log::warn!("nobody may use this box yet: enrol with the code in {}", path.display());
        }
        Err(error) => log::warn!("nobody may use this box yet, and it has no code: {error:#}"),
    }
    let alive = Alive::start(&agent)?;
    log::info!("{} listens: {addresses}", agent.device);
    // A socket's path is at most 107 bytes long. Whoever has longer ones can still use the link.
    if let Err(error) = offline::open(&agent) {
        log::error!("no image can be installed from a stick: {error:#}");
    }
    if let Some(fleet) = agent.config.fleet.clone() {
        ddi::check(&agent, &fleet).context("[fleet]")?;
        let agent = Arc::clone(&agent);
        thread::Builder::new().name("fleet".into()).spawn(move || ddi::run(&agent, &fleet))?;
    }
    let threads = doors.serve(&agent)?;
    if let Some(ready) = ready {
        durable::write(ready, addresses.to_string().as_bytes())
            .with_context(|| format!("cannot write {}", ready.display()))?;
    }
    alive.ready()?;
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a listening thread panicked"))?;
    }
    Ok(())
}

/// The ways in.
struct Doors {
    listener: Option<TcpListener>,
    /// Answers `discover`, on the listener's port.
    hellos: Option<Hellos>,
    /// Serial lines and pseudo-terminals, with their names.
    lines: Vec<(Tty, String)>,
    /// `{"tcp": "address:port", "serial": path, "pty": path, "key": the box's}`
    addresses: serde_json::Value,
}

impl Doors {
    fn open(listen: &Listen) -> Result<Self> {
        let mut doors = Self {
            listener: None,
            hellos: None,
            lines: Vec::new(),
            addresses: serde_json::json!({}),
        };
        if let Some(address) = &listen.tcp {
            let listener = TcpListener::bind(address)
                .with_context(|| format!("cannot listen on {address}"))?;
            let address = listener.local_addr()?;
            doors.addresses["tcp"] = address.to_string().into();
            if listen.discoverable {
                doors.hellos = Hellos::open(address)
                    .inspect_err(|error| {
                        log::warn!("cannot be discovered at udp {address}: {error}")
                    })
                    .ok();
            }
            doors.listener = Some(listener);
        }
        if let Some(path) = &listen.serial {
            let tty = Tty::open(path, Some(listen.baud)).with_context(|| {
                format!("cannot use {} at {} baud", path.display(), listen.baud)
            })?;
            doors.addresses["serial"] = path.display().to_string().into();
            doors.lines.push((tty, path.display().to_string()));
        }
        if let Some(path) = &listen.pty {
            let tty = Tty::pair_at(path)
                .with_context(|| format!("cannot make a pseudo-terminal at {}", path.display()))?;
            doors.addresses["pty"] = path.display().to_string().into();
            doors.lines.push((tty, path.display().to_string()));
        }
        Ok(doors)
    }

    /// A thread for each way in.
    fn serve(self, agent: &Arc<Agent>) -> Result<Vec<JoinHandle<()>>> {
        let mut threads = Vec::new();
        for (tty, name) in self.lines {
            let agent = Arc::clone(agent);
            let serve = if agent.config.listen.plain { line::serve_plain } else { line::serve };
            let thread = thread::Builder::new().name(name.clone());
            threads.push(thread.spawn(move || serve(&agent, tty, &name))?);
        }
        if let Some(hellos) = self.hellos {
            let agent = Arc::clone(agent);
            threads.push(thread::Builder::new().name("discover".into()).spawn(move || {
                let is_welcome = |ip| agent.config.listen.peers.contains(&ip);
                let error = hellos.answer(is_welcome, || agent.found());
                log::warn!("this box can no longer be discovered: {error}");
            })?);
        }
        if let Some(listener) = self.listener {
            let agent = Arc::clone(agent);
            threads.push(
                thread::Builder::new()
                    .name("tcp".into())
                    .spawn(move || accept(&agent, &listener))?,
            );
        }
        Ok(threads)
    }
}

fn accept(agent: &Arc<Agent>, listener: &TcpListener) {
    let pending = Arc::new(Pending::default());
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, say: others may close theirs.
                log::warn!("cannot accept: {error}");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let listen = &agent.config.listen;
        if !listen.peers.contains(&peer.ip().to_canonical()) {
            log::warn!("{peer} is not among the peers of the configuration");
            continue;
        }
        let agent = Arc::clone(agent);
        // In the order of their arrival: whoever came first gives way first.
        let Ok(waiting) = stream.try_clone().map(|held| pending.enter(held)) else { continue };
        let session = thread::Builder::new()
            .name(peer.to_string())
            .spawn(move || greet(&agent, waiting, stream, peer));
        if let Err(error) = session {
            log::warn!("cannot serve {peer}: {error}");
        }
    }
}

/// One peer: first proves who it is, then takes one of the connections that there may be.
fn greet(agent: &Arc<Agent>, waiting: Waiting, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let (identity, admission) = agent.door();
    let mut tls = match Server::new(&identity, admission, Records::Long).accept(stream, HANDSHAKE) {
        Ok(tls) => tls,
        Err(error) => {
            log::warn!("{peer} is not let in: {error}");
            return waiting.linger();
        }
    };
    drop(waiting);
    let Some(connection) = Connection::take(agent) else {
        return log::warn!("{peer} is one connection too many");
    };
    let proven = Some(binding(&tls, &identity));
    let peer = session::Peer { name: peer.to_string(), proven };
    session::serve(&connection.0, &mut tls, peer, session::NETWORK_FRAME);
}

/// One of the connections that there may be at a time, until dropped: also by a panic.
struct Connection(Arc<Agent>);

impl Connection {
    fn take(agent: &Arc<Agent>) -> Option<Self> {
        let taken = Self(Arc::clone(agent));
        let before = agent.connections.fetch_add(1, Ordering::Relaxed);
        (before < agent.config.listen.connections).then_some(taken)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Agent {
    fn new(config: Config, mut slots: Slots<Folder>) -> Result<Self> {
        let access = Access::open(&config.keys, &config.roots, &config.sysroot)?;
        slots.trust(access.bundle_keys(&config.policy.trusted));
        let machine = Machine::new(&config.sysroot);
        let room = config.exposures.as_deref().map(Room::open).transpose();
        Ok(Self {
            room: room.context("cannot note exposures")?,
            access: Arc::new(access),
            slots: Mutex::new(slots),
            changed: Condvar::new(),
            busy: Mutex::default(),
            answered: Mutex::default(),
            device: config.device.clone().unwrap_or_else(|| machine.name()),
            machine,
            boot: random().context("no random numbers")?,
            start: Instant::now(),
            dropped: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            config,
        })
    }

    fn now(&self) -> Moment {
        self.machine.moment()
    }

    /// Which key the box shows now, and whom it lets in.
    fn door(&self) -> (Identity, Arc<dyn Admission>) {
        (self.access.identity(), Arc::clone(&self.access) as _)
    }

    fn slots(&self) -> MutexGuard<'_, Slots<Folder>> {
        held(&self.slots)
    }

    /// After a change of the boot record: wakes the watch, tells the daemon if another slot runs now.
    fn announce(&self, before: Option<SlotId>) {
        self.changed.notify_all();
        let (after, generation) = {
            let slots = self.slots();
            (slots.record().active, slots.record().generation)
        };
        log::info!("boot record {generation}: slot {} runs", name(after));
        if before != after {
            self.keep_evidence(before);
        }
        let notify = &self.config.activate.notify;
        if before == after || notify.is_empty() {
            return;
        }
        // The daemon also looks by itself, so a failure here delays it at most.
        if let Err(why) = command::run(notify, None, Duration::from_secs(30)) {
            log::warn!("notify: {why}");
        }
    }

    /// Why the slot that ran a moment ago went bad, if it did.
    fn keep_evidence(&self, before: Option<SlotId>) {
        let record = self.slots().record().clone();
        let bad = |id: SlotId| matches!(record.slot(id).state, SlotState::Bad { .. });
        let failed = record.last_failure.as_ref().filter(|failure| before == Some(failure.slot));
        let Some(Failure { slot, cause, detail, .. }) = failed.filter(|failed| bad(failed.slot))
        else {
            return;
        };
        let reason = format!("slot {slot}, {cause}: {detail}");
        let word = proof::text(&self.config.slots).unwrap_or_else(|why| why);
        let lines = Logs::global().kept();
        if let Err(error) = journal::keep_evidence(&self.config.slots, reason, word, lines) {
            log::warn!("cannot keep the evidence: {error}");
        }
    }

    /// Takes the right to change something.
    fn begin_change(&self, doing: &'static str) -> Result<Change<'_>, Refusal> {
        let mut busy = held(&self.busy);
        if let Some(doing) = *busy {
            return Err(Refusal::Busy { doing: doing.into() });
        }
        *busy = Some(doing);
        Ok(Change { busy: &self.busy })
    }

    fn remember(&self, id: RequestId, answer: &Result<Response, Refusal>) {
        let mut answered = held(&self.answered);
        if answered.len() == REMEMBERED {
            answered.pop_front();
        }
        answered.push_back((id, answer.clone()));
    }
}

/// What a proof of this session counts for.
fn binding<L: Link>(tls: &Tls<L>, ours: &Identity) -> Binding {
    Binding { session: tls.binding(), workstation: tls.peer(), of_box: ours.public() }
}

/// The right to change something, until dropped.
struct Change<'a> {
    busy: &'a Mutex<Option<&'static str>>,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        *held(self.busy) = None;
    }
}

fn name(slot: Option<SlotId>) -> String {
    slot.map_or_else(|| "none".into(), |id| id.to_string())
}

/// A thread that panicked leaves whole values behind: records are replaced, never edited in place.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// An agent that listens nowhere, with its slots in `folder`.
    pub(super) fn agent(folder: &Path) -> Agent {
        let text = format!(
            "slots = {:?}\n[listen]\ntcp = \"127.0.0.1:0\"\n[bundles]\nallow_unsigned = true\n[activate]\nselftest = [\"true\"]\n",
            folder.join("slots")
        );
        let path = folder.join("agent.toml");
        fs::write(&path, text).unwrap();
        let config = Config::read(&path).unwrap();
        let disk = Folder::open(&config.slots).unwrap();
        let slots = Slots::open(disk, config.policy.clone(), &Moment::default()).unwrap();
        Agent::new(config, slots).unwrap()
    }

    #[test]
    fn a_session_that_panics_leaves_its_connection_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let agent = Arc::new(agent(folder.path()));
        let most = agent.config.listen.connections;
        for _ in 0..3 * most {
            let connection = Connection::take(&agent).expect("a free connection");
            let session = AssertUnwindSafe(|| {
                let _connection = connection;
                panic!("a call is a surprise");
            });
            assert!(catch_unwind(session).is_err());
        }
        let all: Vec<_> = (0..most).map(|_| Connection::take(&agent).unwrap()).collect();
        assert!(Connection::take(&agent).is_none());
        drop(all);
        assert!(Connection::take(&agent).is_some());
    }
}
