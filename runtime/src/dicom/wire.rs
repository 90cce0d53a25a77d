//! PDUs over TCP or TLS, with deadlines.

use super::ended::Ended;
use crate::tls::Connection;
use bytes::BytesMut;
use dicom_ul::{Pdu, association::read_pdu_from_wire_async, pdu::write_pdu};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout_at},
};

/// PDUs over a connection. Nothing waits longer than its limit, nor past the deadline of the association.
pub(super) struct Wire {
    pub(super) stream: Connection,
    pub(super) buffer: BytesMut,
    pub(super) max_pdu: u32,
    pub(super) write_limit: Duration,
    pub(super) deadline: Instant,
    pub(super) deadline_of: (&'static str, Duration),
}

impl Wire {
    pub(super) async fn receive(
        &mut self,
        limit: Duration,
        what: &'static str,
    ) -> Result<Pdu, Ended> {
        self.receive_until(Instant::now() + limit, what, limit).await
    }

    /// The next PDU. Strict: one longer than we offered is refused when its header is read.
    pub(super) async fn receive_until(
        &mut self,
        until: Instant,
        what: &'static str,
        limit: Duration,
    ) -> Result<Pdu, Ended> {
        let (until, what, limit) = if until < self.deadline {
            (until, what, limit)
        } else {
            (self.deadline, self.deadline_of.0, self.deadline_of.1)
        };
        let read = read_pdu_from_wire_async(&mut self.stream, &mut self.buffer, self.max_pdu, true);
        match timeout_at(until, read).await {
            Err(_) => Err(Ended::Deadline { what, limit }),
            Ok(Ok(pdu)) => Ok(pdu),
            Ok(Err(dicom_ul::association::Error::ConnectionClosed { .. })) => Err(Ended::Closed),
            Ok(Err(error)) => Err(describe(&error)),
        }
    }

    pub(super) async fn send(&mut self, pdu: &Pdu) -> Result<(), Ended> {
        let mut bytes = Vec::with_capacity(512);
        write_pdu(&mut bytes, pdu).map_err(|error| Ended::Protocol(error.to_string()))?;
        let write = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await // under TLS, the last record may still be with us
        };
        match tokio::time::timeout(self.write_limit, write).await {
            Err(_) => Err(Ended::Deadline { what: "writing", limit: self.write_limit }),
            Ok(Err(_)) => Err(Ended::Closed),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Closes such that the peer still reads what we sent last: a reset would overtake it. For whoever
    /// goes on sending, that is soon over.
    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(LINGER, self.stream.shutdown()).await;
        let mut rest = [0; 4096];
        let drained = async {
            let mut left = LINGER_BYTES;
            while let Ok(n @ 1..) = self.stream.read(&mut rest).await {
                left = left.saturating_sub(n);
                if left == 0 {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drained).await;
    }
}

/// How long and how much we still listen after our last word.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 << 10;

/// A reader's error on one line, cause included.
fn describe(error: &(dyn std::error::Error + 'static)) -> Ended {
    let io = std::iter::successors(Some(error), |e| e.source()).any(|e| e.is::<io::Error>());
    if io {
        return Ended::Closed;
    }
    let chain: Vec<_> =
        std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
    Ended::Protocol(chain.join(": "))
}
