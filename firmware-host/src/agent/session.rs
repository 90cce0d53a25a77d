//! One connection: calls in, answers out, one after the other.

use super::{Agent, compose::Change, held, room::Room};
use crate::enrolment::Binding;
use crate::link::Link;
use crate::link::tls::Admission;
use bundle::PACK_LIMIT;
use keyring::{KEYRING_LIMIT, fingerprint};
use protocol::{
    Answer, Bytes, Call, CallError, Decoder, Digest, Event, Feature, Hello, Info, Refusal, Reply,
    Request, RequestId, Response, Role, Version, encode_frame, negotiate,
};
use std::io::ErrorKind;
use std::sync::{atomic::Ordering, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Longest frame taken over a network: a chunk of 64 KiB and room around it.
pub(super) const NETWORK_FRAME: u32 = 80 << 10;
/// Longest frame taken over a serial line: what is lost when a bit flips, 0.4 s at 115200 baud.
pub(super) const SERIAL_FRAME: u32 = 4 << 10;
/// Longest payload sent back on request.
const MAX_PAYLOAD: u32 = 64 << 10;
/// A peer that does not take an answer for so long is gone.
const SEND: Duration = Duration::from_secs(10);
/// A peer waiting for a long call hears from us so often.
const HEARTBEAT: Duration = Duration::from_secs(1);
const LOG_LINES: u32 = 500;
/// A silent peer whose key is revoked is cut off within this time.
const LOOK: Duration = Duration::from_secs(1);

/// Who is at the other end.
pub(super) struct Peer {
    /// Of the connection, for logs.
    pub(super) name: String,
    /// Keys and session of the handshake; none on a line without TLS.
    pub(super) proven: Option<Binding>,
}

/// Serves a peer until it leaves, falls silent or breaks the rules.
pub(super) fn serve<L: Link>(agent: &Agent, link: &mut L, peer: Peer, max_frame: u32) {
    let name = peer.name.clone();
    match &peer.proven {
        Some(binding) => log::debug!("{name}: key {}", fingerprint(&binding.workstation)),
        None => log::debug!("{name}: connected, without TLS"),
    }
    let why = match &agent.config.thrown {
        None => Session::new(agent, link, peer, max_frame).run(),
        Some(thrown) => Session::new(agent, &mut thrown.over(link), peer, max_frame).run(),
    };
    log::debug!("{name}: {why}");
}

struct Session<'a, L> {
    agent: &'a Agent,
    link: &'a mut L,
    peer: Peer,
    max_frame: u32,
    greeted: bool,
    /// The file this peer is sending.
    begun: Option<Digest>,
    /// The keyring this peer is sending.
    keyring: Vec<u8>,
    /// The pack this peer is sending.
    pack: Vec<u8>,
}

impl<'a, L: Link> Session<'a, L> {
    fn new(agent: &'a Agent, link: &'a mut L, peer: Peer, max_frame: u32) -> Self {
        let (keyring, pack) = Default::default();
        Self { agent, link, peer, max_frame, greeted: false, begun: None, keyring, pack }
    }

    /// Returns why it ended.
    fn run(&mut self) -> String {
        let mut decoder = Decoder::new(self.max_frame as usize);
        let mut bytes = vec![0; 64 << 10];
        let mut silent = Instant::now();
        loop {
            let idle = self.agent.config.listen.idle.saturating_sub(silent.elapsed());
            let mut rest = match self.link.receive(&mut bytes, idle.min(LOOK)) {
                Ok(0) => return "left".into(),
                Ok(length) => &bytes[..length],
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    if idle.is_zero() {
                        return "was silent".into();
                    }
                    if !self.is_admitted() {
                        return "its key may nothing any more".into();
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return error.to_string(),
            };
            silent = Instant::now();
            let dropped = decoder.dropped();
            while let Some(payload) = decoder.next(&mut rest) {
                if let Err(why) = self.take(&payload) {
                    return why;
                }
            }
            if decoder.dropped() > dropped {
                let error = decoder.last_error().map(|error| error.to_string()).unwrap_or_default();
                log::warn!("a frame was dropped: {error}");
                self.agent.dropped.fetch_add(decoder.dropped() - dropped, Ordering::Relaxed);
            }
        }
    }

    fn take(&mut self, payload: &[u8]) -> Result<(), String> {
        let (number, outcome) = match Call::from_bytes(payload) {
            Ok(call) => (call.number, self.outcome(call)?),
            Err(CallError::Unsupported { number }) => (number, Err(Refusal::Unsupported)),
            Err(CallError::Malformed) => {
                // Whole according to its CRC, so the peer speaks something else.
                return Err(CallError::Malformed.to_string());
            }
        };
        if let Err(refusal) = &outcome {
            log::warn!("refused: {refusal}");
        }
        self.send(&Answer::Reply(Reply { number, outcome }))
    }

    fn outcome(&mut self, call: Call) -> Result<Result<Response, Refusal>, String> {
        if !self.greeted && !matches!(call.request, Request::Hello { .. }) {
            return Ok(Err(Refusal::NoHello));
        }
        let name = call.request.name();
        log::debug!("{name}");
        match self.role() {
            Some(role) if role.allows(&call.request) => {}
            Some(role) => return Ok(Err(Refusal::Forbidden { role, request: name.into() })),
            None if self.is_admitted() && call.request.is_for_strangers() => {}
            None => return Err("its key may nothing any more".into()),
        }
        match call.request {
            Request::Hello { version, oldest } => Ok(self.hello(version, oldest)),
            Request::Write { offset, chunk } => Ok(self.write(offset, &chunk)),
            Request::Enrol { proof, name } => Ok(self.enrol(&proof, &name)),
            Request::Keyring { offset, total, chunk } => Ok(self.keyring(offset, total, &chunk)),
            Request::Pack { offset, total, chunk } => {
                match gather(&mut self.pack, (offset, total), &chunk, PACK_LIMIT) {
                    Ok(None) => Ok(Ok(Response::Written { received: self.pack.len() as u64 })),
                    Ok(Some(pack)) => self.with_heartbeat(call.number, move |agent| {
                        agent.once(call.id, name, |agent| agent.add_pack(&pack))
                    }),
                    Err(refusal) => Ok(Err(refusal)),
                }
            }
            request => {
                if let Request::Begin { sha256, .. } = request {
                    self.begun = Some(sha256);
                }
                self.with_heartbeat(call.number, move |agent| agent.answer(call.id, request))
            }
        }
    }

    /// Looked up anew for every request: a key may be revoked at any time.
    fn role(&self) -> Option<Role> {
        match &self.peer.proven {
            Some(binding) => self.agent.access.role(&binding.workstation),
            None => Some(Role::Report),
        }
    }

    /// Whether it may say anything: a stranger may, while there is a code he may know.
    fn is_admitted(&self) -> bool {
        let proven = self.peer.proven.as_ref();
        proven.is_none_or(|binding| self.agent.access.admits(&binding.workstation))
    }

    fn enrol(&self, proof: &Digest, name: &str) -> Result<Response, Refusal> {
        let no_tls = || Refusal::Enrolment { detail: "this line has no TLS".into() };
        let binding = self.peer.proven.as_ref().ok_or_else(no_tls)?;
        let (role, proof) = self.agent.access.enrol(proof, name, binding)?;
        Ok(Response::Enrolled { role, proof })
    }

    fn keyring(&mut self, offset: u32, total: u32, chunk: &Bytes) -> Result<Response, Refusal> {
        let limit = KEYRING_LIMIT as u64;
        let whole = gather(&mut self.keyring, (offset, total), chunk, limit)?;
        let Some(text) = whole else {
            return Ok(Response::Keyring { received: self.keyring.len() as u32 });
        };
        let text = String::from_utf8(text);
        let text = text.map_err(|_| Refusal::Keyring { detail: "not UTF-8".into() })?;
        // From the next request on, for the link and for bundles.
        let _change = self.agent.begin_change("keyring")?;
        self.agent.access.apply(&text)?;
        let trusted = self.agent.access.bundle_keys(&self.agent.config.policy.trusted);
        self.agent.slots().trust(trusted);
        Ok(Response::Keyring { received: total })
    }

    fn hello(&mut self, version: Version, oldest: Version) -> Result<Response, Refusal> {
        let (ours, our_oldest) = (Version::CURRENT, Version::OLDEST);
        if negotiate((ours, our_oldest), (version, oldest)).is_none() {
            return Err(Refusal::Version { version: ours, oldest: our_oldest });
        }
        self.greeted = true;
        Ok(Response::Hello(self.agent.hello(self.max_frame)))
    }

    fn write(&self, offset: u64, chunk: &Bytes) -> Result<Response, Refusal> {
        let nothing = || Refusal::State { detail: "nothing was begun on this connection".into() };
        let sha256 = self.begun.ok_or_else(nothing)?;
        let received = self.agent.write(sha256, offset, &chunk.0)?;
        Ok(Response::Written { received })
    }

    /// Works on another thread, so that this one can say that it is still at work.
    fn with_heartbeat(
        &mut self,
        number: u32,
        work: impl FnOnce(&Agent) -> Result<Response, Refusal> + Send,
    ) -> Result<Result<Response, Refusal>, String> {
        let agent = self.agent;
        thread::scope(|scope| {
            let (done, outcome) = mpsc::sync_channel(1);
            let start = Instant::now();
            let worker = scope.spawn(move || {
                // The other end is gone only if the peer is: nobody is left to tell.
                let _ = done.send(work(agent));
            });
            loop {
                match outcome.recv_timeout(HEARTBEAT) {
                    Ok(outcome) => return Ok(outcome),
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        let seconds = u32::try_from(start.elapsed().as_secs()).unwrap_or(u32::MAX);
                        self.send(&Answer::Event(Event::Working { number, seconds }))?;
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        // Joined here, its panic is not ours: a line has one thread, which must live.
                        let panicked = worker.join().is_err();
                        return Err(format!("the work on a call ended, panicked: {panicked}"));
                    }
                }
            }
        })
    }

    fn send(&mut self, answer: &Answer) -> Result<(), String> {
        let frame = encode_frame(&answer.to_bytes());
        self.link.send(&frame, SEND).map_err(|error| error.to_string())
    }
}

/// Takes a piece of something sent whole; from the beginning again whenever that comes. Returns it once it is whole.
fn gather(
    buffer: &mut Vec<u8>,
    (offset, total): (u32, u32),
    chunk: &Bytes,
    limit: u64,
) -> Result<Option<Vec<u8>>, Refusal> {
    if u64::from(total) > limit {
        return Err(Refusal::TooLarge { found: total.into(), limit });
    }
    if offset == 0 {
        buffer.clear();
    }
    if offset as usize != buffer.len() {
        return Err(Refusal::Offset { expected: buffer.len() as u64 });
    }
    let after = buffer.len() + chunk.0.len();
    if after > total as usize {
        return Err(Refusal::TooLarge { found: after as u64, limit: total.into() });
    }
    buffer.extend_from_slice(&chunk.0);
    Ok((after == total as usize).then(|| std::mem::take(buffer)))
}

impl Agent {
    /// What anybody may know: who this is, and by which key to recognise it.
    pub(super) fn found(&self) -> Response {
        Response::Found {
            version: Version::CURRENT,
            device: self.device.clone(),
            key: Digest(self.access.identity().public().to_bytes()),
        }
    }

    fn hello(&self, max_frame: u32) -> Hello {
        let room = self.room.is_some().then_some(Feature::Exposures);
        let features = [Feature::Logs, Feature::Telemetry, Feature::Bench, Feature::Packs];
        Hello {
            version: Version::CURRENT,
            oldest: Version::OLDEST,
            features: features
                .into_iter()
                .chain(room)
                .fold(0, |bits, feature| bits | feature as u64),
            max_frame,
            device: self.device.clone(),
            boot: self.boot,
        }
    }

    /// Takes a piece of the file begun before; returns where the next one goes.
    pub(super) fn write(&self, sha256: Digest, offset: u64, piece: &[u8]) -> Result<u64, Refusal> {
        let _change = self.begin_change("write")?;
        self.slots().write(sha256, offset, piece, self.start.elapsed())
    }

    /// Does what is asked. A change asked for twice under one id is done once.
    pub(super) fn answer(&self, id: RequestId, request: Request) -> Result<Response, Refusal> {
        let doing = request.name();
        match request {
            Request::Info => Ok(Response::Info(self.info())),
            Request::Slots => Ok(Response::Slots(self.slots().record().clone())),
            Request::Ping { payload } => Ok(Response::Pong { payload }),
            Request::Sink { payload } => {
                Ok(Response::Sunk { length: u32::try_from(payload.0.len()).unwrap_or(u32::MAX) })
            }
            Request::Source { length } if length > MAX_PAYLOAD => {
                Err(Refusal::TooLarge { found: length.into(), limit: MAX_PAYLOAD.into() })
            }
            Request::Source { length } => {
                Ok(Response::Source { payload: Bytes(vec![0x5A; length as usize]) })
            }
            Request::Logs { from, limit } => {
                let limit = limit.min(LOG_LINES) as usize;
                let (lines, next, lost) = super::Logs::global().since(from, limit);
                Ok(Response::Logs { lines, next, lost })
            }
            Request::Journal { journal, from, limit } => {
                let lines = super::journal::read(&self.config.slots, journal)
                    .map_err(|error| Refusal::Disk { detail: error.to_string() })?;
                let (lines, next, lost) = super::journal::page(lines, from, limit.min(LOG_LINES));
                Ok(Response::Logs { lines, next, lost })
            }
            Request::Telemetry => {
                let free = machine::space(&self.config.slots).ok().map(|(free, _)| free);
                Ok(Response::Telemetry(self.machine.telemetry(free)))
            }
            Request::Profile => {
                let board = self.machine.known_board();
                Ok(Response::Profile(self.machine.profile(board)))
            }
            Request::Begin { sha256, total } => {
                let _change = self.begin_change(doing)?;
                let (slot, received) = self.slots().begin(sha256, total)?;
                log::info!("slot {slot} receives {sha256}: {received} of {total} bytes are there");
                Ok(Response::Begun { slot, received })
            }
            Request::Verify { slot } => {
                let _change = self.begin_change(doing)?;
                let before = self.slots().record().active;
                let verified = self.slots().verify(slot, &self.now());
                if verified.is_err() {
                    self.announce(before);
                }
                verified.map(|()| Response::Verified { slot })
            }
            Request::Finish { sha256 } => self.once(id, doing, |agent| {
                let slot = agent.slots().finish(sha256, &agent.now())?;
                log::info!("slot {slot} holds {sha256}, verified");
                Ok(Response::Verified { slot })
            }),
            Request::Activate { sha256 } => {
                self.once(id, doing, |agent| agent.activate(sha256).map(Response::Changed))
            }
            Request::Confirm { sha256 } => {
                self.once(id, doing, |agent| agent.confirm(sha256).map(Response::Changed))
            }
            Request::Force { sha256, reason } => {
                self.once(id, doing, |agent| agent.force(sha256, reason).map(Response::Changed))
            }
            Request::Rollback { reason } => {
                self.once(id, doing, |agent| agent.rollback(&reason).map(Response::Changed))
            }
            Request::Trial => Ok(Response::Trial(self.trial())),
            Request::Packs => self.packs().map(Response::Packs),
            Request::Unpack { name } => {
                self.once(id, doing, |agent| agent.compose(Change::Remove(name)))
            }
            Request::Exposure(exposure) => self.room()?.expose(exposure),
            Request::Detector(detector) => self.room()?.detector(detector),
            Request::Interlock(interlock) => self.room()?.interlock(interlock),
            Request::Lamp => self.room()?.lamp(),
            Request::Room => self.room()?.about(),
            Request::Keys => Ok(Response::Keys(self.access.keys())),
            Request::NextKey => {
                let _change = self.begin_change(doing)?;
                let next = self.access.next_key();
                let next = next.map_err(|error| Refusal::Disk { detail: format!("{error:#}") })?;
                Ok(Response::NextKey { key: Digest(next.to_bytes()) })
            }
            Request::Hello { .. }
            | Request::Write { .. }
            | Request::Pack { .. }
            | Request::Find
            | Request::Enrol { .. }
            | Request::Keyring { .. } => Err(Refusal::Unsupported),
        }
    }

    fn room(&self) -> Result<&Room, Refusal> {
        let detail = "this box serves no X-ray room: [exposures] is not configured";
        self.room.as_ref().ok_or_else(|| Refusal::State { detail: detail.into() })
    }

    fn once(
        &self,
        id: RequestId,
        doing: &'static str,
        work: impl FnOnce(&Self) -> Result<Response, Refusal>,
    ) -> Result<Response, Refusal> {
        let _change = self.begin_change(doing)?;
        let remembered = held(&self.answered).iter().find(|(seen, _)| *seen == id).cloned();
        if let Some((_, answer)) = remembered {
            return answer;
        }
        let answer = work(self);
        self.remember(id, &answer);
        answer
    }

    pub(super) fn info(&self) -> Info {
        let (disk_free, disk_total) = machine::space(&self.config.slots).unwrap_or((0, 0));
        Info {
            device: self.device.clone(),
            agent: concat!("firmware-host ", env!("CARGO_PKG_VERSION")).into(),
            system: self.machine.system(),
            board: self.machine.board(),
            machine: std::env::consts::ARCH.into(),
            uptime: self.start.elapsed().as_secs(),
            disk_free,
            disk_total,
            frames_dropped: self.dropped.load(Ordering::Relaxed),
            signatures_required: !self.config.policy.allow_unsigned,
        }
    }
}
