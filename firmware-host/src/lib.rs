//! Agent on the box, verbs on the workstation.
//!
//! ```text
//! workstation  verbs ─▶ Device ─▶ link ═══ frames of `protocol` ═══ link ─▶ agent::session ─▶ Slots ─▶ Disk   box
//! ```
//!
//! [`Device`] is the workstation's end: one method a request, a deadline on each. [`agent`] is the box's end:
//! it keeps two slots and a boot record in a folder, and what it does to them survives a power cut anywhere.
//! Threads and blocking calls throughout: a box has a handful of peers, not thousands.

pub mod agent;
mod device;
pub mod discover;
pub mod enrolment;
mod kind;
pub mod known_boxes;
pub mod link;
pub mod random;
pub mod replay;
pub mod rollout;
pub mod swu;

pub use device::{Device, DeviceError, Patience, Progress};
pub use kind::{Kind, table as exit_table};
