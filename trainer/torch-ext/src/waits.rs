//! How often the host waits for a CUDA card.

use crate::{Error, ffi};
use std::marker::PhantomData;

/// Counts, while it lives, the operations of this thread and of the backward passes it starts for which the host waits
/// until a card has computed something. One at a time.
#[derive(Debug)]
pub struct Waits {
    on: bool,
    of_this_thread: PhantomData<*const ()>,
}

impl Waits {
    /// An error in a build without CUDA.
    pub fn begin() -> Result<Self, Error> {
        // SAFETY: takes nothing.
        ffi::check(unsafe { ffi::ext_waits_begin() })?;
        Ok(Self { on: true, of_this_thread: PhantomData })
    }

    /// How many there were.
    pub fn end(mut self) -> Result<u64, Error> {
        self.stop()
    }

    fn stop(&mut self) -> Result<u64, Error> {
        self.on = false;
        let mut count = 0;
        // SAFETY: a number out.
        ffi::check(unsafe { ffi::ext_waits_end(&mut count) })?;
        Ok(count)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if self.on {
            let _ = self.stop();
        }
    }
}
