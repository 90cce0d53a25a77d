//! Who may ask for what.

use crate::message::Request;
use crate::role::Role;

impl Role {
    /// One arm for every request and none for "the rest": a new request has to choose.
    pub const fn allows(self, request: &Request) -> bool {
        match request {
            Request::Hello { .. }
            | Request::Ping { .. }
            | Request::Find
            | Request::Enrol { .. } => true,
            Request::Exposure(_) | Request::Detector(_) | Request::Interlock(_) => {
                matches!(self, Self::Report | Self::Operate | Self::Administer)
            }
            Request::Lamp => true,
            Request::Info
            | Request::Room
            | Request::Slots
            | Request::Logs { .. }
            | Request::Telemetry
            | Request::Profile
            | Request::Trial
            | Request::Journal { .. }
            | Request::Packs
            | Request::Keys => matches!(self, Self::Look | Self::Operate | Self::Administer),
            Request::Keyring { .. } | Request::Force { .. } | Request::NextKey => {
                matches!(self, Self::Administer)
            }
            Request::Begin { .. }
            | Request::Write { .. }
            | Request::Finish { .. }
            | Request::Verify { .. }
            | Request::Activate { .. }
            | Request::Confirm { .. }
            | Request::Rollback { .. }
            | Request::Pack { .. }
            | Request::Unpack { .. }
            | Request::Sink { .. }
            | Request::Source { .. } => matches!(self, Self::Operate | Self::Administer),
        }
    }
}

impl Request {
    /// What a key that the box does not know may ask for, as long as the box waits for an enrolment.
    pub const fn is_for_strangers(&self) -> bool {
        matches!(self, Self::Hello { .. } | Self::Enrol { .. })
    }
}
