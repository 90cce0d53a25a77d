//! Our side of an association that we ask for: C-ECHO, C-STORE, N-ACTION, C-FIND, C-MOVE, on the same [`Wire`] as the SCP.
//!
//! ```text
//! proposal   A-ASSOCIATE-RQ out, AC in; no I/O
//! message    command sets out and in; no I/O
//! retrieve   C-FIND and C-MOVE: many answers to one question
//! ```
//!
//! One message at a time. Every wait has a deadline, and nothing that the peer sends makes us hold more than
//! [`MAX_REPORT_BYTES`]. A report about storage commitment may come while we wait for something else: it is
//! kept for [`Association::event`].

mod message;
mod proposal;
mod retrieve;

pub(crate) use message::{Operations, Response, Said};
pub(crate) use proposal::{Accepted, Proposal};

use super::{
    command::{self, C_ECHO_RQ, C_STORE_RQ, Command, Status},
    commitment::MAX_REPORT_BYTES,
    ended::Ended,
    wire::Wire,
};
use crate::{
    dial::{Unreachable, dial},
    tls::client::Connector,
};
use bytes::BytesMut;
use dicom_ul::{
    Pdu,
    pdu::{AbortRQSource, AssociationRJResult, PDataValue, PDataValueType},
};
use message::{N_ACTION_RQ, Request};
use std::{collections::VecDeque, time::Duration};
use thiserror::Error;
use tokio::time::Instant;

/// Longest PDU we take. Answers are short.
const MAX_PDU: u32 = 64 << 10;
/// Longest fragment we send, whatever the peer would take.
const MAX_FRAGMENT: usize = 128 << 10;
/// An association that lasts longer is closed and another one opened.
const LONGEST: Duration = Duration::from_secs(3600);

/// Whom to call.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) calling: String,
    pub(crate) called: String,
    /// `HOST:PORT`
    pub(crate) address: String,
    pub(crate) tls: Option<Connector>,
    /// Of connecting, of one PDU, of one answer.
    pub(crate) timeout: Duration,
}

/// Why a request got no answer.
#[derive(Debug, Error)]
pub(crate) enum ScuError {
    #[error("{0}")]
    Unreachable(#[from] Unreachable),
    /// Ours cannot be read.
    #[error("{0}")]
    Certificates(String),
    #[error("association rejected{}: {why}", if *permanent { "" } else { " for now" })]
    Rejected { permanent: bool, why: String },
    #[error("the peer does not take {class}: no presentation context was accepted")]
    NoContext { class: String },
    #[error("{0}")]
    Ended(#[from] Ended),
}

/// An object in a file of its own: Part 10, explicit VR little endian.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'a> {
    pub(crate) class: &'a str,
    pub(crate) instance: &'a str,
    /// Without preamble and file meta information.
    pub(crate) dataset: &'a [u8],
    pub(crate) urgent: bool,
}

/// A report about storage commitment that the peer wants an answer to.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) command: Command,
    pub(crate) context: Accepted,
    pub(crate) dataset: Option<Vec<u8>>,
}

/// An open association.
pub(crate) struct Association {
    wire: Wire,
    contexts: Vec<Accepted>,
    peer_max_pdu: u32,
    timeout: Duration,
    messages: u16,
    events: VecDeque<Event>,
}

impl Association {
    /// Connects and agrees on services; those the peer does not give are named when they are used.
    pub(crate) async fn open(peer: &Peer, proposals: &[Proposal]) -> Result<Self, ScuError> {
        let stream = dial(&peer.address, peer.tls.as_ref(), peer.timeout).await?;
        let mut wire = Wire {
            stream,
            buffer: BytesMut::new(),
            max_pdu: MAX_PDU,
            write_limit: peer.timeout,
            deadline: Instant::now() + LONGEST,
            deadline_of: ("association", LONGEST),
        };
        let request = proposal::request(&peer.calling, &peer.called, proposals, MAX_PDU);
        wire.send(&Pdu::AssociationRQ(request)).await?;
        let answer =
            match wire.receive(peer.timeout, "the answer to our association request").await? {
                Pdu::AssociationAC(answer) => answer,
                Pdu::AssociationRJ(refusal) => {
                    let permanent = refusal.result == AssociationRJResult::Permanent;
                    wire.close().await;
                    return Err(ScuError::Rejected { permanent, why: refusal.source.to_string() });
                }
                Pdu::AbortRQ { .. } => return Err(Ended::Aborted.into()),
                other => return Err(unexpected(&other)),
            };
        match proposal::accepted(&answer, proposals) {
            Ok((contexts, peer_max_pdu)) => {
                let (timeout, messages, events) = (peer.timeout, 0, VecDeque::new());
                Ok(Self { wire, contexts, peer_max_pdu, timeout, messages, events })
            }
            Err(why) => {
                let mut association = Self {
                    wire,
                    contexts: Vec::new(),
                    peer_max_pdu: MAX_PDU,
                    timeout: peer.timeout,
                    messages: 0,
                    events: VecDeque::new(),
                };
                association.abort().await;
                Err(Ended::Protocol(why).into())
            }
        }
    }

    pub(crate) fn context(&self, class: &str) -> Option<&Accepted> {
        self.contexts.iter().find(|context| context.class == class)
    }

    pub(crate) async fn echo(&mut self) -> Result<Response, ScuError> {
        let request =
            Request { field: C_ECHO_RQ, class: super::VERIFICATION, ..Request::default() };
        self.ask(&request, None).await
    }

    pub(crate) async fn store(&mut self, object: &Object<'_>) -> Result<Response, ScuError> {
        let request = Request {
            field: C_STORE_RQ,
            class: object.class,
            instance: Some(object.instance),
            urgent: object.urgent,
            has_dataset: true,
            ..Request::default()
        };
        self.ask(&request, Some(object.dataset)).await
    }

    /// N-ACTION `action` on a well-known instance. `encode` gets the transfer syntax that was agreed on.
    pub(crate) async fn action(
        &mut self,
        class: &str,
        instance: &str,
        action: u16,
        encode: impl FnOnce(&str) -> Vec<u8>,
    ) -> Result<Response, ScuError> {
        let context = self.context(class);
        let context = context.ok_or_else(|| ScuError::NoContext { class: class.into() })?;
        let dataset = encode(context.syntax);
        let request = Request {
            field: N_ACTION_RQ,
            class,
            instance: Some(instance),
            action: Some(action),
            has_dataset: true,
            ..Request::default()
        };
        self.ask(&request, Some(&dataset)).await
    }

    /// The next report of the peer, if one comes within `wait`. Answer it with [`Self::answer`].
    pub(crate) async fn event(&mut self, wait: Duration) -> Result<Option<Event>, ScuError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        let first = match self.wire.receive_until(Instant::now() + wait, "a report", wait).await {
            Err(Ended::Deadline { .. }) => return Ok(None),
            first => first?,
        };
        match self.message(first, Instant::now() + self.timeout).await? {
            (_, Said::Response(response), _) => {
                Err(Ended::Protocol(format!("answer {:04x} to nothing", response.field)).into())
            }
            (context, Said::Event(command), dataset) => {
                Ok(Some(Event { command, context, dataset }))
            }
        }
    }

    pub(crate) async fn answer(&mut self, event: &Event, status: &Status) -> Result<(), ScuError> {
        let response = event.command.response(status);
        self.send(event.context.id, PDataValueType::Command, &response).await
    }

    /// Ends it as agreed. Whatever goes wrong now changes nothing.
    pub(crate) async fn release(mut self) {
        if self.wire.send(&Pdu::ReleaseRQ).await.is_ok() {
            let _ = self.wire.receive(self.timeout, "the answer to our release").await;
        }
        self.wire.close().await;
    }

    /// Tells the peer that we are gone.
    pub(crate) async fn abort(&mut self) {
        let source = AbortRQSource::ServiceUser;
        let _ = self.wire.send(&Pdu::AbortRQ { source }).await;
    }

    async fn ask(
        &mut self,
        request: &Request<'_>,
        dataset: Option<&[u8]>,
    ) -> Result<Response, ScuError> {
        self.begin(request, dataset).await?;
        let until = Instant::now() + self.timeout;
        loop {
            let first = self.wire.receive_until(until, "an answer", self.timeout).await?;
            if let Some((response, _)) = self.take(request.field, first, until).await? {
                return Ok(response);
            }
        }
    }

    /// Sends a request under a number of its own.
    async fn begin(
        &mut self,
        request: &Request<'_>,
        dataset: Option<&[u8]>,
    ) -> Result<(), ScuError> {
        let class = request.class;
        let context = self.context(class);
        let id = context.ok_or_else(|| ScuError::NoContext { class: class.into() })?.id;
        self.messages = self.messages.wrapping_add(1).max(1);
        let command = request.encode(self.messages);
        self.send(id, PDataValueType::Command, &command).await?;
        match dataset {
            Some(dataset) => self.send(id, PDataValueType::Data, dataset).await,
            None => Ok(()),
        }
    }

    /// The answer to our last request, a `field`, that begins with `first`; none: it was a report, and is kept.
    async fn take(
        &mut self,
        field: u16,
        first: Pdu,
        until: Instant,
    ) -> Result<Option<(Response, Option<Vec<u8>>)>, ScuError> {
        match self.message(first, until).await? {
            (context, Said::Event(command), dataset) => {
                self.events.push_back(Event { command, context, dataset });
                if self.events.len() > MOST_EVENTS {
                    return Err(Ended::Protocol("reports without end".into()).into());
                }
                Ok(None)
            }
            (_, Said::Response(response), _)
                if response.field != field | command::RESPONSE
                    || response.answers != self.messages =>
            {
                Err(Ended::Protocol(format!(
                    "answer {:04x} to message {}, expected {:04x} to {}",
                    response.field,
                    response.answers,
                    field | command::RESPONSE,
                    self.messages
                ))
                .into())
            }
            (_, Said::Response(response), dataset) => Ok(Some((response, dataset))),
        }
    }

    async fn send(
        &mut self,
        context: u8,
        value_type: PDataValueType,
        bytes: &[u8],
    ) -> Result<(), ScuError> {
        let most = (self.peer_max_pdu as usize).min(MAX_FRAGMENT).saturating_sub(6).max(16) & !1;
        let pieces = bytes.len().div_ceil(most);
        for (at, piece) in bytes.chunks(most).enumerate() {
            let value = PDataValue {
                presentation_context_id: context,
                value_type: value_type.clone(),
                is_last: at + 1 == pieces,
                data: piece.to_vec(),
            };
            self.wire.send(&Pdu::PData { data: vec![value] }).await?;
        }
        Ok(())
    }

    /// A whole message that begins with `pdu`: command set and, where it announces one, data set.
    async fn message(
        &mut self,
        mut pdu: Pdu,
        until: Instant,
    ) -> Result<(Accepted, Said, Option<Vec<u8>>), ScuError> {
        let mut parts = Parts::default();
        loop {
            let values = match pdu {
                Pdu::PData { data } => data,
                Pdu::AbortRQ { .. } => return Err(Ended::Aborted.into()),
                other => return Err(unexpected(&other)),
            };
            for (at, value) in values.iter().enumerate() {
                let whole = parts.add(value).map_err(Ended::Protocol)?;
                let Some((context, said, dataset)) = whole else { continue };
                if at + 1 != values.len() {
                    return Err(Ended::Protocol("two messages in one PDU".into()).into());
                }
                let context = self.contexts.iter().find(|known| known.id == context);
                let context = context.ok_or_else(|| {
                    Ended::Protocol("a message in a context that was not accepted".into())
                })?;
                return Ok((context.clone(), said, dataset));
            }
            pdu = self.wire.receive_until(until, "the rest of a message", self.timeout).await?;
        }
    }
}

/// Reports that may come while we wait for one answer.
const MOST_EVENTS: usize = 64;

fn unexpected(pdu: &Pdu) -> ScuError {
    Ended::Protocol(format!("unexpected {}", pdu.short_description())).into()
}

/// Fragments of a message.
#[derive(Debug, Default)]
struct Parts {
    context: Option<u8>,
    command: Vec<u8>,
    said: Option<Said>,
    dataset: Vec<u8>,
}

type Whole = (u8, Said, Option<Vec<u8>>);

impl Parts {
    /// Takes in one fragment; the message, once it is whole.
    fn add(&mut self, value: &PDataValue) -> Result<Option<Whole>, String> {
        let context = *self.context.get_or_insert(value.presentation_context_id);
        if context != value.presentation_context_id {
            return Err("one message in two presentation contexts".into());
        }
        let (bytes, most) = match (&value.value_type, &self.said) {
            (PDataValueType::Command, None) => (&mut self.command, command::MAX_COMMAND_BYTES),
            (PDataValueType::Data, Some(_)) => (&mut self.dataset, MAX_REPORT_BYTES),
            (PDataValueType::Command, Some(_)) => return Err("a command inside a data set".into()),
            (PDataValueType::Data, None) => return Err("a data set without a command".into()),
        };
        if bytes.len() + value.data.len() > most {
            return Err(format!("a message of more than {most} bytes"));
        }
        bytes.extend_from_slice(&value.data);
        if !value.is_last {
            return Ok(None);
        }
        if let Some(said) = self.said.take() {
            return Ok(Some((context, said, Some(std::mem::take(&mut self.dataset)))));
        }
        let said = Said::parse(&self.command).map_err(|error| error.to_string())?;
        let has_dataset = match &said {
            Said::Response(response) => response.has_dataset,
            Said::Event(command) => command.has_dataset,
        };
        if has_dataset {
            self.said = Some(said);
            return Ok(None);
        }
        Ok(Some((context, said, None)))
    }
}

#[cfg(test)]
mod tests;
