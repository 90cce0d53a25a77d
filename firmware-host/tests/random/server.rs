//! An update server, and what the agent does about its orders: as `agent/ddi/steps.rs`, in its order of changes and
//! notes. `agent::action` decides, here as there; the memory is a file on the disk that is cut.

use crate::memory::Cuttable;
use crate::world::{BUNDLES, Word, World, digest};
use firmware_host::agent::Disk;
use firmware_host::agent::action::{Action, Memory, Permits, Phase, Report, Step, next};
use protocol::{Refusal, Standing};
use std::collections::BTreeSet;
use std::io;

const MEMORY: &str = "fleet.json";
const ALL: Permits = Permits { download: true, update: true };

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Good,
    AnswerLost,
    ReportLost,
}

#[derive(Debug)]
struct Order {
    file: usize,
    /// Outcomes that the server heard; it offers the order until the first.
    heard: Vec<bool>,
    cancelled: bool,
}

/// Its last order is the one it offers.
#[derive(Debug, Default)]
pub(crate) struct Server {
    orders: Vec<Order>,
}

impl Server {
    pub(crate) fn order(&mut self, file: usize) {
        if self.offered().is_none() {
            self.orders.push(Order { file, heard: Vec::new(), cancelled: false });
        }
    }

    /// For the test of the model itself.
    pub(crate) fn reported(&mut self, outcomes: Vec<bool>) {
        self.orders[0].heard = outcomes;
    }

    /// Number and file of the open order.
    fn offered(&self) -> Option<(String, usize)> {
        let last = self.orders.last().filter(|order| order.heard.is_empty() && !order.cancelled)?;
        Some((self.orders.len().to_string(), last.file))
    }

    fn hear(&mut self, id: &str, success: bool) {
        let order = &mut self.orders[id.parse::<usize>().unwrap() - 1];
        assert!(!order.cancelled, "the cancel of order {id} was taken, and yet it ended");
        order.heard.push(success);
    }

    /// One outcome of each order at most, and success only of what was confirmed.
    pub(crate) fn check(&self, confirmed: &BTreeSet<[u8; 32]>) {
        for Order { file, heard, .. } in &self.orders {
            assert!(heard.len() <= 1, "told twice: {self:?}");
            let is_true = *heard != [true] || confirmed.contains(&digest(*file).0);
            assert!(is_true, "success before a confirm: {self:?}");
        }
    }
}

impl World {
    /// One round: the server's order, and every step that can be taken.
    pub(crate) fn poll(&mut self, permits: Option<Permits>, line: Line) -> Result<(), Refusal> {
        let offered = self.server.offered().zip(permits);
        self.steps(offered.map(|((id, file), permits)| (id, file, permits)), line)
    }

    pub(crate) fn look(&mut self, line: Line) -> Result<(), Refusal> {
        let is_due = self.memory.action.as_ref().is_some_and(|action| {
            action.phase == Phase::Trial && next(action, self.slots.record(), None) != Step::Watch
        });
        if is_due { self.steps(None, line) } else { Ok(()) }
    }

    /// The server takes an order back, if the box says that it is not too late.
    pub(crate) fn cancel(&mut self) -> Result<(), Refusal> {
        let Some((id, _)) = self.server.offered() else { return Ok(()) };
        let ours = self.memory.action.clone().filter(|action| action.id == id);
        if ours.as_ref().is_some_and(|ours| ours.is_activated(self.slots.record())) {
            return Ok(());
        }
        if ours.is_some() {
            self.remember(None)?;
        }
        // Without power, nothing is sent: the server keeps its order, and the box may end it.
        if !self.disk.with(|disk| disk.is_off()) {
            self.server.orders.last_mut().unwrap().cancelled = true;
        }
        Ok(())
    }

    /// The disk is well, the line is good, and people confirm what is proven: every order comes to its end.
    pub(crate) fn calm_down(&mut self) {
        self.disk.with(|disk| (disk.full, disk.cut_after, disk.fails_at) = (false, None, None));
        for _ in 0..8 {
            self.poll(Some(ALL), Line::Good).unwrap();
            self.confirm(Word::Honest).unwrap();
            self.check();
        }
        assert!(self.server.offered().is_none(), "no end: {:?}, {:?}", self.server, self.memory);
        let outcomes: Vec<bool> =
            self.server.orders.iter().flat_map(|order| order.heard.clone()).collect();
        for success in outcomes {
            self.count(if success { "orders that succeeded" } else { "orders that failed" });
        }
    }

    fn steps(
        &mut self,
        offered: Option<(String, usize, Permits)>,
        line: Line,
    ) -> Result<(), Refusal> {
        for _ in 0..20 {
            if let Some((id, ..)) = &offered {
                let before = self.memory.action.as_ref();
                let is_new = before.is_none_or(|action| action.id != *id);
                let record = self.slots.record();
                if is_new && before.is_none_or(|action| action.gives_way_to(id, record)) {
                    self.remember(Some(Action::new(id)))?;
                }
            }
            let Some(action) = self.memory.action.clone() else { return Ok(()) };
            let own = offered.as_ref().filter(|(id, ..)| *id == action.id);
            let step = next(&action, self.slots.record(), own.map(|(.., permits)| *permits));
            if !self.take(step, action, own.map(|(_, file, _)| *file), line)? {
                return Ok(());
            }
        }
        panic!("a round that does not end: {:?}", self.memory);
    }

    fn take(
        &mut self,
        step: Step,
        mut action: Action,
        file: Option<usize>,
        line: Line,
    ) -> Result<bool, Refusal> {
        match step {
            Step::Wait | Step::Watch => return Ok(false),
            Step::Download => match file {
                Some(file) => return self.download(action, file),
                None => return Ok(false),
            },
            Step::Stored => action.phase = Phase::Ready { told: false },
            Step::TellReady => action.phase = Phase::Ready { told: true },
            Step::Activate => return self.activate_ordered(action),
            Step::Activated => action.phase = Phase::Trial,
            Step::Succeed => action.end(true, Vec::new()),
            Step::Fail(_) => action.end(false, Vec::new()),
            Step::Report => return self.report(action, line).map(|()| false),
            Step::Again => action = Action::new(&action.id),
            Step::Forget => return self.remember(None).map(|()| true),
        }
        self.remember(Some(action)).map(|()| true)
    }

    fn download(&mut self, mut action: Action, file: usize) -> Result<bool, Refusal> {
        action.sha256 = Some(digest(file).to_string());
        self.remember(Some(action.clone()))?;
        if !matches!(
            self.slots.record().standing(digest(file)),
            Standing::Absent | Standing::Bad(_)
        ) {
            return Ok(true);
        }
        match self.push(file) {
            Ok(()) => Ok(true),
            Err(Refusal::State { .. }) => Ok(false),
            Err(_) => self.failed(action),
        }
    }

    fn activate_ordered(&mut self, action: Action) -> Result<bool, Refusal> {
        let wanted = action.digest().unwrap();
        let file = (0..BUNDLES.len()).find(|&file| digest(file) == wanted).unwrap();
        match self.activate(file) {
            Ok(()) | Err(Refusal::Bad { .. }) => Ok(true),
            Err(Refusal::State { .. }) => Ok(false),
            Err(_) => self.failed(action),
        }
    }

    fn failed(&mut self, mut action: Action) -> Result<bool, Refusal> {
        action.end(false, Vec::new());
        self.remember(Some(action)).map(|()| true)
    }

    fn report(&mut self, mut action: Action, line: Line) -> Result<(), Refusal> {
        let Phase::Ended { success, report, .. } = &mut action.phase else { unreachable!() };
        let success = *success;
        *report = Report::Sent;
        self.remember(Some(action.clone()))?;
        // Without power, nothing is sent.
        if line != Line::ReportLost && !self.disk.with(|disk| disk.is_off()) {
            self.server.hear(&action.id, success);
        }
        if line != Line::Good {
            return Ok(());
        }
        if let Phase::Ended { report, .. } = &mut action.phase {
            *report = Report::Taken;
        }
        self.remember(Some(action))
    }

    /// Noted on the disk, whole or not at all.
    fn remember(&mut self, action: Option<Action>) -> Result<(), Refusal> {
        self.memory.action = action;
        let text = serde_json::to_vec(&self.memory).unwrap();
        kept(&mut self.disk, &text).map_err(|error| Refusal::Disk { detail: error.to_string() })
    }

    /// What an agent that starts finds.
    pub(crate) fn remembered(&self) -> Memory {
        let found = self.disk.clone().read(MEMORY).unwrap();
        found.map_or_else(Memory::default, |text| serde_json::from_slice(&text).unwrap())
    }
}

/// As `durable::write`.
fn kept(disk: &mut Cuttable, text: &[u8]) -> io::Result<()> {
    let aside = format!("{MEMORY}.tmp");
    disk.remove(&aside)?;
    disk.write_at(&aside, 0, text)?;
    disk.sync(&aside)?;
    disk.rename(&aside, MEMORY)?;
    disk.sync_folder()
}
