//! What an X-ray controller says and asks.

use super::{Device, DeviceError, unexpected};
use protocol::{Detector, Exposure, Interlock, Lamp, Request, Response, Room};

impl Device {
    /// Tells of an exposure; what the lamp shows now, and how many images are missing.
    pub fn expose(&mut self, exposure: Exposure) -> Result<(Lamp, u32), DeviceError> {
        self.lamp_after("exposure", Request::Exposure(exposure))
    }

    /// Tells how the detector is.
    pub fn detector(&mut self, detector: Detector) -> Result<(Lamp, u32), DeviceError> {
        self.lamp_after("detector", Request::Detector(detector))
    }

    /// Tells how the interlock is.
    pub fn interlock(&mut self, interlock: Interlock) -> Result<(Lamp, u32), DeviceError> {
        self.lamp_after("interlock", Request::Interlock(interlock))
    }

    /// What the result lamp shows, and how many images are missing.
    pub fn lamp(&mut self) -> Result<(Lamp, u32), DeviceError> {
        self.lamp_after("lamp", Request::Lamp)
    }

    fn lamp_after(
        &mut self,
        what: &'static str,
        request: Request,
    ) -> Result<(Lamp, u32), DeviceError> {
        match self.call(what, request)? {
            Response::Lamp { lamp, missing } => Ok((lamp, missing)),
            other => Err(unexpected(what, &other)),
        }
    }

    /// The X-ray room.
    pub fn room(&mut self) -> Result<Room, DeviceError> {
        match self.call("room", Request::Room)? {
            Response::Room(room) => Ok(room),
            other => Err(unexpected("room", &other)),
        }
    }
}
