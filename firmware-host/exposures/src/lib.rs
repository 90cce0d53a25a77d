//! Files by which agent and daemon tell each other of exposures and results, in one folder that both know.
//!
//! ```text
//! controller ─ link ─▶ agent ── journal ──▶ daemon      what happened in the X-ray room, safe on the disk
//! controller ◀─ link ─ agent ◀── lamp ───── daemon      what the result lamp is to show, while the daemon lives
//! ```
//!
//! ```
//! use exposures::{Event, Journal, Reader};
//! # use protocol::exposure::{Interlock, InterlockState};
//!
//! # let folder = tempfile::tempdir()?;
//! let mut journal = Journal::open(folder.path())?; // the agent's end
//! let closed = Interlock { controller: 0, state: InterlockState::Closed };
//! let number = journal.append(Event::Interlock(closed))?;
//!
//! let mut reader = Reader::new(folder.path(), 1); // the daemon's end, from entry 1 on
//! let read = reader.read()?;
//! assert_eq!(read.entries[0].number, number);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod journal;
mod lamp;
mod moment;
mod ring;

pub use journal::{Journal, Read, Reader, Told};
pub use lamp::{LampFile, Shown, shown};
pub use moment::Moment;
pub use ring::{Entry, Event, JournalError, SLOTS};
