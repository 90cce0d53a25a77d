//! What can be asked for over the link, by the fleet and by the watch alike: activate, confirm, force, roll back.

use super::{Agent, Folder, Slots, command, config::Confirm, proof};
use protocol::{
    BootRecord, Cause, Digest, Forced, Moment, OnTrial, Proven, Refusal, Trial, Unproven,
};

impl Agent {
    /// The golden vectors first: a bundle this box does not reproduce never runs on it.
    pub(super) fn activate(&self, sha256: Digest) -> Result<BootRecord, Refusal> {
        let (slot, runs) = self.slots().candidate(sha256)?;
        if !runs {
            self.slots().verify(slot, &self.now())?;
            let activate = &self.config.activate;
            let file = self.config.slots.join(slot.file_name());
            log::info!("slot {slot}: self-test");
            let tested = command::run(&activate.selftest, Some(&file), activate.selftest_timeout);
            if let Err(detail) = tested {
                let cause = Cause::SelfTest;
                self.slots().fail(slot, cause, &detail, &self.now())?;
                return Err(Refusal::Bad { slot, cause, detail });
            }
        }
        let attempts = self.config.trial.attempts;
        self.change(|slots| slots.activate(sha256, attempts, &self.now()))
    }

    /// Keeps the bundle on trial for good, if the daemon's word proves that it does its work.
    pub(super) fn confirm(&self, sha256: Digest) -> Result<BootRecord, Refusal> {
        if self.slots().is_confirmed(sha256)? {
            return Ok(self.slots().record().clone());
        }
        let proven = self.proof().map_err(|detail| Refusal::Unproven { detail })?;
        self.change(|slots| slots.confirm(proven))
    }

    /// Keeps it without a proof. Boot record and log say so.
    pub(super) fn force(&self, sha256: Digest, reason: String) -> Result<BootRecord, Refusal> {
        if reason.trim().is_empty() {
            return Err(Refusal::State { detail: "a confirm by force needs a reason".into() });
        }
        let lacked = self.proof().err().unwrap_or_else(|| "nothing".into());
        log::warn!("bundle {sha256} is confirmed BY FORCE: {reason}; it lacked: {lacked}");
        let forced = Forced { reason, lacked, at: self.now().wall };
        self.change(|slots| slots.force(sha256, forced))
    }

    pub(super) fn rollback(&self, reason: &str) -> Result<BootRecord, Refusal> {
        self.change(|slots| slots.rollback(reason, &self.now()))
    }

    /// How the trial stands.
    pub(super) fn trial(&self) -> Trial {
        let record = self.slots().record().clone();
        let now = self.now();
        let on_trial =
            record.candidate_on_trial().zip(record.trial()).map(|(trial, (_, left))| OnTrial {
                slot: trial.slot,
                sha256: trial.digest,
                attempts_left: left,
                seconds: record.notes.activation.age(&now).as_secs(),
                automatic: self.config.trial.confirm == Confirm::Automatic,
                lacks: match self.judged(&record, &now) {
                    Ok(_) => Vec::new(),
                    Err(Lacks::Word(why)) => vec![why],
                    Err(Lacks::Proof(unproven)) => {
                        unproven.lacks().iter().map(ToString::to_string).collect()
                    }
                },
            });
        Trial { on_trial, forced: record.notes.forced, running: proof::text(&self.config.slots) }
    }

    fn proof(&self) -> Result<Proven, String> {
        let record = self.slots().record().clone();
        self.judged(&record, &self.now()).map_err(|lacks| match lacks {
            Lacks::Word(why) => why,
            Lacks::Proof(unproven) => unproven.to_string(),
        })
    }

    fn judged(&self, record: &BootRecord, now: &Moment) -> Result<Proven, Lacks> {
        let trial = record.candidate_on_trial();
        let trial = trial.ok_or_else(|| Lacks::Word("nothing is on trial".into()))?;
        let running = proof::running(&self.config.slots).map_err(Lacks::Word)?;
        running.prove(trial, &self.config.trial.terms(), now).map_err(Lacks::Proof)
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Slots<Folder>) -> Result<(), Refusal>,
    ) -> Result<BootRecord, Refusal> {
        let (before, after) = {
            let mut slots = self.slots();
            let before = slots.record().active;
            change(&mut slots)?;
            (before, slots.record().clone())
        };
        self.announce(before);
        Ok(after)
    }
}

/// Why there is no proof.
enum Lacks {
    /// The daemon said nothing that can be read.
    Word(String),
    Proof(Unproven),
}
