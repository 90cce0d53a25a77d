//! The workstation's end of the link: one method a request, each with a deadline.

mod bench;
mod keys;
mod packs;
mod profile;
mod room;

use crate::kind::Kind;
use crate::link::Link;
use crate::random::random;
use protocol::{
    Answer, BootRecord, Bytes, Call, Decoder, Digest, Event, Hello, Info, Journal, LogLine,
    Refusal, Reply, Request, RequestId, Response, SlotId, Telemetry, Trial, Version, encode_frame,
    encoded_length, negotiate,
};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Longest frame taken from a box.
const MAX_FRAME: usize = 1 << 20;
/// Bytes of a message besides its payload: number, id, variant, offset, length.
const ENVELOPE: usize = 64;
/// Longest chunk of a push.
const CHUNK: usize = 64 << 10;
/// Rounds of sending chunks again that may bring nothing.
const RESENDS: u32 = 5;
/// Chunks under way at a time, so that the line does not wait for the disk.
const WINDOW: usize = 8;

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    #[error("the link broke")]
    Link(#[from] io::Error),

    #[error("the box closed the connection")]
    Closed,

    #[error("{what}: no sign of life for {}", humantime::format_duration(*silence))]
    Silent { what: &'static str, silence: Duration },

    #[error("{what}: not done within {}", humantime::format_duration(*limit))]
    Late { what: &'static str, limit: Duration },

    #[error(transparent)]
    Refused(#[from] Refusal),

    #[error("{what}: the box answered something else ({found})")]
    Unexpected { what: &'static str, found: String },

    #[error("the box speaks protocol {box_speaks}, this program {ours}")]
    Version { box_speaks: Version, ours: Version },

    #[error("the box takes no packs (it speaks protocol {box_speaks}): update its agent first")]
    NoPacks { box_speaks: Version },
}

impl DeviceError {
    /// Whether trying again over a new connection can help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Link(error) => !is_about_keys(error),
            Self::Closed | Self::Silent { .. } => true,
            Self::Refused(refusal) => matches!(refusal, Refusal::Busy { .. }),
            _ => false,
        }
    }

    /// For programs: what kind of failure it was.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Link(error) if is_about_keys(error) => Kind::Refused,
            Self::Link(_) | Self::Closed => Kind::Link,
            Self::Silent { .. } | Self::Late { .. } => Kind::Timeout,
            Self::Refused(Refusal::Bad { .. }) => Kind::Verification,
            Self::Refused(Refusal::Busy { .. }) => Kind::Busy,
            Self::Refused(Refusal::Unproven { .. }) => Kind::Unproven,
            Self::Refused(Refusal::Unsupported | Refusal::Version { .. }) => Kind::Protocol,
            Self::Refused(_) => Kind::Refused,
            Self::Unexpected { .. } | Self::Version { .. } | Self::NoPacks { .. } => Kind::Protocol,
        }
    }
}

/// Whether one end does not accept the other's key: nothing that passes.
fn is_about_keys(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without any sign of life.
    pub silence: Duration,
    /// For a whole call, however alive the box is.
    pub call: Duration,
}

/// How far a push is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were there already.
    pub resumed: u64,
    pub received: u64,
    pub total: u64,
}

/// A box one can talk to.
pub struct Device {
    link: Box<dyn Link>,
    decoder: Decoder,
    /// Payloads that came together with one that was waited for.
    waiting: VecDeque<Vec<u8>>,
    patience: Patience,
    number: u32,
    hello: Hello,
}

impl Device {
    /// Opens a session.
    pub fn open(link: Box<dyn Link>, patience: Patience) -> Result<Self, DeviceError> {
        Self::open_speaking(link, patience, (Version::CURRENT, Version::OLDEST))
    }

    /// Opens a session as a peer that speaks this version, and understands those from the second one on.
    pub fn open_speaking(
        link: Box<dyn Link>,
        patience: Patience,
        ours: (Version, Version),
    ) -> Result<Self, DeviceError> {
        let nobody = Hello {
            version: Version::OLDEST,
            oldest: Version::OLDEST,
            features: 0,
            max_frame: 0,
            device: String::new(),
            boot: [0; 16],
        };
        let decoder = Decoder::new(MAX_FRAME);
        let waiting = VecDeque::new();
        // Not from 1: an answer to an earlier session may still be in a serial line.
        let [a, b, c, ..] = random()?;
        let number = u32::from_le_bytes([a, b, c, 0]);
        let mut device = Self { link, decoder, waiting, patience, number, hello: nobody };
        // Whatever the line made of noise before ends here.
        device.link.send(&[0], patience.silence)?;
        match device.call("hello", Request::Hello { version: ours.0, oldest: ours.1 }) {
            Ok(Response::Hello(hello)) => {
                if negotiate(ours, (hello.version, hello.oldest)).is_none() {
                    return Err(DeviceError::Version { box_speaks: hello.version, ours: ours.0 });
                }
                device.hello = hello;
                Ok(device)
            }
            Ok(other) => Err(unexpected("hello", &other)),
            Err(DeviceError::Refused(Refusal::Version { version, .. })) => {
                Err(DeviceError::Version { box_speaks: version, ours: ours.0 })
            }
            Err(error) => Err(error),
        }
    }

    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    pub fn info(&mut self) -> Result<Info, DeviceError> {
        match self.call("info", Request::Info)? {
            Response::Info(info) => Ok(info),
            other => Err(unexpected("info", &other)),
        }
    }

    pub fn slots(&mut self) -> Result<BootRecord, DeviceError> {
        match self.call("slots", Request::Slots)? {
            Response::Slots(record) => Ok(record),
            other => Err(unexpected("slots", &other)),
        }
    }

    /// Sends a file, or what is missing of it, and has it checked. Repeating it is harmless.
    ///
    /// Chunks lost on the way are sent again as long as the push gets ahead.
    pub fn push(
        &mut self,
        file: &[u8],
        sha256: Digest,
        mut progress: impl FnMut(Progress),
    ) -> Result<SlotId, DeviceError> {
        let total = file.len() as u64;
        let resumed = self.begin(sha256, total)?;
        let mut received = resumed;
        let mut idle_rounds = 0;
        progress(Progress { resumed, received, total });
        while received < total {
            let before = received;
            let note = |received| progress(Progress { resumed, received, total });
            match self.send_chunks(file, &mut received, note) {
                Ok(()) => {}
                // A frame seems to be lost, the link being good otherwise.
                Err(
                    error @ (DeviceError::Silent { .. }
                    | DeviceError::Refused(Refusal::Offset { .. })),
                ) if idle_rounds < RESENDS => {
                    log::debug!("{error}; going on at the box's high-water mark");
                    received = self.begin(sha256, total)?;
                }
                Err(error) => return Err(error),
            }
            idle_rounds = if received > before { 0 } else { idle_rounds + 1 };
        }
        match self.call("finish", Request::Finish { sha256 })? {
            Response::Verified { slot } => Ok(slot),
            other => Err(unexpected("finish", &other)),
        }
    }

    fn begin(&mut self, sha256: Digest, total: u64) -> Result<u64, DeviceError> {
        match self.call("begin", Request::Begin { sha256, total })? {
            Response::Begun { received, .. } if received <= total => Ok(received),
            other => Err(unexpected("begin", &other)),
        }
    }

    /// Sends everything from `received` on, a window ahead of the answers.
    fn send_chunks(
        &mut self,
        file: &[u8],
        received: &mut u64,
        mut note: impl FnMut(u64),
    ) -> Result<(), DeviceError> {
        let total = file.len() as u64;
        let chunk = CHUNK.min(self.payload_limit());
        let mut sent = *received;
        let mut under_way = VecDeque::new();
        while *received < total {
            while sent < total && under_way.len() < WINDOW {
                let start = usize::try_from(sent).expect("within a file in memory");
                let end = (start + chunk).min(file.len());
                let chunk = Bytes(file[start..end].to_vec());
                under_way
                    .push_back(self.send(random_id()?, Request::Write { offset: sent, chunk })?);
                sent = end as u64;
            }
            // Every chunk was answered, and yet the box has not got them all: it counts otherwise than we do.
            let number = under_way.pop_front().ok_or_else(|| unexpected("write", received))?;
            match self.reply("write", number)? {
                Response::Written { received: now } if now <= total => *received = now,
                other => return Err(unexpected("write", &other)),
            }
            note(*received);
        }
        Ok(())
    }

    /// Has a slot's file checked again on the box.
    pub fn verify(&mut self, slot: SlotId) -> Result<(), DeviceError> {
        match self.call("verify", Request::Verify { slot })? {
            Response::Verified { .. } => Ok(()),
            other => Err(unexpected("verify", &other)),
        }
    }

    /// Self-test, then trial. Under the same `id`, over whatever connection, it is done once.
    pub fn activate(&mut self, id: RequestId, sha256: Digest) -> Result<BootRecord, DeviceError> {
        self.change("activate", id, Request::Activate { sha256 })
    }

    /// Ends the trial for good.
    pub fn confirm(&mut self, id: RequestId, sha256: Digest) -> Result<BootRecord, DeviceError> {
        self.change("confirm", id, Request::Confirm { sha256 })
    }

    /// The same without a proof; the box keeps the reason.
    pub fn force(
        &mut self,
        id: RequestId,
        sha256: Digest,
        reason: &str,
    ) -> Result<BootRecord, DeviceError> {
        self.change("force", id, Request::Force { sha256, reason: reason.to_owned() })
    }

    /// How the trial stands.
    pub fn trial(&mut self) -> Result<Trial, DeviceError> {
        match self.call("trial", Request::Trial)? {
            Response::Trial(trial) => Ok(trial),
            other => Err(unexpected("trial", &other)),
        }
    }

    /// The same; `None` from a box that is too old to tell.
    pub fn trial_if_known(&mut self) -> Result<Option<Trial>, DeviceError> {
        match self.trial() {
            Err(DeviceError::Refused(Refusal::Unsupported)) => Ok(None),
            trial => trial.map(Some),
        }
    }

    /// Goes back to the other confirmed slot; done once under the same `id`.
    pub fn rollback(&mut self, id: RequestId, reason: &str) -> Result<BootRecord, DeviceError> {
        self.change("rollback", id, Request::Rollback { reason: reason.to_owned() })
    }

    /// There and back.
    pub fn ping(&mut self, payload: &[u8]) -> Result<Duration, DeviceError> {
        let start = Instant::now();
        match self.call("ping", Request::Ping { payload: Bytes(payload.to_vec()) })? {
            Response::Pong { payload: back } if back.0 == payload => Ok(start.elapsed()),
            other => Err(unexpected("ping", &other)),
        }
    }

    /// Lines from `from` on, the number to go on with, and how many are gone; the agent's own, or a journal's.
    pub fn logs(
        &mut self,
        journal: Option<Journal>,
        from: u64,
    ) -> Result<(Vec<LogLine>, u64, u64), DeviceError> {
        let limit = u32::MAX;
        let request = match journal {
            None => Request::Logs { from, limit },
            Some(journal) => Request::Journal { journal, from, limit },
        };
        match self.call("logs", request)? {
            Response::Logs { lines, next, lost } => Ok((lines, next, lost)),
            other => Err(unexpected("logs", &other)),
        }
    }

    /// The number the box's next log line will have.
    pub fn log_end(&mut self, journal: Option<Journal>) -> Result<u64, DeviceError> {
        self.logs(journal, u64::MAX).map(|(_, end, _)| end)
    }

    pub fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        match self.call("telemetry", Request::Telemetry)? {
            Response::Telemetry(telemetry) => Ok(telemetry),
            other => Err(unexpected("telemetry", &other)),
        }
    }

    /// Longest payload of a request.
    pub fn payload_limit(&self) -> usize {
        let frame = self.hello.max_frame as usize;
        frame.saturating_sub(encoded_length(frame) - frame + ENVELOPE)
    }

    /// Frames from the box that were dropped.
    pub fn dropped(&self) -> u64 {
        self.decoder.dropped()
    }

    fn change(
        &mut self,
        what: &'static str,
        id: RequestId,
        request: Request,
    ) -> Result<BootRecord, DeviceError> {
        let number = self.send(id, request)?;
        match self.reply(what, number)? {
            Response::Changed(record) => Ok(record),
            other => Err(unexpected(what, &other)),
        }
    }

    fn call(&mut self, what: &'static str, request: Request) -> Result<Response, DeviceError> {
        let number = self.send(random_id()?, request)?;
        self.reply(what, number)
    }

    fn send(&mut self, id: RequestId, request: Request) -> Result<u32, DeviceError> {
        self.number = self.number.wrapping_add(1);
        let call = Call { number: self.number, id, request };
        self.link.send(&encode_frame(&call.to_bytes()), self.patience.silence)?;
        Ok(self.number)
    }

    /// Waits for the reply to a call; those to earlier calls that nobody waits for any more are skipped.
    fn reply(&mut self, what: &'static str, number: u32) -> Result<Response, DeviceError> {
        let start = Instant::now();
        loop {
            let payload = self.payload(what, start)?;
            let answer = Answer::from_bytes(&payload);
            match answer.ok_or_else(|| unexpected(what, &"bytes this program does not know"))? {
                Answer::Reply(reply) if reply.number == number => {
                    let Reply { outcome, .. } = reply;
                    return Ok(outcome?);
                }
                Answer::Reply(_) => {}
                Answer::Event(Event::Working { seconds, .. }) => {
                    log::debug!("{what}: the box has been at work for {seconds} s");
                }
            }
        }
    }

    fn payload(&mut self, what: &'static str, start: Instant) -> Result<Vec<u8>, DeviceError> {
        let Patience { silence, call } = self.patience;
        let mut bytes = [0; 16 << 10];
        loop {
            if let Some(payload) = self.waiting.pop_front() {
                return Ok(payload);
            }
            let left = call.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(DeviceError::Late { what, limit: call });
            }
            let mut rest = match self.link.receive(&mut bytes, silence.min(left)) {
                Ok(0) => return Err(DeviceError::Closed),
                Ok(length) => &bytes[..length],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::TimedOut && left > silence => {
                    return Err(DeviceError::Silent { what, silence });
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => continue,
                Err(error) => return Err(error.into()),
            };
            self.waiting.extend(std::iter::from_fn(|| self.decoder.next(&mut rest)));
        }
    }
}

fn random_id() -> Result<RequestId, DeviceError> {
    Ok(RequestId(random()?))
}

fn unexpected(what: &'static str, found: &dyn std::fmt::Debug) -> DeviceError {
    let found = format!("{found:?}").chars().take(200).collect();
    DeviceError::Unexpected { what, found }
}
