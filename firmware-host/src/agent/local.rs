//! The slots' rules for whoever works in this process: what the link asks for, without the link.

use super::Agent;
use crate::random::random;
use protocol::{Digest, Refusal, Request, RequestId, Response};
use std::thread;
use std::time::Duration;

/// How long, and how often, a piece waits for another change to end.
const PATIENCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);

impl Agent {
    pub(super) fn ask(&self, request: Request) -> Result<Response, Refusal> {
        let id = random().map_err(|error| Refusal::State { detail: error.to_string() })?;
        self.answer(RequestId(id), request)
    }

    /// A piece of the file begun before; returns where the next one goes.
    pub(super) fn write_patiently(
        &self,
        sha256: Digest,
        offset: u64,
        piece: &[u8],
    ) -> Result<u64, Refusal> {
        let mut tries = 0;
        loop {
            match self.write(sha256, offset, piece) {
                Err(Refusal::Busy { .. }) if tries < PATIENCE => {
                    tries += 1;
                    thread::sleep(PAUSE);
                }
                written => return written,
            }
        }
    }
}
