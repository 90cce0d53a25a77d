//! What a box of a rollout needs next. Asked anew after every step, so that a rollout that was cut goes on where it was.

use protocol::Standing;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Push,
    Activate,
    Confirm,
    /// The bundle runs, confirmed.
    Done,
}

/// By where the bundle stands on the box.
pub fn next(standing: Standing) -> Next {
    match standing {
        Standing::Absent | Standing::Bad(_) => Next::Push,
        Standing::Waits(_) | Standing::Kept(_) => Next::Activate,
        Standing::OnTrial(_) => Next::Confirm,
        Standing::Runs(_) => Next::Done,
    }
}
