//! One peer, from its first PDU to its last.
//!
//! ```text
//!            ┌────────────── response ◀─────────────┐
//!            ▼                                      │
//!  RQ ─▶ Idle ── command PDVs ─▶ command ── data PDVs ─▶ Receiving ── last PDV ─▶ fsync, rename
//!         │ release                    └─ no data set: C-ECHO
//!         ▼
//!      RP, closed
//! ```
//!
//! Anything that does not fit ends in A-ABORT; a message that fits but cannot be served gets a status.

use super::{
    command::{self, Command, Status},
    commitment::{self, MAX_REPORT_BYTES},
    ended::Ended,
    negotiation::{self, Class, Context, Refusal},
    places::Pending,
    scp::Scp,
    store::{self, Store, failed},
    wire::Wire,
};
use crate::{
    audit::Event,
    spool::{Accepted, Stage},
    tls::{self, Connection, Shown},
};
use bytes::BytesMut;
use dicom_ul::{
    Pdu,
    pdu::{AbortRQSource, PDataValue, PDataValueType},
};
use std::net::SocketAddr;
use tokio::{
    net::TcpStream,
    task::block_in_place,
    time::{Instant, timeout_at},
};

/// Serves one connection until it is released, breaks, or takes too long.
pub(crate) async fn serve(
    tcp: TcpStream,
    address: SocketAddr,
    scp: &Scp,
    mut pending: Pending,
) -> Result<(), Ended> {
    let deadline = Instant::now() + scp.config.associate_seconds;
    let (stream, certificate) = tokio::select! {
        open = open(tcp, scp, deadline) => open?,
        () = pending.displaced() => return Err(Ended::Displaced),
    };
    let mut wire = Wire {
        stream,
        buffer: BytesMut::new(),
        max_pdu: scp.config.max_pdu_bytes,
        write_limit: scp.config.pdu_seconds,
        deadline,
        deadline_of: ("association request", scp.config.associate_seconds),
    };
    let ended = run(&mut wire, (address, certificate), scp, pending).await;
    if let Some(reason) = ended.as_ref().err().and_then(Ended::abort_reason) {
        let source = AbortRQSource::ServiceProvider(reason);
        let _ = wire.send(&Pdu::AbortRQ { source }).await;
    }
    wire.close().await;
    ended
}

/// The connection as it is used: behind the handshake, if there is TLS.
async fn open(
    tcp: TcpStream,
    scp: &Scp,
    deadline: Instant,
) -> Result<(Connection, Option<Shown>), Ended> {
    let access = scp.access.get();
    let Some(tls) = &access.tls else { return Ok((Box::new(tcp), None)) };
    match timeout_at(deadline, tls.accept(tcp)).await {
        Err(_) => {
            Err(Ended::Deadline { what: "the TLS handshake", limit: scp.config.associate_seconds })
        }
        Ok(Err(error)) => Err(Ended::Tls(tls::reason(&error))),
        Ok(Ok(open)) => Ok(open),
    }
}

async fn run(
    wire: &mut Wire,
    (address, certificate): (SocketAddr, Option<Shown>),
    scp: &Scp,
    mut pending: Pending,
) -> Result<(), Ended> {
    let request = tokio::select! {
        pdu = wire.receive(scp.config.associate_seconds, "association request") => pdu?,
        () = pending.displaced() => return Err(Ended::Displaced),
    };
    let Pdu::AssociationRQ(request) = request else {
        return Err(Ended::Protocol("first PDU is no A-ASSOCIATE-RQ".into()));
    };
    let (calling, called) = (request.calling_ae_title.trim(), request.called_ae_title.trim());
    let access = scp.access.get();
    let place = access
        .check(address.ip(), certificate.as_ref(), calling, called)
        .and_then(|()| pending.associate().ok_or(Refusal::Full));
    let agreed = place.and_then(|place| {
        negotiation::accept(&request, scp.config.max_pdu_bytes, scp.reports.expects(calling))
            .map(|(answer, agreement)| (answer, agreement, place))
    });
    let (answer, agreement, _place) = match agreed {
        Ok(agreed) => agreed,
        Err(refusal) => {
            if let Some(pdu) = refusal.pdu() {
                wire.send(&Pdu::AssociationRJ(pdu)).await?;
            }
            log::warn!("{address}: refused {calling:?} calling {called:?}: {refusal:?}");
            scp.audit.write(associated(calling, called, address, format!("refused: {refusal:?}")));
            return Err(Ended::Refused(refusal));
        }
    };
    let limit = scp.config.association_seconds;
    (wire.deadline, wire.deadline_of) = (Instant::now() + limit, ("association", limit));
    wire.send(&Pdu::AssociationAC(answer)).await?;
    scp.metrics.associations.add(1);
    scp.audit.write(associated(calling, called, address, "accepted".into()));
    log::debug!("{address}: {calling} associated, {} contexts", agreement.contexts.len());

    let mut session = Session {
        scp,
        contexts: agreement.contexts,
        peer: agreement.peer,
        peer_max_pdu: agreement.peer_max_pdu,
        state: State::Idle,
    };
    loop {
        let pdu = tokio::select! {
            pdu = session.receive(wire) => pdu?,
            // An object on its way is worth waiting for; between messages we leave.
            () = scp.shutdown.cancelled(), if session.idle() => return Err(Ended::Stopping),
        };
        match pdu {
            Pdu::PData { data } => {
                for value in data {
                    session.take(value, wire).await?;
                }
            }
            Pdu::ReleaseRQ if session.idle() => return wire.send(&Pdu::ReleaseRP).await,
            Pdu::AbortRQ { .. } => return Err(Ended::Aborted),
            other => {
                return Err(Ended::Protocol(format!("unexpected {}", other.short_description())));
            }
        }
    }
}

fn associated(calling: &str, called: &str, from: SocketAddr, outcome: String) -> Event {
    let (who, called, from) = (calling.to_owned(), called.to_owned(), from.to_string());
    Event::Association { who, from, called, outcome }
}

/// The message being received.
struct Session<'a> {
    scp: &'a Scp,
    contexts: Vec<Context>,
    peer: String,
    peer_max_pdu: u32,
    state: State<'a>,
}

enum State<'a> {
    Idle,
    /// Some fragments of a command set.
    Command {
        context: u8,
        bytes: Vec<u8>,
    },
    Receiving(Box<Receiving<'a>>),
}

/// A data set on its way.
struct Receiving<'a> {
    context: u8,
    command: Command,
    deadline: Instant,
    outcome: Outcome<'a>,
}

enum Outcome<'a> {
    /// So far so good.
    Storing(Box<Store<'a>>),
    /// A report about storage commitment.
    Reporting(Vec<u8>),
    /// Already refused: what still arrives is dropped, then this is the answer.
    Refused(Status),
}

impl<'a> Session<'a> {
    fn idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// The next PDU, within the limit that the state sets.
    async fn receive(&self, wire: &mut Wire) -> Result<Pdu, Ended> {
        let config = &self.scp.config;
        match &self.state {
            State::Idle => wire.receive(config.idle_seconds, "waiting for a message").await,
            State::Command { .. } => wire.receive(config.pdu_seconds, "a PDU").await,
            State::Receiving(receiving) => {
                let left = receiving.deadline.saturating_duration_since(Instant::now());
                if left < config.pdu_seconds {
                    wire.receive_until(receiving.deadline, "an object", config.object_seconds).await
                } else {
                    wire.receive(config.pdu_seconds, "a PDU").await
                }
            }
        }
    }

    async fn take(&mut self, value: PDataValue, wire: &mut Wire) -> Result<(), Ended> {
        let id = value.presentation_context_id;
        if !self.contexts.iter().any(|context| context.id == id) {
            return Err(Ended::Protocol(format!("presentation context {id} was not accepted")));
        }
        match value.value_type {
            PDataValueType::Command => self.take_command(id, value, wire).await,
            PDataValueType::Data => self.take_data(id, value, wire).await,
        }
    }

    async fn take_command(
        &mut self,
        id: u8,
        value: PDataValue,
        wire: &mut Wire,
    ) -> Result<(), Ended> {
        let mut bytes = match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => Vec::new(),
            State::Command { context, bytes } if context == id => bytes,
            State::Command { .. } => {
                return Err(Ended::Protocol("a command in two contexts".into()));
            }
            State::Receiving(_) => {
                return Err(Ended::Protocol("a command inside a data set".into()));
            }
        };
        if bytes.len() + value.data.len() > command::MAX_COMMAND_BYTES {
            return Err(Ended::Protocol(format!(
                "command set of more than {} bytes",
                command::MAX_COMMAND_BYTES
            )));
        }
        bytes.extend_from_slice(&value.data);
        if !value.is_last {
            self.state = State::Command { context: id, bytes };
            return Ok(());
        }
        let command = Command::parse(&bytes).map_err(|error| Ended::Protocol(error.to_string()))?;
        self.begin(id, command, wire).await
    }

    /// Acts on a complete command set.
    async fn begin(&mut self, id: u8, command: Command, wire: &mut Wire) -> Result<(), Ended> {
        let class =
            self.contexts.iter().find(|context| context.id == id).map(|context| context.class);
        let verdict = match (command.field, class) {
            (command::C_CANCEL_RQ, _) => return Ok(()), // of nothing: we never work asynchronously
            (command::C_ECHO_RQ, Some(Class::Verification)) => {
                self.scp.metrics.echoes.add(1);
                Err(Status::success())
            }
            (command::C_STORE_RQ, Some(Class::Storage(_))) => {
                self.begin_store(id, &command).map(|store| Outcome::Storing(Box::new(store)))
            }
            (command::N_EVENT_REPORT_RQ, Some(Class::Commitment)) if command.has_dataset => {
                Ok(Outcome::Reporting(Vec::new()))
            }
            (command::N_EVENT_REPORT_RQ, Some(Class::Commitment)) => {
                Err(self.report(id, &command, None))
            }
            (command::C_ECHO_RQ | command::C_STORE_RQ, _) => Err(Status::failure(
                Status::CLASS_NOT_SUPPORTED,
                "not the service of this presentation context",
            )),
            (field, _) => Err(Status::failure(
                Status::UNRECOGNIZED_OPERATION,
                format!("command {field:04x} is not served in this context"),
            )),
        };
        let outcome = match verdict {
            Ok(outcome) => outcome,
            Err(status) if command.has_dataset => Outcome::Refused(status),
            Err(status) => return self.respond(id, &command, &status, wire).await,
        };
        let deadline = Instant::now() + self.scp.config.object_seconds;
        self.state =
            State::Receiving(Box::new(Receiving { context: id, command, deadline, outcome }));
        Ok(())
    }

    /// Opens the file of an object that can be stored; otherwise why not.
    fn begin_store(&self, id: u8, command: &Command) -> Result<Store<'a>, Status> {
        let context = self.contexts.iter().find(|context| context.id == id);
        let (Some(Class::Storage(class)), Some(syntax)) =
            (context.map(|c| c.class), context.map(|c| c.syntax))
        else {
            return Err(Status::failure(Status::CLASS_NOT_SUPPORTED, "no storage context"));
        };
        let uid = store::announced(command, class)?;
        block_in_place(|| Store::begin(&self.scp.spool, class, uid, syntax, &self.peer))
            .map_err(|error| failed(&error))
    }

    async fn take_data(&mut self, id: u8, value: PDataValue, wire: &mut Wire) -> Result<(), Ended> {
        let State::Receiving(receiving) = &mut self.state else {
            return Err(Ended::Protocol("a data set without a command".into()));
        };
        if receiving.context != id {
            return Err(Ended::Protocol("a data set in another context than its command".into()));
        }
        match &mut receiving.outcome {
            Outcome::Storing(store) => {
                let limit = self.scp.config.max_object_bytes;
                let written = match store.must_flush(value.data.len()) {
                    true => block_in_place(|| store.write(&value.data, limit)),
                    false => store.write(&value.data, limit),
                };
                if let Err(status) = written {
                    // Dropping the store removes its file.
                    receiving.outcome = Outcome::Refused(status);
                }
            }
            Outcome::Reporting(bytes) if bytes.len() + value.data.len() > MAX_REPORT_BYTES => {
                let comment = format!("report is larger than {MAX_REPORT_BYTES} bytes");
                let status = Status::failure(Status::PROCESSING_FAILURE, comment);
                receiving.outcome = Outcome::Refused(status);
            }
            Outcome::Reporting(bytes) => bytes.extend_from_slice(&value.data),
            Outcome::Refused(_) => {}
        }
        if !value.is_last {
            return Ok(());
        }
        let State::Receiving(receiving) = std::mem::replace(&mut self.state, State::Idle) else {
            return Ok(());
        };
        let Receiving { command, outcome, .. } = *receiving;
        let (status, image) = match outcome {
            Outcome::Refused(status) => (status, None),
            Outcome::Storing(store) => match block_in_place(|| self.finish(*store)) {
                Ok(image) => (Status::success(), Some(image)),
                Err(status) => (status, None),
            },
            Outcome::Reporting(dataset) => {
                let status = self.report(id, &command, Some(&dataset));
                return self.respond(id, &command, &status, wire).await;
            }
        };
        let (who, code) = (self.peer.clone(), format!("{:04x}", status.code));
        self.scp.audit.write(Event::Store { who, image, status: code });
        self.respond(id, &command, &status, wire).await?;
        if let Some(image) = image {
            self.scp.spool.stages.mark(image, Stage::Acknowledged, std::time::Instant::now());
        }
        Ok(())
    }

    /// Takes in a report about storage commitment.
    fn report(&self, id: u8, command: &Command, dataset: Option<&[u8]>) -> Status {
        let context = self.contexts.iter().find(|context| context.id == id);
        let syntax = context.map_or("", |context| context.syntax.uid());
        let instance = command.sop_instance().and_then(Result::ok);
        let instance = instance.map(|uid| uid.as_str().to_owned());
        match commitment::report(instance, command.event_type, dataset, syntax) {
            Ok(report) => block_in_place(|| self.scp.reports.take(&self.peer, &report)),
            Err(bad) => bad.status(),
        }
    }

    /// Checks and commits a complete object; its number in the spool.
    fn finish(&self, store: Store<'_>) -> Result<u64, Status> {
        let (peer, accepted) = (&self.peer, store.finish()?);
        let label = accepted.key().label();
        match &accepted {
            Accepted::New(_) => log::info!("{peer}: received {label}"),
            Accepted::Duplicate(_) => log::info!("{peer}: already have {label}"),
            Accepted::Again(_) => log::info!("{peer}: received {label} again, which was parked"),
            Accepted::Revision(_) => {
                log::warn!("{peer}: {label} has other contents than before under its UID");
            }
        }
        self.scp.metrics.stored.add(1);
        Ok(accepted.key().sequence)
    }

    async fn respond(
        &self,
        id: u8,
        command: &Command,
        status: &Status,
        wire: &mut Wire,
    ) -> Result<(), Ended> {
        if status.code != Status::SUCCESS {
            self.scp.metrics.refused.add(1);
            log::warn!("{}: status {:04x}: {}", self.peer, status.code, status.comment);
        }
        let value_type = PDataValueType::Command;
        let response = command.response(status);
        let most = (self.peer_max_pdu as usize).saturating_sub(6).max(16) & !1;
        let pieces = response.len().div_ceil(most);
        for (at, piece) in response.chunks(most).enumerate() {
            let is_last = at + 1 == pieces;
            let value = PDataValue {
                presentation_context_id: id,
                value_type: value_type.clone(),
                is_last,
                data: piece.to_vec(),
            };
            wire.send(&Pdu::PData { data: vec![value] }).await?;
        }
        Ok(())
    }
}
