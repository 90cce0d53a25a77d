//! Logs of the box besides the agent's.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Journal {
    /// The daemon's log; its nanoseconds count from the machine's start.
    Daemon,
    /// Why the last trial failed: the reason, then the last lines of both logs.
    Evidence,
}

impl Journal {
    /// Its file, in the folder of the slots: a [`LogLine`](crate::LogLine) a line, as JSON.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon.log",
            Self::Evidence => "evidence.log",
        }
    }
}
