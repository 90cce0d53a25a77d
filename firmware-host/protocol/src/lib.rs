//! What the workstation and the box say to each other, and what the box remembers about its two slots.
//!
//! ```text
//! message   Call, Answer                 what is said, numbered so that a reply finds its question
//! exposure  Exposure, Detector, Lamp     what an X-ray controller tells, and is told
//! frame     COBS(bytes · CRC-32) · 0x00  how it crosses a wire that loses and flips bytes
//! pack      PackName                     which findings were added to a bundle
//! profile   Profile                       what a box computes with, how it is fed and how hot it is
//! role      Role                          which key may ask for what
//! boot      BootRecord and transitions   which bundle runs, which is on trial, which to fall back to
//! record    bytes of the boot record     two copies, the newest whole one counts
//! proof     Running, Proven              what the daemon says of a bundle, and whether that confirms it
//! ```
//!
//! Pure data and functions: no socket, no file, no clock; `no_std` with `alloc`, so a microcontroller can
//! speak it. Start at [`Request`] for the link, at [`BootRecord`] for the slots. Whoever only wants to know
//! which bundle to run reads the two files named by [`RECORD_FILES`] and calls [`newest`].
//!
//! Everything that is written down or sent is postcard: enums and fields by position. Variants are appended,
//! never moved, removed or given another field; `tests/wire.rs` holds the bytes of every message.
//!
//! ```
//! use protocol::{Call, Decoder, Request, RequestId, encode_frame};
//!
//! let call = Call { number: 1, id: RequestId([7; 16]), request: Request::Slots };
//! let mut wire: &[u8] = &encode_frame(&call.to_bytes());
//!
//! let mut decoder = Decoder::new(1 << 20); // the longest frame it takes, in bytes
//! let payload = decoder.next(&mut wire).expect("the frame is whole");
//! assert_eq!(Call::from_bytes(&payload)?, call);
//! # Ok::<(), protocol::CallError>(())
//! ```

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod boot;
mod bytes;
mod condition;
pub mod exposure;
mod frame;
mod journal;
mod message;
mod moment;
mod pack;
mod permission;
mod profile;
mod proof;
mod record;
mod role;
mod slot;
mod standing;
mod version;

pub use boot::{Activation, BootRecord, Forbidden, Forced, Notes};
pub use bytes::{Bytes, Digest};
pub use condition::{OnTrial, Telemetry, Temperature, Trial};
pub use exposure::{Detector, Exposure, Interlock, Lamp, Room};
pub use frame::{Decoder, FrameError, encode_frame, encoded_length};
pub use journal::Journal;
pub use message::{
    Answer, Call, CallError, Event, Feature, Hello, Info, Level, LogLine, Refusal, Reply, Request,
    RequestId, Response,
};
pub use moment::{BootId, Moment};
pub use pack::{PackName, SlotPacks};
pub use profile::{Core, Derating, Heat, Power, Profile};
pub use proof::{Candidate, Lack, Proven, RUNNING_FILE, RUNNING_LIMIT, Running, Terms, Unproven};
pub use record::{
    LoadError, RECORD_FILES, RECORD_LIMIT, RecordError, Storage, commit, load, newest,
};
pub use role::{AdmittedKey, Keys, Role};
pub use slot::{Bundle, Cause, Failure, Release, Slot, SlotId, SlotState};
pub use standing::Standing;
pub use version::{Version, negotiate};
