//! An archive that takes every object and keeps none, for `runtime bench --end-to-end`. On loopback only: it trusts
//! whoever calls.

use super::{
    command::{Command, Status},
    ended::Ended,
    negotiation::{APPLICATION_CONTEXT, PROTOCOL_VERSION},
    wire::Wire,
};
use bytes::BytesMut;
use dicom_ul::{
    Pdu,
    pdu::{
        AssociationAC, AssociationRQ, PDataValue, PDataValueType, PresentationContextResult,
        PresentationContextResultReason, UserVariableItem,
    },
};
use std::time::Duration;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::UnboundedSender,
    time::Instant,
};

/// An object that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) class: String,
    /// When its sender was told.
    pub(crate) at: std::time::Instant,
}

const MAX_PDU: u32 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes objects until nobody wants to hear of them any more.
pub(crate) async fn run(listener: TcpListener, taken: UnboundedSender<Taken>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = taken.closed() => return,
        };
        let Ok((stream, peer)) = accepted else { return };
        let taken = taken.clone();
        tokio::spawn(async move {
            if let Err(ended) = serve(stream, &taken).await {
                log::debug!("{peer}: {ended}");
            }
        });
    }
}

async fn serve(stream: TcpStream, taken: &UnboundedSender<Taken>) -> Result<(), Ended> {
    let _ = stream.set_nodelay(true);
    let mut wire = Wire {
        stream: Box::new(stream),
        buffer: BytesMut::new(),
        max_pdu: MAX_PDU,
        write_limit: PATIENCE,
        deadline: Instant::now() + Duration::from_secs(24 * 3600),
        deadline_of: ("association", PATIENCE),
    };
    let Pdu::AssociationRQ(request) = wire.receive(PATIENCE, "association request").await? else {
        return Err(Ended::Protocol("first PDU is no A-ASSOCIATE-RQ".into()));
    };
    wire.send(&Pdu::AssociationAC(all_accepted(&request))).await?;
    let (mut bytes, mut command) = (Vec::new(), None);
    loop {
        match wire.receive(24 * PATIENCE, "a message").await? {
            Pdu::PData { data } => {
                for value in data {
                    let is_last = value.is_last;
                    let id = value.presentation_context_id;
                    if value.value_type == PDataValueType::Command {
                        bytes.extend_from_slice(&value.data);
                        if is_last {
                            let parsed = Command::parse(&std::mem::take(&mut bytes));
                            let parsed = parsed.map_err(|e| Ended::Protocol(e.to_string()))?;
                            command = Some(parsed);
                        }
                    }
                    let is_data = value.value_type == PDataValueType::Data;
                    // A message is whole with the last fragment of its data, or of its command where it has none.
                    if is_last
                        && let Some(command) = command.take_if(|it| it.has_dataset == is_data)
                    {
                        answer(&mut wire, id, &command, taken).await?;
                    }
                }
            }
            Pdu::ReleaseRQ => return wire.send(&Pdu::ReleaseRP).await,
            other => {
                return Err(Ended::Protocol(format!("unexpected {}", other.short_description())));
            }
        }
    }
}

async fn answer(
    wire: &mut Wire,
    id: u8,
    command: &Command,
    taken: &UnboundedSender<Taken>,
) -> Result<(), Ended> {
    let value = PDataValue {
        presentation_context_id: id,
        value_type: PDataValueType::Command,
        is_last: true,
        data: command.response(&Status::success()),
    };
    wire.send(&Pdu::PData { data: vec![value] }).await?;
    if let Some(class) = &command.sop_class {
        let _ = taken.send(Taken { class: class.clone(), at: std::time::Instant::now() });
    }
    Ok(())
}

fn all_accepted(request: &AssociationRQ) -> AssociationAC {
    let contexts = request.presentation_contexts.iter().map(|proposed| PresentationContextResult {
        id: proposed.id,
        reason: PresentationContextResultReason::Acceptance,
        transfer_syntax: proposed.transfer_syntaxes.first().cloned().unwrap_or_default(),
    });
    AssociationAC {
        protocol_version: PROTOCOL_VERSION,
        calling_ae_title: request.calling_ae_title.clone(),
        called_ae_title: request.called_ae_title.clone(),
        application_context_name: APPLICATION_CONTEXT.into(),
        presentation_contexts: contexts.collect(),
        user_variables: vec![UserVariableItem::MaxLength(MAX_PDU)],
    }
}
