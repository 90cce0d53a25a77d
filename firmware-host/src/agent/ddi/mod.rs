//! The box as a target of an update server that speaks Eclipse hawkBit's DDI.
//!
//! ```text
//!              ┌──── poll, in the server's interval ◀───────────────────────────────┐
//!              ▼                                                                     │
//!   orders (messages) ─▶ next step (action) ─▶ slots: begin, write, finish, activate ─┤
//!                              │ ▲                                                   │
//!                              ▼ │ boot record: on trial, confirmed, bad, rolled back │
//!                         fleet.json                     reports with evidence ──────┘
//! ```
//!
//! Nothing here confirms a bundle: the server hears "success" when the boot record says confirmed, however it came to
//! that. `action` decides without I/O, `steps` does what it decides; `Visitor::visit` is one round of both.

pub mod action;
mod attributes;
mod client;
mod clock;
mod download;
mod messages;
mod notes;
mod steps;

use super::Agent;
use super::fleet::Fleet;
use crate::random::random;
use action::{Action, Phase, Step, next};
use anyhow::{Context, Result, anyhow};
use client::{Client, HttpError};
use messages::{Base, Cancel, Deployment, Execution};
use notes::Notes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

/// Whether the box could ask at all: its name, its certificates, what it remembers.
pub(super) fn check(agent: &Agent, fleet: &Fleet) -> Result<()> {
    Visitor::new(agent, fleet).map(drop)
}

/// Asks the server for orders until the process ends.
pub(super) fn run(agent: &Agent, fleet: &Fleet) {
    // A panic costs a round: what counts is in files.
    while let Err(_panic) = catch_unwind(AssertUnwindSafe(|| {
        if let Err(error) = visits(agent, fleet) {
            log::error!("fleet: the server is no longer asked for orders: {error:#}");
        }
    })) {
        log::error!("fleet: a round panicked; the next one begins after the interval");
        thread::sleep(fleet.poll);
    }
}

fn visits(agent: &Agent, fleet: &Fleet) -> Result<()> {
    let mut visitor = Visitor::new(agent, fleet)?;
    let mut failures = 0;
    loop {
        let asked = match visitor.visit() {
            Ok(()) => {
                failures = 0;
                None
            }
            Err(error) => {
                failures += 1;
                log::warn!("fleet: {error:#}");
                error.downcast_ref::<HttpError>().and_then(HttpError::retry_after)
            }
        };
        let pause = clock::pause(visitor.interval, failures, asked);
        let [chance, ..] = random().context("no random numbers")?;
        visitor.wait(clock::spread(pause, chance));
        let has_ended = visitor.is_due(agent.slots().record());
        if has_ended && let Err(error) = visitor.steps(None) {
            log::warn!("fleet: {error:#}");
        }
    }
}

struct Visitor<'a> {
    agent: &'a Agent,
    fleet: &'a Fleet,
    client: Client,
    notes: Notes,
    /// How often the server wants to be asked.
    interval: Duration,
}

impl<'a> Visitor<'a> {
    fn new(agent: &'a Agent, fleet: &'a Fleet) -> Result<Self> {
        let notes = Notes::open(&agent.config.slots, agent.now().wall)?;
        let client = Client::new(fleet, &agent.device)?;
        Ok(Self { agent, fleet, client, notes, interval: fleet.poll })
    }

    /// One round: what does the server want, and what can be done about it now?
    fn visit(&mut self) -> Result<()> {
        let base = Base::parse(&self.client.poll()?).map_err(|why| anyhow!("poll: {why}"))?;
        self.interval = base.sleep.unwrap_or(self.fleet.poll);
        self.tell_attributes(base.config_data.is_some())?;
        if let Some(href) = &base.cancel {
            self.cancel(href)?;
        }
        if let Some(href) = &base.confirmation {
            self.consent(href)?;
        }
        let offered = match &base.deployment {
            Some(href) => self.offered(href)?,
            None => None,
        };
        self.steps(offered.as_ref())?;
        self.tell_attributes(false)
    }

    /// The server's order. One that this box does not understand has failed.
    fn offered(&mut self, href: &str) -> Result<Option<Deployment>> {
        let wrong = match Deployment::parse(&self.client.follow(href)?) {
            Ok(deployment) => return Ok(Some(deployment)),
            Err(wrong) => wrong,
        };
        let id = wrong.id.ok_or_else(|| anyhow!("{href}: {}", wrong.reason))?;
        if self.is_free_for(&id) {
            let mut action = Action::new(&id);
            action.end(false, vec![format!("cannot carry out the order: {}", wrong.reason)]);
            self.remember(Some(action))?;
            self.steps(None)?;
        }
        Ok(None)
    }

    /// Whether an order of this number may take the place of the action under way.
    fn is_free_for(&self, id: &str) -> bool {
        let before = self.notes.memory.action.as_ref();
        before.is_none_or(|action| action.gives_way_to(id, self.agent.slots().record()))
    }

    fn cancel(&mut self, href: &str) -> Result<()> {
        let Cancel { id, stop } =
            Cancel::parse(&self.client.follow(href)?).map_err(|why| anyhow!("{href}: {why}"))?;
        let ours = self.notes.memory.action.clone().filter(|action| action.id == stop);
        let too_late = ours.is_some_and(|ours| ours.is_activated(self.agent.slots().record()));
        let (execution, detail) = if too_late {
            (
                Execution::Rejected,
                "too late: the bundle was activated; roll back at the box instead",
            )
        } else {
            (Execution::Succeeded, "not activated, and will not be")
        };
        if !too_late && self.notes.memory.action.as_ref().is_some_and(|action| action.id == stop) {
            self.remember(None)?;
        }
        log::info!("fleet: cancel of action {stop}: {detail}");
        let report = messages::feedback(&id, execution, &[detail.to_owned()]);
        Ok(self.client.feedback("cancelAction", &id, &report)?)
    }

    fn consent(&self, href: &str) -> Result<()> {
        let id = messages::waiting_for_consent(&self.client.follow(href)?);
        let id = id.map_err(|why| anyhow!("{href}: {why}"))?;
        if !self.fleet.consent {
            log::info!("fleet: action {id} waits for somebody's consent at the server");
            return Ok(());
        }
        Ok(self.client.feedback("confirmationBase", &id, &messages::consent())?)
    }

    /// Tells what the box is when it is asked for, and when that has changed. Orders do not wait for it.
    fn tell_attributes(&mut self, is_asked: bool) -> Result<()> {
        let told = attributes::attributes(self.agent, self.fleet);
        let identity = attributes::identity(&told);
        if !is_asked && self.notes.memory.told.as_ref() == Some(&identity) {
            return Ok(());
        }
        if let Err(error) = self.client.put_attributes(&messages::attributes(&told)) {
            log::warn!("fleet: the server does not take what the box is: {error}");
            return Ok(());
        }
        self.notes.memory.told = Some(identity);
        self.notes.keep()
    }

    fn end(&mut self, success: bool, details: Vec<String>) -> Result<()> {
        let mut action = self.notes.memory.action.clone().context("no action is under way")?;
        action.end(success, details);
        self.remember(Some(action))
    }

    fn remember(&mut self, action: Option<Action>) -> Result<()> {
        self.notes.memory.action = action;
        self.notes.keep()
    }

    /// Sleeps, but no longer than until a trial ends.
    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut slots = self.agent.slots();
        while !self.is_due(slots.record()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.agent.changed.wait_timeout(slots, left);
            (slots, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether there is something to report that needs no question to the server.
    fn is_due(&self, record: &protocol::BootRecord) -> bool {
        let Some(action) = &self.notes.memory.action else { return false };
        action.phase == Phase::Trial && next(action, record, None) != Step::Watch
    }
}
