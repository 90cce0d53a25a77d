//! What is said: one [`Call`] from the workstation, one [`Answer`] (or several, the last being a reply) from the box.
//!
//! A box that does not know a request still reads its number, and answers [`Refusal::Unsupported`].

use crate::boot::BootRecord;
use crate::bytes::{Bytes, Digest};
use crate::condition::{Telemetry, Trial};
use crate::exposure::{Detector, Exposure, Interlock, Lamp, Room};
use crate::journal::Journal;
use crate::pack::SlotPacks;
use crate::profile::Profile;
use crate::role::{Keys, Role};
use crate::slot::{Cause, Release, SlotId};
use crate::version::Version;
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Optional abilities, as bits of [`Hello::features`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Feature {
    Logs = 1 << 0,
    Telemetry = 1 << 1,
    Bench = 1 << 2,
    /// Takes exposures: the box is configured for an X-ray room.
    Exposures = 1 << 3,
    /// Takes packs, which add findings to the bundle that runs.
    Packs = 1 << 4,
}

/// Recognises a call that is repeated because its answer got lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId(pub [u8; 16]);

/// Workstation to box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Counts up in a connection; the reply carries it.
    pub number: u32,
    /// Stays the same when the call is repeated over a new connection.
    pub id: RequestId,
    pub request: Request,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Opens a session.
    Hello {
        version: Version,
        oldest: Version,
    },
    /// The box, for people.
    Info,
    /// The boot record.
    Slots,
    /// Prepares the slot that does not run for a file, or says how much of it is already there.
    Begin {
        sha256: Digest,
        total: u64,
    },
    /// A piece of the file begun before. Repeating it is harmless.
    Write {
        offset: u64,
        chunk: Bytes,
    },
    /// The file is complete: check it and keep it.
    Finish {
        sha256: Digest,
    },
    /// Checks a slot's file on the disk again.
    Verify {
        slot: SlotId,
    },
    /// Self-test, then run it on trial.
    Activate {
        sha256: Digest,
    },
    /// Ends the trial: without it the old bundle comes back.
    Confirm {
        sha256: Digest,
    },
    Rollback {
        reason: String,
    },
    /// Sends back what it was sent.
    Ping {
        payload: Bytes,
    },
    /// Log lines from number `from` on, at most `limit`.
    Logs {
        from: u64,
        limit: u32,
    },
    Telemetry,
    /// Throws the bytes away: speed towards the box.
    Sink {
        payload: Bytes,
    },
    /// Makes bytes up: speed from the box.
    Source {
        length: u32,
    },
    /// What is on trial, and what it lacks to be confirmed.
    Trial,
    /// Ends the trial for good without a proof; the box keeps the reason.
    Force {
        sha256: Digest,
        reason: String,
    },
    /// Tells of an exposure. Repeating it is harmless.
    Exposure(Exposure),
    /// Tells how the detector is.
    Detector(Detector),
    /// Tells how the interlock is.
    Interlock(Interlock),
    /// Asks what the result lamp shows.
    Lamp,
    /// The X-ray room, for people.
    Room,
    /// Lines of another log than the agent's, from number `from` on, at most `limit`; answered as logs are.
    Journal {
        journal: Journal,
        from: u64,
        limit: u32,
    },
    /// Asks over UDP who is there; answered there and nowhere else.
    Find,
    /// A key that the box does not know proves to know the one-time code.
    Enrol {
        proof: Digest,
        /// For people.
        name: String,
    },
    /// Whose key may do what.
    Keys,
    /// A piece of a new keyring; with the last it is checked and put in force.
    Keyring {
        offset: u32,
        total: u32,
        chunk: Bytes,
    },
    /// Has the box make its next key, unless one waits already. It counts once a keyring says so.
    NextKey,
    /// What the box computes with, how it is fed and how hot it is.
    Profile,
    /// A piece of a pack; with the last, the slot that does not run is made of the bundle that runs and this pack.
    Pack {
        offset: u32,
        total: u32,
        chunk: Bytes,
    },
    /// Makes the slot that does not run of the bundle that runs without the pack of this name.
    Unpack {
        name: String,
    },
    /// The packs in both slots.
    Packs,
}

impl Request {
    /// For logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Info => "info",
            Self::Slots => "slots",
            Self::Begin { .. } => "begin",
            Self::Write { .. } => "write",
            Self::Finish { .. } => "finish",
            Self::Verify { .. } => "verify",
            Self::Activate { .. } => "activate",
            Self::Confirm { .. } => "confirm",
            Self::Rollback { .. } => "rollback",
            Self::Ping { .. } => "ping",
            Self::Logs { .. } => "logs",
            Self::Telemetry => "telemetry",
            Self::Sink { .. } => "sink",
            Self::Source { .. } => "source",
            Self::Trial => "trial",
            Self::Force { .. } => "force",
            Self::Exposure(_) => "exposure",
            Self::Detector(_) => "detector",
            Self::Interlock(_) => "interlock",
            Self::Lamp => "lamp",
            Self::Room => "room",
            Self::Journal { .. } => "journal",
            Self::Find => "find",
            Self::Enrol { .. } => "enrol",
            Self::Keys => "keys",
            Self::Keyring { .. } => "keyring",
            Self::NextKey => "next-key",
            Self::Profile => "profile",
            Self::Pack { .. } => "pack",
            Self::Unpack { .. } => "unpack",
            Self::Packs => "packs",
        }
    }
}

/// Box to workstation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one at a time, taken apart at once")]
pub enum Answer {
    Reply(Reply),
    Event(Event),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Of the call.
    pub number: u32,
    pub outcome: Result<Response, Refusal>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    Hello(Hello),
    Info(Info),
    Slots(BootRecord),
    /// `received` bytes are already safe: continue there. All of them: nothing to send.
    Begun {
        slot: SlotId,
        received: u64,
    },
    /// Where the next chunk goes.
    Written {
        received: u64,
    },
    /// The file in this slot is whole and right.
    Verified {
        slot: SlotId,
    },
    /// The boot record after the change.
    Changed(BootRecord),
    Pong {
        payload: Bytes,
    },
    Logs {
        lines: Vec<LogLine>,
        /// Ask from here next time.
        next: u64,
        /// Lines between `from` and the first one here that are gone.
        lost: u64,
    },
    Telemetry(Telemetry),
    Sunk {
        length: u32,
    },
    Source {
        payload: Bytes,
    },
    Trial(Trial),
    /// What the result lamp shows; what was told before is safe on the disk.
    Lamp {
        lamp: Lamp,
        /// Exposures whose image should have arrived and did not.
        missing: u32,
    },
    Room(Room),
    /// A box, to whoever asks: no more than its name and its key.
    Found {
        version: Version,
        device: String,
        key: Digest,
    },
    /// The key is admitted; the proof that the box knows the code too.
    Enrolled {
        role: Role,
        proof: Digest,
    },
    Keys(Keys),
    /// So many bytes of the keyring are here; all of them: it is in force.
    Keyring {
        received: u32,
    },
    /// The key that waits to replace the box's.
    NextKey {
        key: Digest,
    },
    Profile(Profile),
    /// The slot that was made of a bundle and its packs holds this file, whole and right.
    Composed {
        slot: SlotId,
        sha256: Digest,
    },
    Packs(SlotPacks),
}

/// Why the box does not do it. Nothing was changed, except where a slot is said to have gone bad.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    #[error("the box does not know this request")]
    Unsupported,
    #[error("the box speaks {version} and understands peers from {oldest} on")]
    Version { version: Version, oldest: Version },
    #[error("the box is busy: {doing}")]
    Busy { doing: String },
    #[error("{detail}")]
    State { detail: String },
    #[error("the box expects byte {expected} next")]
    Offset { expected: u64 },
    #[error("{found} bytes, the box takes at most {limit}")]
    TooLarge { found: u64, limit: u64 },
    #[error("slot {slot} is bad, {cause}: {detail}")]
    Bad { slot: SlotId, cause: Cause, detail: String },
    #[error("release {found} is older than {floor}, the oldest this box accepts")]
    Floor { found: Release, floor: Release },
    #[error("the box cannot use its disk: {detail}")]
    Disk { detail: String },
    #[error("the session was not opened with a hello")]
    NoHello,
    #[error("not proven: {detail}")]
    Unproven { detail: String },
    /// A value that the protocol does not allow, by name.
    #[error("{detail}")]
    Value { detail: String },
    #[error("the box gives this key the role {role}, which may not {request}")]
    Forbidden { role: Role, request: String },
    #[error("{detail}")]
    Enrolment { detail: String },
    #[error("the box does not take the keyring: {detail}")]
    Keyring { detail: String },
    #[error("the box does not take the pack: {detail}")]
    Pack { detail: String },
}

/// Unasked, between call and reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Still at work on this call.
    Working { number: u32, seconds: u32 },
}

/// The first reply of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: Version,
    pub oldest: Version,
    /// Bits of [`Feature`].
    pub features: u64,
    /// Longest frame the box takes, its zero included.
    pub max_frame: u32,
    pub device: String,
    /// Another one after every start of the agent.
    pub boot: [u8; 16],
}

impl Hello {
    pub const fn has(&self, feature: Feature) -> bool {
        self.features & feature as u64 != 0
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    pub device: String,
    /// `firmware-host 0.1.0`.
    pub agent: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub system: String,
    /// The board, where the device tree names it.
    pub board: Option<String>,
    /// `aarch64`.
    pub machine: String,
    /// Seconds since the agent started.
    pub uptime: u64,
    /// Bytes free where the slots are.
    pub disk_free: u64,
    pub disk_total: u64,
    /// Frames dropped since the agent started, all connections together.
    pub frames_dropped: u64,
    pub signatures_required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts every line since the agent started, kept or not.
    pub number: u64,
    /// Nanoseconds since the agent started.
    pub nanos: u64,
    pub level: Level,
    pub target: String,
    pub message: String,
}

/// Why bytes are no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    #[error("not a call")]
    Malformed,
    #[error("call {number} asks for something this build does not know")]
    Unsupported { number: u32 },
}

impl Call {
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("writing to memory cannot fail")
    }

    /// Reads untrusted bytes; a request of a newer peer is [`CallError::Unsupported`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CallError> {
        let ((number, id), rest): ((u32, RequestId), _) =
            postcard::take_from_bytes(bytes).map_err(|_| CallError::Malformed)?;
        match postcard::take_from_bytes(rest) {
            Ok((request, [])) => Ok(Self { number, id, request }),
            _ => Err(CallError::Unsupported { number }),
        }
    }
}

impl Answer {
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("writing to memory cannot fail")
    }

    /// Reads untrusted bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((answer, [])) => Some(answer),
            _ => None,
        }
    }
}
