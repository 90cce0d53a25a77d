//! What becomes of one delivery: state × event → state. Pure: no clock, no disk, no socket.
//!
//! ```text
//!              delivered                committed
//!   waiting ──────────────▶ sent ─────────────────────▶ committed
//!    ▲ │ ▲                  │ │ ▲
//!    │ │ └──────────────────┘ │ └ silent: asked again, after some times sent again
//!    │ │   not committed      │
//!    │ └────────▶ dead ◀──────┘   refused for good
//!    └──── retry ──┘
//! ```
//!
//! Somebody at the box may also have a delivery *dropped*: then it is none any more. *Sent* is the end where the destination does not commit.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Waiting,
    Sent,
    Committed,
    /// Given up by us; somebody must look.
    Dead,
    /// Given up by somebody who looked.
    Dropped,
}

/// What is known about one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    pub(crate) state: State,
    /// Sendings that came to nothing, in a row.
    pub(crate) tries: u32,
    /// How often the destination was asked to commit, since it was last sent.
    pub(crate) asks: u32,
    /// Nothing is due before.
    pub(crate) next: Millis,
    /// When the destination last said that it has it.
    pub(crate) sent: Option<Millis>,
    /// Storage commitment that was asked for and not yet reported.
    pub(crate) transaction: Option<String>,
    /// What went wrong last.
    pub(crate) reason: Option<String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The destination says that it has the object.
    Delivered,
    /// Not now: out of resources, or no answer.
    Later(String),
    /// Never as it is.
    Refused(String),
    /// We are about to ask for commitment under this transaction.
    Asked(String),
    /// The destination did not take the question.
    NotTaken(String),
    /// No report came in time.
    Silent,
    Committed,
    /// The destination says that it does not have it.
    Lost(String),
    /// Somebody wants it sent again, or asked about again.
    Retry,
    /// Somebody does not want it sent any more, and says why.
    Drop(String),
}

/// What differs between destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) commits: bool,
    /// How long a report may take.
    pub(crate) commit_within: Millis,
}

/// How often a destination that says nothing is asked before the object is sent again.
pub(crate) const MOST_ASKS: u32 = 3;

impl Progress {
    pub(crate) fn new(now: Millis) -> Self {
        let (state, tries, asks, next) = (State::Waiting, 0, 0, now);
        Self { state, tries, asks, next, sent: None, transaction: None, reason: None }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_delivered(&self, policy: Policy) -> bool {
        self.state == State::Committed || (self.state == State::Sent && !policy.commits)
    }

    /// Whether the image may be forgotten as far as this delivery goes.
    pub(crate) fn is_done(&self, policy: Policy) -> bool {
        self.is_delivered(policy) || self.state == State::Dropped
    }

    /// The state after `event`. `jitter` in 0.75 … 1.25 stretches pauses, so that boxes do not come back in step.
    pub(crate) fn after(&self, event: Event, now: Millis, policy: Policy, jitter: f64) -> Self {
        let mut next = self.clone();
        let pause = |failures| now + back_off(failures, jitter);
        match (self.state, event) {
            (State::Waiting, Event::Delivered) => {
                next = Self::new(now);
                (next.state, next.sent) = (State::Sent, Some(now));
            }
            (State::Waiting, Event::Later(reason)) => {
                next.tries = self.tries.saturating_add(1);
                next.next = pause(next.tries);
                next.reason = Some(reason);
            }
            (State::Waiting | State::Sent, Event::Refused(reason)) => {
                next.state = State::Dead;
                next.transaction = None;
                next.reason = Some(reason);
            }
            (State::Sent, Event::Asked(transaction)) if policy.commits => {
                next.asks = self.asks.saturating_add(1);
                next.next = now + policy.commit_within;
                next.transaction = Some(transaction);
            }
            (State::Sent, Event::NotTaken(reason)) if policy.commits => {
                next.next = pause(self.asks.max(1));
                next.transaction = None;
                next.reason = Some(reason);
            }
            (State::Sent, Event::Silent) if policy.commits && self.asks < MOST_ASKS => {
                next.next = now;
                next.transaction = None;
                next.reason = Some("no report about storage commitment came".into());
            }
            (State::Sent, Event::Silent) if policy.commits => {
                next = self.again(now, jitter);
                next.reason = Some(format!("asked {} times, no report came", self.asks));
            }
            // A report may come late: whoever has the object, has it.
            (State::Waiting | State::Sent | State::Dead, Event::Committed) if policy.commits => {
                (next.state, next.transaction, next.reason) = (State::Committed, None, None);
                next.sent = self.sent.or(Some(now));
            }
            (State::Sent, Event::Lost(reason)) if policy.commits => {
                next = self.again(now, jitter);
                next.reason = Some(reason);
            }
            (State::Waiting, Event::Retry) => next.next = now,
            // Refused was the commitment, not the object.
            (State::Dead, Event::Retry) if self.sent.is_some() && policy.commits => {
                (next.state, next.asks, next.next) = (State::Sent, 0, now);
            }
            (State::Dead | State::Sent | State::Committed | State::Dropped, Event::Retry) => {
                next = Self::new(now);
                next.reason.clone_from(&self.reason);
            }
            (State::Waiting | State::Sent | State::Dead, Event::Drop(why))
                if !self.is_delivered(policy) =>
            {
                (next.state, next.transaction) = (State::Dropped, None);
                next.reason = Some(why);
            }
            // News that this delivery is past, or that its destination never has.
            _ => {}
        }
        next
    }

    /// To be sent again.
    fn again(&self, now: Millis, jitter: f64) -> Self {
        let tries = self.tries.saturating_add(1);
        Self { tries, next: now + back_off(tries, jitter), ..Self::new(now) }
    }
}

/// 1, 2, 4 … seconds, at most ten minutes: who was away for a day is found soon after it is back.
pub(crate) fn back_off(failures: u32, jitter: f64) -> Millis {
    let seconds = (1u32 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE_SECONDS);
    (f64::from(seconds) * 1000.0 * jitter.clamp(0.75, 1.25)) as Millis
}

const LONGEST_PAUSE_SECONDS: u32 = 600;
/// As long as a destination may ask to be left alone.
const LONGEST_ASKED: Millis = 3600 * 1000;

/// The same where the destination asks for `at_least`.
pub(crate) fn pause(failures: u32, jitter: f64, at_least: Millis) -> Millis {
    back_off(failures, jitter).max(at_least.min(LONGEST_ASKED))
}

/// Later than any pause can end. A time beyond it was noted before the clock was set back: it is over.
pub(crate) fn is_due(next: Millis, now: Millis, policy: Policy) -> bool {
    next <= now || next > now + longest_wait(policy)
}

/// No pause is longer.
pub(crate) fn longest_wait(policy: Policy) -> Millis {
    LONGEST_ASKED.max(Millis::from(LONGEST_PAUSE_SECONDS) * 1250) + policy.commit_within
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Committed => "committed",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        })
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Waiting, Self::Sent, Self::Committed, Self::Dead, Self::Dropped]
            .into_iter()
            .find(|state| state.to_string() == text)
            .ok_or_else(|| {
                format!("{text:?} is no state, expected waiting, sent, committed, dead or dropped")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMITS: Policy = Policy { commits: true, commit_within: 60_000 };
    const TAKES: Policy = Policy { commits: false, ..COMMITS };
    const NOW: Millis = 1_000_000;

    fn at(state: State) -> Progress {
        Progress { state, ..Progress::new(0) }
    }

    fn why() -> String {
        "why".into()
    }

    #[test]
    fn every_event_leads_where_the_table_says() {
        use State::{Committed, Dead, Dropped, Sent, Waiting};
        let table: [(State, Event, Policy, State); 26] = [
            (Waiting, Event::Delivered, TAKES, Sent),
            (Waiting, Event::Delivered, COMMITS, Sent),
            (Waiting, Event::Later(why()), TAKES, Waiting),
            (Waiting, Event::Refused(why()), TAKES, Dead),
            (Waiting, Event::Committed, COMMITS, Committed),
            (Waiting, Event::Lost(why()), COMMITS, Waiting),
            (Waiting, Event::Silent, COMMITS, Waiting),
            (Waiting, Event::Retry, TAKES, Waiting),
            (Sent, Event::Asked("1.2".into()), COMMITS, Sent),
            (Sent, Event::NotTaken(why()), COMMITS, Sent),
            (Sent, Event::Silent, COMMITS, Sent),
            (Sent, Event::Committed, COMMITS, Committed),
            (Sent, Event::Committed, TAKES, Sent),
            (Sent, Event::Lost(why()), COMMITS, Waiting),
            (Sent, Event::Lost(why()), TAKES, Sent),
            (Sent, Event::Refused(why()), COMMITS, Dead),
            (Sent, Event::Retry, TAKES, Waiting),
            (Dead, Event::Retry, TAKES, Waiting),
            (Dead, Event::Delivered, TAKES, Dead),
            (Dead, Event::Committed, COMMITS, Committed),
            (Committed, Event::Lost(why()), COMMITS, Committed),
            (Committed, Event::Retry, COMMITS, Waiting),
            (Dead, Event::Drop("x".into()), COMMITS, Dropped),
            (Sent, Event::Drop("x".into()), COMMITS, Dropped),
            (Sent, Event::Drop("x".into()), TAKES, Sent),
            (Dropped, Event::Retry, TAKES, Waiting),
        ];
        for (from, event, policy, to) in table {
            let after = at(from).after(event.clone(), NOW, policy, 1.0);
            assert_eq!(after.state, to, "{from} × {event:?}, {policy:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_ten_minutes_and_a_success_forgets_them() {
        let mut progress = Progress::new(0);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            progress = progress.after(Event::Later(why()), NOW, TAKES, 1.0);
            pauses.push((progress.next - NOW) / 1000);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        let sent = progress.after(Event::Delivered, NOW, TAKES, 1.0);
        assert_eq!((sent.tries, sent.reason, sent.sent), (0, None, Some(NOW)));
        assert_eq!([back_off(1, 0.75), back_off(1, 1.25), back_off(1, 9.0)], [750, 1250, 1250]);
    }

    #[test]
    fn who_says_nothing_is_asked_three_times_and_then_the_object_is_sent_again() {
        let mut progress = at(State::Sent);
        for ask in 1..=MOST_ASKS {
            progress = progress.after(Event::Asked(format!("1.{ask}")), NOW, COMMITS, 1.0);
            assert_eq!((progress.state, progress.next), (State::Sent, NOW + 60_000));
            progress = progress.after(Event::Silent, NOW, COMMITS, 1.0);
            assert_eq!(progress.transaction, None);
        }
        assert_eq!((progress.state, progress.asks, progress.sent), (State::Waiting, 0, None));
        assert_eq!(progress.reason.unwrap(), "asked 3 times, no report came");
    }

    #[test]
    fn a_refused_commitment_that_is_tried_again_is_asked_again_not_sent_again() {
        let sent = Progress::new(0).after(Event::Delivered, NOW, COMMITS, 1.0);
        let dead = sent.after(Event::Refused(why()), NOW, COMMITS, 1.0);
        assert_eq!(dead.after(Event::Retry, NOW, COMMITS, 1.0).state, State::Sent);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_deliveries() {
        let year = 365 * 24 * 3600 * 1000;
        assert!(is_due(NOW, NOW, COMMITS) && !is_due(NOW + 1, NOW, COMMITS));
        assert!(is_due(NOW + year, NOW, COMMITS));
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Delivered),
            Just(Event::Later(why())),
            Just(Event::Refused(why())),
            Just(Event::Asked("1.2".into())),
            Just(Event::NotTaken(why())),
            Just(Event::Silent),
            Just(Event::Committed),
            Just(Event::Lost(why())),
            Just(Event::Retry),
            Just(Event::Drop("why".into())),
        ]
    }

    proptest! {
        /// Whatever happens: nothing waits longer than the longest pause, nothing is dead without a reason, and
        /// nothing is delivered unless the destination said so.
        #[test]
        fn no_history_loses_a_delivery(events in prop::collection::vec(event(), 0..60), commits: bool) {
            let policy = Policy { commits, ..COMMITS };
            let (mut progress, mut now) = (Progress::new(0), 0);
            for event in events {
                now += 500;
                let before = progress.clone();
                progress = progress.after(event.clone(), now, policy, 1.25);
                prop_assert!(progress.next <= now + longest_wait(policy));
                prop_assert!(progress.state != State::Dead || progress.reason.is_some());
                if !before.is_delivered(policy) && progress.is_delivered(policy) {
                    let said = if commits { Event::Committed } else { Event::Delivered };
                    prop_assert_eq!(event, said);
                }
            }
        }
    }
}
