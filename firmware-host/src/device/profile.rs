//! What the box computes with.

use super::{Device, DeviceError, unexpected};
use protocol::{Profile, Refusal, Request, Response};

impl Device {
    /// Cores, power and heat; `None` from a box that is too old to tell.
    pub fn profile_if_known(&mut self) -> Result<Option<Profile>, DeviceError> {
        match self.call("profile", Request::Profile) {
            Err(DeviceError::Refused(Refusal::Unsupported)) => Ok(None),
            Ok(Response::Profile(profile)) => Ok(Some(profile)),
            Ok(other) => Err(unexpected("profile", &other)),
            Err(error) => Err(error),
        }
    }
}
