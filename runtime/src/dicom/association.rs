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
    access,
    command::{self, Command, Status},
    dataset::{self, Mismatch},
    listener::{Pending, Scp},
    negotiation::{self, Class, Context, Refusal},
    part10,
};
use crate::{
    dicom::Uid,
    spool::{Accepted, Incoming, Spool},
};
use bytes::BytesMut;
use dicom_ul::{
    Pdu,
    association::read_pdu_from_wire_async,
    pdu::{
        AbortRQServiceProviderReason as Reason, AbortRQSource, PDataValue, PDataValueType,
        write_pdu,
    },
};
use std::{io, net::SocketAddr, time::Duration};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::block_in_place,
    time::{Instant, timeout_at},
};

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
}

/// Serves one connection until it is released, breaks, or takes too long.
pub(crate) async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    scp: &Scp,
    pending: Pending,
) -> Result<(), Ended> {
    let mut wire = Wire {
        stream,
        buffer: BytesMut::new(),
        max_pdu: scp.config.max_pdu_bytes,
        write_limit: scp.config.pdu_seconds,
        deadline: Instant::now() + scp.config.associate_seconds,
        deadline_of: ("association request", scp.config.associate_seconds),
    };
    let ended = run(&mut wire, address, scp, pending).await;
    if let Some(reason) = ended.as_ref().err().and_then(abort_reason) {
        let source = AbortRQSource::ServiceProvider(reason);
        let _ = wire.send(&Pdu::AbortRQ { source }).await;
    }
    wire.close().await;
    ended
}

/// What to say in an A-ABORT; `None` where there is nobody left to tell.
fn abort_reason(ended: &Ended) -> Option<Reason> {
    match ended {
        Ended::Aborted | Ended::Closed | Ended::Displaced => None,
        Ended::Refused(Refusal::Contexts) => Some(Reason::InvalidPduParameter),
        Ended::Refused(_) => None,
        Ended::Deadline { .. } | Ended::Stopping => Some(Reason::ReasonNotSpecified),
        Ended::Protocol(_) => Some(Reason::UnexpectedPdu),
    }
}

async fn run(
    wire: &mut Wire,
    address: SocketAddr,
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
    let place = access::check(&scp.config, address.ip(), calling, called)
        .and_then(|()| pending.associate().ok_or(Refusal::Full));
    let agreed = place.and_then(|place| {
        negotiation::accept(&request, scp.config.max_pdu_bytes)
            .map(|(answer, agreement)| (answer, agreement, place))
    });
    let (answer, agreement, _place) = match agreed {
        Ok(agreed) => agreed,
        Err(refusal) => {
            if let Some(pdu) = refusal.pdu() {
                wire.send(&Pdu::AssociationRJ(pdu)).await?;
            }
            log::warn!("{address}: refused {calling:?} calling {called:?}: {refusal:?}");
            return Err(Ended::Refused(refusal));
        }
    };
    let limit = scp.config.association_seconds;
    (wire.deadline, wire.deadline_of) = (Instant::now() + limit, ("association", limit));
    wire.send(&Pdu::AssociationAC(answer)).await?;
    scp.metrics.associations.add(1);
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
            (command::C_STORE_RQ, Some(Class::Storage(_))) => self.begin_store(id, &command),
            (command::C_ECHO_RQ | command::C_STORE_RQ, _) => Err(Status::failure(
                Status::CLASS_NOT_SUPPORTED,
                "not the service of this presentation context",
            )),
            (field, _) => Err(Status::failure(
                Status::UNRECOGNIZED_OPERATION,
                format!("command {field:04x}: only C-ECHO and C-STORE"),
            )),
        };
        let outcome = match verdict {
            Ok(store) => Outcome::Storing(Box::new(store)),
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
        if !command.has_dataset {
            return Err(Status::failure(Status::CANNOT_UNDERSTAND, "C-STORE without a data set"));
        }
        match command.sop_class.as_deref() {
            None => {
                return Err(Status::failure(
                    Status::MISSING_ATTRIBUTE,
                    "no Affected SOP Class UID",
                ));
            }
            Some(found) if found != class => {
                let comment = format!("context is for another class than {found}");
                return Err(Status::failure(Status::CLASS_NOT_SUPPORTED, comment));
            }
            Some(_) => {}
        }
        let uid = match command.sop_instance() {
            None => {
                return Err(Status::failure(
                    Status::MISSING_ATTRIBUTE,
                    "no Affected SOP Instance UID",
                ));
            }
            Some(Err(_)) => {
                return Err(Status::failure(
                    Status::INVALID_INSTANCE,
                    "SOP Instance UID is no UID",
                ));
            }
            Some(Ok(uid)) => uid,
        };
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
        if let Outcome::Storing(store) = &mut receiving.outcome {
            let limit = self.scp.config.max_object_bytes;
            if let Err(status) = block_in_place(|| store.write(&value.data, limit)) {
                // Dropping the store removes its file.
                receiving.outcome = Outcome::Refused(status);
            }
        }
        if !value.is_last {
            return Ok(());
        }
        let State::Receiving(receiving) = std::mem::replace(&mut self.state, State::Idle) else {
            return Ok(());
        };
        let Receiving { command, outcome, .. } = *receiving;
        let status = match outcome {
            Outcome::Refused(status) => status,
            Outcome::Storing(store) => block_in_place(|| self.finish(*store)),
        };
        self.respond(id, &command, &status, wire).await
    }

    /// Checks and commits a complete object.
    fn finish(&self, store: Store<'_>) -> Status {
        let uid = store.uid.clone();
        match store.finish() {
            Err(status) => status,
            Ok(accepted) => {
                match &accepted {
                    Accepted::New(key) => log::info!("{}: received {key}", self.peer),
                    Accepted::Duplicate(key) => log::info!("{}: already have {key}", self.peer),
                    Accepted::Revision(key) => {
                        log::warn!(
                            "{}: received {key}: other contents than before under {uid}",
                            self.peer
                        );
                    }
                }
                self.scp.metrics.stored.add(1);
                Status::success()
            }
        }
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

/// An object being written.
struct Store<'a> {
    incoming: Incoming<'a>,
    uid: Uid,
    class: &'static str,
    syntax: &'static str,
    /// The first bytes, to see what it is.
    prefix: Vec<u8>,
    bytes: u64,
}

impl<'a> Store<'a> {
    fn begin(
        spool: &'a Spool,
        class: &'static str,
        uid: Uid,
        syntax: &'static str,
        peer: &str,
    ) -> io::Result<Self> {
        let mut incoming = spool.begin()?;
        incoming.write_header(&part10::header(class, &uid, syntax, peer))?;
        incoming.identify(class);
        incoming.identify(syntax);
        Ok(Self { incoming, uid, class, syntax, prefix: Vec::new(), bytes: 0 })
    }

    fn write(&mut self, bytes: &[u8], limit: u64) -> Result<(), Status> {
        self.bytes += bytes.len() as u64;
        if self.bytes > limit {
            let comment = format!("object is larger than {limit} bytes");
            return Err(Status::failure(Status::OUT_OF_RESOURCES, comment));
        }
        let wanted = dataset::PREFIX_BYTES - self.prefix.len();
        self.prefix.extend_from_slice(&bytes[..wanted.min(bytes.len())]);
        self.incoming.write(bytes).map_err(|error| failed(&error))
    }

    fn finish(self) -> Result<Accepted, Status> {
        let whole = self.bytes == self.prefix.len() as u64;
        let claim = dataset::claim(&self.prefix, whole, self.syntax);
        dataset::matches(&claim, self.class, &self.uid).map_err(|mismatch| match mismatch {
            Mismatch::Nonsense(comment) => Status::failure(Status::CANNOT_UNDERSTAND, comment),
            Mismatch::Other(comment) => Status::failure(Status::DATASET_MISMATCH, comment),
        })?;
        self.incoming.commit(self.uid).map_err(|error| failed(&error))
    }
}

/// The status for a file that could not be written.
fn failed(error: &io::Error) -> Status {
    log::error!("cannot store an object: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Status::failure(Status::OUT_OF_RESOURCES, "no space left")
        }
        _ => Status::failure(Status::PROCESSING_FAILURE, "cannot write"),
    }
}

/// PDUs over TCP. Nothing waits longer than its limit, nor past the deadline of the association.
struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
    max_pdu: u32,
    write_limit: Duration,
    deadline: Instant,
    deadline_of: (&'static str, Duration),
}

impl Wire {
    async fn receive(&mut self, limit: Duration, what: &'static str) -> Result<Pdu, Ended> {
        self.receive_until(Instant::now() + limit, what, limit).await
    }

    /// The next PDU. Strict: one longer than we offered is refused when its header is read.
    async fn receive_until(
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

    async fn send(&mut self, pdu: &Pdu) -> Result<(), Ended> {
        let mut bytes = Vec::with_capacity(512);
        write_pdu(&mut bytes, pdu).map_err(|error| Ended::Protocol(error.to_string()))?;
        match tokio::time::timeout(self.write_limit, self.stream.write_all(&bytes)).await {
            Err(_) => Err(Ended::Deadline { what: "writing", limit: self.write_limit }),
            Ok(Err(_)) => Err(Ended::Closed),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Closes such that the peer still reads what we sent last: a reset would overtake it. For whoever
    /// goes on sending, that is soon over.
    async fn close(mut self) {
        let _ = self.stream.shutdown().await;
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
