//! A DICOM peer made of single PDUs, so that a test can stop, repeat or spoil any of them.

use super::{PATIENCE, fixtures};
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRQ, PDataValue, PDataValueType, Pdu,
    PresentationContextProposed, PresentationContextResultReason, UserVariableItem, read_pdu,
    write_pdu,
};
use std::{
    io::{Cursor, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

/// One connection.
pub(crate) struct Scu {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
    /// Fragments are not longer than this.
    pub(crate) fragment: usize,
}

pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";
pub(crate) const C_STORE: u16 = 0x0001;
pub(crate) const C_ECHO: u16 = 0x0030;
/// Presentation context of C-ECHO and C-STORE in [`Scu::associate`].
pub(crate) const ECHO_CONTEXT: u8 = 1;
pub(crate) const CR_CONTEXT: u8 = 3;

impl Scu {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new(), fragment: 16 * 1024 }
    }

    /// Connected and associated for verification and CR in implicit little endian.
    pub(crate) fn associate(address: SocketAddr) -> Self {
        let mut scu = Self::connect(address);
        scu.send(&request("XRAY1", "CXR-EDGE"));
        match scu.receive() {
            Some(Pdu::AssociationAC(_)) => scu,
            other => panic!("expected A-ASSOCIATE-AC, got {other:?}"),
        }
    }

    pub(crate) fn negotiate(&mut self, request: &Pdu) -> Result<AssociationAC, AssociationRJ> {
        self.send(request);
        match self.receive() {
            Some(Pdu::AssociationAC(answer)) => Ok(answer),
            Some(Pdu::AssociationRJ(answer)) => Err(answer),
            other => panic!("expected A-ASSOCIATE-AC or -RJ, got {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, pdu: &Pdu) {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    /// As [`Self::send`], to a peer that may have hung up.
    pub(crate) fn try_send(&mut self, pdu: &Pdu) -> bool {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).unwrap();
        self.stream.write_all(&bytes).is_ok()
    }

    /// The next PDU; `None` once the connection is closed.
    pub(crate) fn receive(&mut self) -> Option<Pdu> {
        loop {
            let mut cursor = Cursor::new(&self.received[..]);
            if let Some(pdu) = read_pdu(&mut cursor, 1 << 20, true).unwrap() {
                let used = cursor.position() as usize;
                self.received.drain(..used);
                return Some(pdu);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(n) => self.received.extend_from_slice(&bytes[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("nothing came for {PATIENCE:?}: {e}"),
            }
        }
    }

    /// Status and message id of the next response.
    pub(crate) fn response(&mut self) -> (u16, u16) {
        match self.receive() {
            Some(Pdu::PData { data }) => {
                assert_eq!((data.len(), data[0].is_last), (1, true));
                (element(&data[0].data, 0x0900), element(&data[0].data, 0x0120))
            }
            other => panic!("expected a response, got {other:?}"),
        }
    }

    pub(crate) fn echo(&mut self, message_id: u16) -> (u16, u16) {
        self.message(ECHO_CONTEXT, &command(C_ECHO, message_id, VERIFICATION, None, false), None);
        self.response()
    }

    /// C-STORE of a CR picture; the status.
    pub(crate) fn store(&mut self, uid: &str, seed: u32) -> u16 {
        let dataset = fixtures::encode(&fixtures::chest(uid, 160, seed), fixtures::IMPLICIT);
        self.store_bytes(uid, &dataset)
    }

    pub(crate) fn store_bytes(&mut self, uid: &str, dataset: &[u8]) -> u16 {
        self.message(
            CR_CONTEXT,
            &command(C_STORE, 5, fixtures::CR, Some(uid), true),
            Some(dataset),
        );
        let (status, message_id) = self.response();
        assert_eq!(message_id, 5);
        status
    }

    /// Sends a whole message.
    pub(crate) fn message(&mut self, context: u8, command: &[u8], dataset: Option<&[u8]>) {
        for pdu in pdus(context, command, dataset, self.fragment) {
            self.send(&pdu);
        }
    }

    pub(crate) fn release(mut self) {
        self.send(&Pdu::ReleaseRQ);
        assert_eq!(self.receive(), Some(Pdu::ReleaseRP));
        assert_eq!(self.receive(), None);
    }

    /// The peer says nothing more and closes.
    pub(crate) fn expect_closed(&mut self) {
        assert_eq!(self.receive(), None);
    }

    pub(crate) fn expect_abort(&mut self) {
        match self.receive() {
            Some(Pdu::AbortRQ { .. }) => {}
            other => panic!("expected A-ABORT, got {other:?}"),
        }
    }

    pub(crate) fn hang_up(&self) {
        self.stream.shutdown(Shutdown::Both).unwrap();
    }
}

/// A-ASSOCIATE-RQ for verification (context 1) and CR (context 3).
pub(crate) fn request(calling: &str, called: &str) -> Pdu {
    request_for(calling, called, &[(ECHO_CONTEXT, VERIFICATION), (CR_CONTEXT, fixtures::CR)])
}

pub(crate) fn request_for(calling: &str, called: &str, contexts: &[(u8, &str)]) -> Pdu {
    let context = |(id, class): &(u8, &str)| PresentationContextProposed {
        id: *id,
        abstract_syntax: (*class).into(),
        transfer_syntaxes: vec![fixtures::IMPLICIT.into()],
    };
    Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: calling.into(),
        called_ae_title: called.into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: contexts.iter().map(context).collect(),
        user_variables: vec![UserVariableItem::MaxLength(16384)],
    })
}

/// The PDUs of a message, one fragment each.
pub(crate) fn pdus(
    context: u8,
    command: &[u8],
    dataset: Option<&[u8]>,
    fragment: usize,
) -> Vec<Pdu> {
    let parts = [(PDataValueType::Command, Some(command)), (PDataValueType::Data, dataset)];
    let mut pdus = Vec::new();
    for (value_type, bytes) in parts {
        let Some(bytes) = bytes else { continue };
        let count = bytes.len().div_ceil(fragment);
        for (at, piece) in bytes.chunks(fragment).enumerate() {
            let value = PDataValue {
                presentation_context_id: context,
                value_type: value_type.clone(),
                is_last: at + 1 == count,
                data: piece.to_vec(),
            };
            pdus.push(Pdu::PData { data: vec![value] });
        }
    }
    pdus
}

/// A request's command set.
pub(crate) fn command(
    field: u16,
    message_id: u16,
    class: &str,
    instance: Option<&str>,
    dataset: bool,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |element: u16, value: &[u8]| {
        let odd = value.len() % 2;
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&element.to_le_bytes());
        bytes.extend_from_slice(&((value.len() + odd) as u32).to_le_bytes());
        bytes.extend_from_slice(value);
        bytes.extend(std::iter::repeat_n(0, odd));
    };
    put(0x0002, class.as_bytes());
    put(0x0100, &field.to_le_bytes());
    put(0x0110, &message_id.to_le_bytes());
    put(0x0700, &[0, 0]);
    put(0x0800, &if dataset { 0x0001_u16 } else { 0x0101 }.to_le_bytes());
    if let Some(instance) = instance {
        put(0x1000, instance.as_bytes());
    }
    bytes
}

/// A number in a command set.
fn element(mut command: &[u8], wanted: u16) -> u16 {
    while let Some((head, rest)) = command.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if u16::from_le_bytes([head[2], head[3]]) == wanted {
            return u16::from_le_bytes([rest[0], rest[1]]);
        }
        command = &rest[length..];
    }
    panic!("no element {wanted:04x}");
}

/// Which contexts were accepted.
pub(crate) fn accepted(answer: &AssociationAC) -> Vec<u8> {
    let accepted = |c: &&dicom_ul::pdu::PresentationContextResult| {
        c.reason == PresentationContextResultReason::Acceptance
    };
    answer.presentation_contexts.iter().filter(accepted).map(|c| c.id).collect()
}
