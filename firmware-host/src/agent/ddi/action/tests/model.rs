//! Random histories of one action: polls, cuts between any two notes, lost answers, people at the box.

use super::{ALL, NOW, OTHER, OURS, WINDOW_SHUT, confirmed, stored};
use crate::agent::ddi::action::*;
use proptest::prelude::*;
use protocol::{BootRecord, Cause, Forced, SlotId};

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Good,
    AnswerLost,
    ReportLost,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A poll, in which after so many notes the power goes.
    Poll {
        permits: Option<Permits>,
        notes: usize,
        line: Line,
    },
    /// The end of the trial is looked at without the server, as after a change of the boot record.
    Look {
        notes: usize,
        line: Line,
    },
    Confirm,
    Rollback,
    Fail,
    /// Somebody pushes another bundle.
    Displace,
}

/// The box, what it remembers, and a server that counts.
struct World {
    record: BootRecord,
    action: Option<Action>,
    /// Reports the server took; it offers the action until the first.
    taken: Vec<bool>,
    was_confirmed: bool,
}

/// The power went.
struct Cut;

impl World {
    fn new() -> Self {
        let record = confirmed(&BootRecord::new(), OTHER);
        Self { record, action: None, taken: Vec::new(), was_confirmed: false }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Poll { permits, notes, line } => {
                let permits = permits.filter(|_| self.taken.is_empty());
                let mut left = notes;
                let fresh = self.action.is_none() && permits.is_some();
                if !fresh || self.note(Some(Action::new("8")), &mut left).is_ok() {
                    self.steps(permits, left, line);
                }
            }
            Event::Look { notes, line } => {
                let due = self.action.as_ref().is_some_and(|action| {
                    action.phase == Phase::Trial && next(action, &self.record, None) != Step::Watch
                });
                if due {
                    self.steps(None, notes, line);
                }
            }
            Event::Confirm => {
                let forced = Forced { reason: "a test".into(), lacked: String::new(), at: 0 };
                let done = self.record.trial().and_then(|_| self.record.force(OURS, forced).ok());
                self.record = done.unwrap_or_else(|| self.record.clone());
            }
            Event::Rollback => self.change(|record| record.rollback("too many", &NOW).ok()),
            Event::Fail => self.change(|record| {
                let (id, _) = record.trial()?;
                Some(record.fail(id, Cause::Health, "no answer", &NOW))
            }),
            Event::Displace => self.change(|record| Some(record.begin(Digest([9; 32]), 5).ok()?.1)),
        }
        self.was_confirmed |= matches!(
            self.record.standing(OURS),
            Standing::Runs(SlotId::A | SlotId::B) | Standing::Kept(_)
        );
    }

    fn change(&mut self, change: impl FnOnce(&BootRecord) -> Option<BootRecord>) {
        if let Some(next) = change(&self.record) {
            self.record = next;
        }
    }

    /// What the visitor does, in its order of changes and notes.
    fn steps(&mut self, permits: Option<Permits>, mut left: usize, line: Line) {
        for taken in 0.. {
            assert!(taken < 20, "a round that does not end: {:?}", self.action);
            let Some(action) = self.action.clone() else { return };
            let step = next(&action, &self.record, permits);
            match self.take(step, action, line, &mut left) {
                Ok(true) => {}
                Ok(false) | Err(Cut) => return,
            }
        }
    }

    fn take(
        &mut self,
        step: Step,
        mut action: Action,
        line: Line,
        left: &mut usize,
    ) -> Result<bool, Cut> {
        match step {
            Step::Wait | Step::Watch => return Ok(false),
            Step::Download => {
                action.sha256 = Some(OURS.to_string());
                self.note(Some(action), left)?;
                let standing = self.record.standing(OURS);
                if !matches!(standing, Standing::Absent | Standing::Bad(_)) {
                    return Ok(true);
                }
                if self.record.trial().is_some() {
                    return Ok(false);
                }
                self.record = stored(&self.record, OURS);
                return Ok(true);
            }
            Step::Stored => action.phase = Phase::Ready { told: false },
            Step::TellReady => action.phase = Phase::Ready { told: true },
            Step::Activate => {
                let Ok(next) = self.record.activate(OURS, 3, &NOW) else { return Ok(false) };
                self.record = next;
                return Ok(true);
            }
            Step::Activated => action.phase = Phase::Trial,
            Step::Succeed => action.end(true, Vec::new()),
            Step::Fail(_) => action.end(false, Vec::new()),
            Step::Report => return self.report(action, line, left).map(|()| false),
            Step::Again => action = Action::new(&action.id),
            Step::Forget => return self.note(None, left).map(|()| true),
        }
        self.note(Some(action), left).map(|()| true)
    }

    fn report(&mut self, mut action: Action, line: Line, left: &mut usize) -> Result<(), Cut> {
        let Phase::Ended { success, report, .. } = &mut action.phase else { unreachable!() };
        let success = *success;
        *report = Report::Sent;
        self.note(Some(action.clone()), left)?;
        if line != Line::ReportLost {
            self.taken.push(success);
        }
        if line != Line::Good {
            return Ok(());
        }
        if let Phase::Ended { report, .. } = &mut action.phase {
            *report = Report::Taken;
        }
        self.note(Some(action), left)
    }

    /// Writes the memory, unless the power goes first.
    fn note(&mut self, action: Option<Action>, left: &mut usize) -> Result<(), Cut> {
        *left = left.checked_sub(1).ok_or(Cut)?;
        self.action = action;
        Ok(())
    }
}

fn event() -> impl Strategy<Value = Event> {
    let permits = prop_oneof![Just(ALL), Just(ALL), Just(WINDOW_SHUT), Just(None)];
    let notes = prop_oneof![0_usize..6, Just(99)];
    let line = prop_oneof![Just(Line::Good), Just(Line::AnswerLost), Just(Line::ReportLost)];
    prop_oneof![
        4 => (permits, notes.clone(), line.clone())
            .prop_map(|(permits, notes, line)| Event::Poll { permits, notes, line }),
        2 => (notes, line.clone()).prop_map(|(notes, line)| Event::Look { notes, line }),
        2 => Just(Event::Confirm),
        1 => Just(Event::Rollback),
        1 => Just(Event::Fail),
        1 => Just(Event::Displace),
    ]
}

proptest! {
    #[test]
    fn a_server_hears_one_true_outcome_whatever_happens(
        events in proptest::collection::vec(event(), 0..40),
    ) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
            prop_assert!(world.taken.len() <= 1, "told twice: {:?}", world.taken);
            prop_assert!(world.taken != [true] || world.was_confirmed, "success before a confirm");
        }
        // In calm weather every action comes to its end.
        for _ in 0..6 {
            world.happen(Event::Poll { permits: ALL, notes: 99, line: Line::Good });
            world.happen(Event::Confirm);
        }
        prop_assert_eq!(world.taken.len(), 1);
    }
}
