//! The steps of one action: download, activate, report. What is next `action` says.

use super::action::{Action, Failed, Permits, Phase, Report, Step, next};
use super::client::{Client, HttpError};
use super::download::{DownloadError, download};
use super::messages::{self, Deployment, Execution};
use super::{Visitor, notes};
use crate::agent::evidence;
use anyhow::{Result, anyhow};
use protocol::{Refusal, Request};
use std::io;

/// More steps in one round than an action has.
const STEPS: usize = 20;

impl Visitor<'_> {
    pub(super) fn steps(&mut self, offered: Option<&Deployment>) -> Result<()> {
        for _ in 0..STEPS {
            if let Some(order) = offered
                && self.notes.memory.action.as_ref().is_none_or(|action| action.id != order.id)
                && self.is_free_for(&order.id)
            {
                log::info!("fleet: action {} orders {}", order.id, order.artifact.name);
                self.remember(Some(Action::new(&order.id)))?;
            }
            let Some(action) = self.notes.memory.action.clone() else { return Ok(()) };
            let own = offered.filter(|order| order.id == action.id);
            let permits =
                own.map(|order| Permits { download: order.download, update: order.update });
            let step = next(&action, self.agent.slots().record(), permits);
            log::debug!("fleet: action {}: {step:?}", action.id);
            if !self.take(step, action, own)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Does one step; `false` if nothing more can be done now.
    fn take(&mut self, step: Step, mut action: Action, order: Option<&Deployment>) -> Result<bool> {
        match step {
            Step::Wait | Step::Watch => return Ok(false),
            Step::Download => {
                let Some(order) = order else { return Ok(false) };
                return self.download(action, order);
            }
            Step::Stored => action.phase = Phase::Ready { told: false },
            Step::TellReady => {
                let details = ["whole and verified; waits for the server's permission".to_owned()];
                self.tell(&action.id, Execution::Downloaded, &details)?;
                action.phase = Phase::Ready { told: true };
            }
            Step::Activate => return self.activate(&action),
            Step::Activated => {
                action.phase = Phase::Trial;
                self.hint(&action.id, "activated: on trial until it is confirmed");
            }
            Step::Succeed => {
                let packs = self.agent.running_packs();
                let details = evidence::success(self.agent.slots().record(), &packs);
                action.end(true, details);
            }
            Step::Fail(failed) => {
                let headline = headline(failed);
                action.end(false, self.evidence(&headline));
            }
            // What was offered in this round is over: the next poll tells what the server wants now.
            Step::Report => return self.report(action).map(|()| false),
            Step::Again => action = Action::new(&action.id),
            Step::Forget => {
                log::info!("fleet: action {} is over for the server", action.id);
                self.remember(None)?;
                return Ok(true);
            }
        }
        self.remember(Some(action))?;
        Ok(true)
    }

    fn download(&mut self, action: Action, order: &Deployment) -> Result<bool> {
        let id = action.id.clone();
        if action.sha256.is_none() {
            self.hint(&id, &format!("downloads {}", order.artifact.name));
        }
        let (agent, fleet) = (self.agent, self.fleet);
        // A client of its own: the one at hand is needed to tell how far it is.
        let client = Client::new(fleet, &agent.device)?;
        let mut quarters = 0;
        let note = |sha256: protocol::Digest| {
            let action = Action { sha256: Some(sha256.to_string()), ..action };
            self.remember(Some(action)).map_err(io::Error::other)
        };
        let progress = |percent: u64| {
            if percent / 25 > quarters && percent < 100 {
                quarters = percent / 25;
                let details = [format!("Downloaded {percent}%")];
                let report = messages::feedback(&id, Execution::Proceeding, &details);
                if let Err(error) = client.feedback("deploymentBase", &id, &report) {
                    log::debug!("fleet: {error}");
                }
            }
        };
        match download(agent, &client, &order.artifact, note, progress) {
            Ok(()) => Ok(true),
            Err(DownloadError::Waits(why)) => {
                log::info!("fleet: action {id} waits: {why}");
                Ok(false)
            }
            Err(DownloadError::Passing(why)) => Err(anyhow!("action {id}: {why}")),
            Err(DownloadError::Http(error)) if !error.is_gone() => Err(error.into()),
            Err(error) => {
                let headline = format!("cannot take {}: {error}", order.artifact.name);
                self.end(false, self.evidence(&headline))?;
                Ok(true)
            }
        }
    }

    /// The self-test, then the trial. A slot that goes bad by it is for the next step to find.
    fn activate(&mut self, action: &Action) -> Result<bool> {
        let Some(sha256) = action.digest() else {
            return Err(anyhow!("{} names no bundle", notes::FILE));
        };
        self.hint(&action.id, "verified; self-test");
        match self.agent.ask(Request::Activate { sha256 }) {
            Ok(_) | Err(Refusal::Bad { .. }) => Ok(true),
            Err(Refusal::Busy { doing }) => Err(anyhow!("the box is busy: {doing}")),
            Err(refusal @ Refusal::State { .. }) => {
                log::info!("fleet: action {} waits: {refusal}", action.id);
                Ok(false)
            }
            Err(refusal) => {
                self.end(false, self.evidence(&format!("cannot activate: {refusal}")))?;
                Ok(true)
            }
        }
    }

    /// Sends the report, and notes before and after what is known of it.
    fn report(&mut self, mut action: Action) -> Result<()> {
        let Phase::Ended { success, details, report } = &mut action.phase else { return Ok(()) };
        *report = Report::Sent;
        let execution = if *success { Execution::Succeeded } else { Execution::Failed };
        let details = details.clone();
        self.remember(Some(action.clone()))?;
        let outcome = self.tell(&action.id, execution, &details);
        let known = match &outcome {
            Ok(()) => Report::Taken,
            Err(error) if error.is_gone() => {
                log::warn!("fleet: action {} is over for the server: {error}", action.id);
                Report::Taken
            }
            Err(error) if error.is_refused() => Report::Due,
            Err(_) => Report::Sent,
        };
        if let Phase::Ended { report, .. } = &mut action.phase {
            *report = known;
        }
        self.remember(Some(action))?;
        match outcome {
            Err(error) if known != Report::Taken => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Why it did not work out, as the box tells it.
    fn evidence(&self, headline: &str) -> Vec<String> {
        let record = self.agent.slots().record().clone();
        evidence::failure(headline, &record, &self.agent.config.slots)
    }

    fn tell(&self, id: &str, execution: Execution, details: &[String]) -> Result<(), HttpError> {
        self.client.feedback("deploymentBase", id, &messages::feedback(id, execution, details))
    }

    /// Something nice to know: if it gets lost, nothing is.
    fn hint(&self, id: &str, detail: &str) {
        log::info!("fleet: action {id}: {detail}");
        if let Err(error) = self.tell(id, Execution::Proceeding, &[detail.to_owned()]) {
            log::debug!("fleet: {error}");
        }
    }
}

fn headline(failed: Failed) -> String {
    match failed {
        Failed::Bad(id) => format!("slot {id} is bad"),
        Failed::RolledBack(id) => {
            format!("the bundle in slot {id} was confirmed, then rolled back at the box")
        }
        Failed::Gone => "no slot holds the bundle any more".into(),
    }
}
