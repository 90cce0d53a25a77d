//! How associations end, theirs and ours.

use super::negotiation::Refusal;
use dicom_ul::pdu::AbortRQServiceProviderReason as Reason;
use std::time::Duration;
use thiserror::Error;

/// How an association ended, if not by release.
#[derive(Debug, Error)]
pub(crate) enum Ended {
    #[error("refused: {0:?}")]
    Refused(Refusal),
    #[error("aborted by the peer")]
    Aborted,
    #[error("connection closed by the peer")]
    Closed,
    #[error("{what} took longer than {} s", limit.as_secs_f32())]
    Deadline { what: &'static str, limit: Duration },
    #[error("gave way to a newer connection")]
    Displaced,
    #[error("daemon is stopping")]
    Stopping,
    #[error("protocol error: {0}")]
    Protocol(String),
    #[error("no TLS: {0}")]
    Tls(String),
}

impl Ended {
    /// What to say in an A-ABORT; `None` where there is nobody left to tell.
    pub(super) fn abort_reason(&self) -> Option<Reason> {
        match self {
            Self::Aborted | Self::Closed | Self::Displaced | Self::Tls(_) => None,
            Self::Refused(Refusal::Contexts) => Some(Reason::InvalidPduParameter),
            Self::Refused(_) => None,
            Self::Deadline { .. } | Self::Stopping => Some(Reason::ReasonNotSpecified),
            Self::Protocol(_) => Some(Reason::UnexpectedPdu),
        }
    }
}
