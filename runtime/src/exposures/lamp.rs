//! What the result lamp beside the console shows.

use super::matching::Answer;
use protocol::Lamp;

pub(super) struct Seen {
    pub(super) healthy: bool,
    /// An image is expected, waits, or is being analysed.
    pub(super) at_work: bool,
    /// The worst answer about the latest study, while it is new.
    pub(super) latest: Option<Answer>,
}

pub(super) fn lamp(seen: &Seen) -> Lamp {
    match (seen.healthy, seen.at_work, seen.latest) {
        (false, ..) => Lamp::Trouble,
        (true, true, _) => Lamp::Analysing,
        (true, false, Some(Answer::Urgent)) => Lamp::Urgent,
        (true, false, Some(Answer::NotAnalysed)) => Lamp::NotAnalysed,
        (true, false, Some(Answer::Ready)) => Lamp::Ready,
        (true, false, None) => Lamp::Idle,
    }
}
