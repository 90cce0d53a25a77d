//! The verbs of the workstation: each opens a session, says a thing or two, and prints what came back.
//!
//! - [`push`], [`pack`]: a bundle into a slot, or a pack with the bundle that runs
//! - [`trial`]: verify, activate, trial, confirm, rollback
//! - [`condition`]: what the box is and how it is: info, slots, telemetry, logs, dump
//! - [`keys`], [`keyring`]: who may do what: keygen, code, enrol, keyring
//! - [`room`]: the X-ray room
//! - [`record`], [`replay`]: what two others say, written down; what was recorded, once more
//! - [`simulate`]: a controller or a box that is none
//! - [`line`]: the way to it: ping, bench, discover
//! - [`fleet`]: a rollout in waves over an inventory
//! - [`offline`]: from a USB stick, on the box itself
//! - [`swu`]: images for update servers and USB sticks

mod condition;
mod fleet;
mod keyring;
mod keys;
mod line;
mod offline;
mod pack;
mod push;
mod record;
mod replay;
mod room;
mod simulate;
mod swu;
mod trial;

pub(crate) use condition::{Dump, LogsArgs, info, slots, telemetry};
pub(crate) use fleet::Fleet;
pub(crate) use keyring::Keyring;
pub(crate) use keys::{DrawCode, Enrol, Keygen};
pub(crate) use line::{Bench, Discover, Ping};
pub(crate) use offline::Offline;
pub(crate) use push::Push;
pub(crate) use record::Record;
pub(crate) use replay::Replay;
pub(crate) use room::room;
pub(crate) use simulate::Simulate;
pub(crate) use swu::SwuVerb;
pub(crate) use trial::{Activate, Confirm, Rollback, Verify, trial_state};

use crate::Target;
use anyhow::{Context, Result};
use firmware_host::link::{Recorded, Recording};
use firmware_host::{Device, DeviceError, Patience};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two tries to reach the box.
const PAUSE: Duration = Duration::from_millis(200);

impl Target {
    fn open(&self, recording: Option<&Arc<Mutex<Recording>>>) -> Result<Device> {
        let mut link = self.keys.connect(&self.device, self.timeout)?;
        if let Some(recording) = recording {
            link = Box::new(Recorded { link, recording: Arc::clone(recording) });
        }
        let device = Device::open(link, self.patience());
        device.with_context(|| self.device.to_string())
    }

    fn patience(&self) -> Patience {
        Patience { silence: self.timeout, call: self.deadline }
    }

    /// Does `work` with the box; again over a new connection for `--retry`, should the link break.
    fn with<T>(&self, work: impl FnMut(&mut Device) -> Result<T>) -> Result<T> {
        let Some(path) = &self.record else { return self.retried(None, work) };
        let failed = || format!("cannot record in {}", path.display());
        let recording = Recording::create(path).with_context(failed)?;
        let done = self.retried(Some(&recording), work);
        // Also of what failed: that is what one looks into.
        let ended = recording.lock().unwrap_or_else(PoisonError::into_inner).finish();
        done.and_then(|done| ended.with_context(failed).map(|()| done))
    }

    fn retried<T>(
        &self,
        recording: Option<&Arc<Mutex<Recording>>>,
        mut work: impl FnMut(&mut Device) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            let error = match self.open(recording).and_then(|mut device| work(&mut device)) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let passing = error.downcast_ref().is_some_and(DeviceError::is_passing);
            if !passing || start.elapsed() >= self.retry {
                return Err(error);
            }
            log::warn!("{error:#}; trying again");
            thread::sleep(PAUSE);
        }
    }
}
