//! An archive that takes objects and can be told to misbehave: the far end of the outbox in tests.

use super::elements::{number, of_group_0, put, read_question, text};
use dicom_ul::pdu::{
    AbortRQSource, AssociationAC, AssociationRJ, AssociationRJResult,
    AssociationRJServiceUserReason, AssociationRJSource, AssociationRQ, PDataValue, PDataValueType,
    Pdu, PresentationContextProposed, PresentationContextResult, PresentationContextResultReason,
    RequestorRoles, UserVariableItem, read_pdu, write_pdu,
};
use std::{
    collections::VecDeque,
    io::{Cursor, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

pub(crate) const COMMITMENT: &str = "1.2.840.10008.1.20.1";
const COMMITMENT_INSTANCE: &str = "1.2.840.10008.1.20.1.1";

/// What becomes of one C-STORE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Kept if it is 0000 or a warning.
    Status(u16),
    /// Says 0000 and keeps nothing.
    Forget,
    /// Closes the connection after the first bytes of the object.
    CloseInObject,
    /// Keeps the object and closes without an answer.
    CloseAfter,
    Abort,
    /// Never answers.
    Hang,
}

/// What becomes of an association request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    Accept,
    RejectForNow,
    RejectForGood,
    Hang,
}

/// How storage commitment is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    OnThisAssociation,
    /// Calls the box back.
    CallingBack(SocketAddr),
    /// Takes the question and never reports.
    Never,
    /// Answers the question with this status.
    Refuses(u16),
}

#[derive(Debug)]
pub(crate) struct Manners {
    /// For the next C-STOREs; then 0000.
    pub(crate) acts: VecDeque<Act>,
    pub(crate) welcome: Welcome,
    pub(crate) commits: Commits,
    /// Classes that get no presentation context.
    pub(crate) refused: Vec<String>,
    pub(crate) title: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) class: String,
    pub(crate) uid: String,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) manners: Manners,
    /// Every object that was kept, in order; one sent twice is there twice.
    pub(crate) kept: Vec<Kept>,
    pub(crate) associations: usize,
    /// Transactions that were asked about.
    pub(crate) asked: Vec<String>,
    /// Status of each answer to a report of ours.
    pub(crate) answers: Vec<u16>,
}

/// Listens until the process ends.
#[derive(Clone)]
pub(crate) struct Archive {
    pub(crate) address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Archive {
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    pub(crate) fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let manners = Manners {
            acts: VecDeque::new(),
            welcome: Welcome::Accept,
            commits: Commits::OnThisAssociation,
            refused: Vec::new(),
            title: "PACS".into(),
        };
        let inside = Inside {
            manners,
            kept: Vec::new(),
            associations: 0,
            asked: Vec::new(),
            answers: Vec::new(),
        };
        let archive =
            Self { address: listener.local_addr().unwrap(), inside: Arc::new(Mutex::new(inside)) };
        let served = archive.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let archive = served.clone();
                thread::spawn(move || archive.serve(Line::new(stream.unwrap())));
            }
        });
        archive
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// UIDs of what is kept, in order.
    pub(crate) fn uids(&self) -> Vec<String> {
        self.inside().kept.iter().map(|kept| kept.uid.clone()).collect()
    }

    fn serve(&self, mut line: Line) -> Option<()> {
        let Pdu::AssociationRQ(request) = line.receive()? else { return None };
        let (welcome, refused) = {
            let mut inside = self.inside();
            inside.associations += 1;
            (inside.manners.welcome, inside.manners.refused.clone())
        };
        let reject = |result| {
            let source =
                AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::NoReasonGiven);
            Pdu::AssociationRJ(AssociationRJ { result, source })
        };
        match welcome {
            Welcome::Accept => {}
            Welcome::RejectForNow => return line.send(&reject(AssociationRJResult::Transient)),
            Welcome::RejectForGood => return line.send(&reject(AssociationRJResult::Permanent)),
            Welcome::Hang => return line.hang(),
        }
        line.send(&Pdu::AssociationAC(answer(&request, &refused)))?;
        let contexts = request.presentation_contexts;
        loop {
            let Some((context, command, dataset)) = line.message(self)? else {
                return line.send(&Pdu::ReleaseRP);
            };
            let field = number(&command, 0x0100)?;
            let (id, class) = (number(&command, 0x0110), text(&command, 0x0002));
            match field {
                0x0030 => line.respond(context, field, id?, 0)?,
                0x0001 => {
                    let act = self.inside().manners.acts.pop_front().unwrap_or(Act::Status(0));
                    let keep = || Kept {
                        class: class.clone().unwrap_or_default(),
                        uid: text(&command, 0x1000).unwrap_or_default(),
                        bytes: dataset.clone().unwrap_or_default(),
                    };
                    let status = match act {
                        Act::Status(status) => {
                            if status == 0 || status >> 12 == 0xb {
                                self.inside().kept.push(keep());
                            }
                            status
                        }
                        Act::Forget => 0,
                        Act::CloseInObject => return None,
                        Act::CloseAfter => {
                            self.inside().kept.push(keep());
                            return None;
                        }
                        Act::Abort => {
                            return line.send(&Pdu::AbortRQ { source: AbortRQSource::ServiceUser });
                        }
                        Act::Hang => return line.hang(),
                    };
                    line.respond(context, field, id?, status)?;
                }
                0x0130 => {
                    let syntax = &contexts.iter().find(|c| c.id == context)?.transfer_syntaxes[0];
                    let explicit = syntax == "1.2.840.10008.1.2.1";
                    let question = dataset?;
                    let (transaction, wanted) = read_question(&question, explicit)?;
                    let commits = {
                        let mut inside = self.inside();
                        inside.asked.push(transaction.clone());
                        inside.manners.commits
                    };
                    if let Commits::Refuses(status) = commits {
                        line.respond(context, field, id?, status)?;
                        continue;
                    }
                    line.respond(context, field, id?, 0)?;
                    let kept = self.uids();
                    let (event, report) = write_report(&transaction, &wanted, &kept, explicit);
                    match commits {
                        Commits::Never | Commits::Refuses(_) => {}
                        Commits::OnThisAssociation => line.report(context, event, &report)?,
                        Commits::CallingBack(address) => {
                            let title = self.inside().manners.title.clone();
                            let status = call_back(address, &title, event, &report)?;
                            self.inside().answers.push(status);
                        }
                    }
                }
                0x8100 => {
                    let status = number(&command, 0x0900)?;
                    self.inside().answers.push(status);
                }
                _ => return None,
            }
        }
    }
}

/// Reports on an association of the archive's own, in explicit VR; the status that comes back.
pub(crate) fn call_back(
    address: SocketAddr,
    title: &str,
    event: u16,
    report: &[u8],
) -> Option<u16> {
    let mut line = Line::new(TcpStream::connect(address).ok()?);
    let roles = RequestorRoles { scu: false, scp: true };
    line.send(&Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: title.into(),
        called_ae_title: "CXR-EDGE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![PresentationContextProposed {
            id: 1,
            abstract_syntax: COMMITMENT.into(),
            transfer_syntaxes: vec!["1.2.840.10008.1.2.1".into()],
        }],
        user_variables: vec![
            UserVariableItem::MaxLength(16384),
            UserVariableItem::ScuScpRoleSelectionSubItem(COMMITMENT.into(), roles),
        ],
    }))?;
    let Pdu::AssociationAC(answer) = line.receive()? else { return None };
    if answer.presentation_contexts[0].reason != PresentationContextResultReason::Acceptance {
        return None;
    }
    line.report(1, event, report)?;
    let Pdu::PData { data } = line.receive()? else { return None };
    let status = number(&data[0].data, 0x0900);
    line.send(&Pdu::ReleaseRQ)?;
    line.receive();
    status
}

/// The data set of a report in which everything in `kept` is committed; and its event type.
pub(crate) fn write_report(
    transaction: &str,
    wanted: &[(String, String)],
    kept: &[String],
    explicit: bool,
) -> (u16, Vec<u8>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (class, uid) in wanted {
        let is_kept = kept.contains(uid);
        let mut item = Vec::new();
        put(&mut item, 0x1150, b"UI", class.as_bytes(), explicit);
        put(&mut item, 0x1155, b"UI", uid.as_bytes(), explicit);
        if !is_kept {
            put(&mut item, 0x1197, b"US", &0x0112u16.to_le_bytes(), explicit);
        }
        let items = if is_kept { &mut good } else { &mut bad };
        items.extend_from_slice(b"\xfe\xff\x00\xe0");
        items.extend_from_slice(&(item.len() as u32).to_le_bytes());
        items.extend_from_slice(&item);
    }
    let mut report = Vec::new();
    put(&mut report, 0x1195, b"UI", transaction.as_bytes(), explicit);
    for (element, items) in [(0x1198, &bad), (0x1199, &good)] {
        if !items.is_empty() {
            put(&mut report, element, b"SQ", items, explicit);
        }
    }
    (if bad.is_empty() { 1 } else { 2 }, report)
}

/// One connection, PDU by PDU.
struct Line {
    stream: TcpStream,
    received: Vec<u8>,
}

type Message = (u8, Vec<u8>, Option<Vec<u8>>);

impl Line {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    fn receive(&mut self) -> Option<Pdu> {
        loop {
            let mut cursor = Cursor::new(&self.received[..]);
            if let Some(pdu) = read_pdu(&mut cursor, 1 << 20, true).ok()? {
                let used = cursor.position() as usize;
                self.received.drain(..used);
                return Some(pdu);
            }
            let mut bytes = [0; 65536];
            match self.stream.read(&mut bytes) {
                Ok(n @ 1..) => self.received.extend_from_slice(&bytes[..n]),
                _ => return None,
            }
        }
    }

    fn send(&mut self, pdu: &Pdu) -> Option<()> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).ok()?;
        self.stream.write_all(&bytes).ok()
    }

    /// Context, command and data set of the next message; `None` for a release.
    #[expect(clippy::option_option, reason = "nothing came, release, message")]
    fn message(&mut self, archive: &Archive) -> Option<Option<Message>> {
        let (mut command, mut dataset) = (Vec::new(), Vec::new());
        loop {
            let values = match self.receive()? {
                Pdu::PData { data } => data,
                Pdu::ReleaseRQ => return Some(None),
                _ => return None,
            };
            for value in values {
                let is_command = value.value_type == PDataValueType::Command;
                if !is_command && archive.inside().manners.acts.front() == Some(&Act::CloseInObject)
                {
                    archive.inside().manners.acts.pop_front();
                    return None;
                }
                let part = if is_command { &mut command } else { &mut dataset };
                part.extend_from_slice(&value.data);
                if !value.is_last {
                    continue;
                }
                let context = value.presentation_context_id;
                if !is_command {
                    return Some(Some((context, command, Some(dataset))));
                }
                if number(&command, 0x0800)? == 0x0101 {
                    return Some(Some((context, command, None)));
                }
            }
        }
    }

    fn respond(&mut self, context: u8, field: u16, id: u16, status: u16) -> Option<()> {
        let mut command = Vec::new();
        put(&mut command, 0x0100, b"US", &(field | 0x8000).to_le_bytes(), false);
        put(&mut command, 0x0120, b"US", &id.to_le_bytes(), false);
        put(&mut command, 0x0800, b"US", &0x0101u16.to_le_bytes(), false);
        put(&mut command, 0x0900, b"US", &status.to_le_bytes(), false);
        self.values(context, &of_group_0(&command), PDataValueType::Command)
    }

    fn report(&mut self, context: u8, event: u16, report: &[u8]) -> Option<()> {
        let mut command = Vec::new();
        put(&mut command, 0x0002, b"UI", COMMITMENT.as_bytes(), false);
        put(&mut command, 0x0100, b"US", &0x0100u16.to_le_bytes(), false);
        put(&mut command, 0x0110, b"US", &9u16.to_le_bytes(), false);
        put(&mut command, 0x0800, b"US", &1u16.to_le_bytes(), false);
        put(&mut command, 0x1000, b"UI", COMMITMENT_INSTANCE.as_bytes(), false);
        put(&mut command, 0x1002, b"US", &event.to_le_bytes(), false);
        self.values(context, &of_group_0(&command), PDataValueType::Command)?;
        self.values(context, report, PDataValueType::Data)
    }

    fn values(&mut self, context: u8, bytes: &[u8], value_type: PDataValueType) -> Option<()> {
        let value = PDataValue {
            presentation_context_id: context,
            value_type,
            is_last: true,
            data: bytes.to_vec(),
        };
        self.send(&Pdu::PData { data: vec![value] })
    }

    /// Says nothing more until the peer has enough.
    fn hang(&mut self) -> Option<()> {
        self.stream.set_read_timeout(Some(Duration::from_secs(120))).ok()?;
        while self.stream.read(&mut [0; 4096]).ok()? > 0 {}
        None
    }
}

fn answer(request: &AssociationRQ, refused: &[String]) -> AssociationAC {
    let result = |proposed: &PresentationContextProposed| PresentationContextResult {
        id: proposed.id,
        reason: if refused.contains(&proposed.abstract_syntax) {
            PresentationContextResultReason::AbstractSyntaxNotSupported
        } else {
            PresentationContextResultReason::Acceptance
        },
        transfer_syntax: proposed.transfer_syntaxes[0].clone(),
    };
    AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title.clone(),
        called_ae_title: request.called_ae_title.clone(),
        application_context_name: request.application_context_name.clone(),
        presentation_contexts: request.presentation_contexts.iter().map(result).collect(),
        user_variables: vec![UserVariableItem::MaxLength(16384)],
    }
}
