//! An archive that answers a question however it likes.

use super::*;
use crate::{
    dicom::{
        command::{NO_DATASET, RESPONSE, put, with_length},
        query::StudyName,
        scu::{Peer, Proposal},
        services,
    },
    uid::Uid,
};
use dicom_core::VR;
use dicom_ul::{
    Pdu,
    pdu::{
        AssociationAC, PDataValue, PDataValueType, PresentationContextResult,
        PresentationContextResultReason, write_pdu,
    },
};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime,
};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";

fn bytes_of(pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).unwrap();
    bytes
}

fn acceptance() -> Vec<u8> {
    let accepted = |id| PresentationContextResult {
        id,
        reason: PresentationContextResultReason::Acceptance,
        transfer_syntax: EXPLICIT.into(),
    };
    bytes_of(&Pdu::AssociationAC(AssociationAC {
        protocol_version: 1,
        calling_ae_title: "BOX".into(),
        called_ae_title: "PACS".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![accepted(1), accepted(3)],
        user_variables: Vec::new(),
    }))
}

/// A response to message 1: a C-FIND in context 1, a C-MOVE in context 3.
fn response(field: u16, status: u16, completed: u16, dataset: Option<&[u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    let kind = if dataset.is_some() { 0x0001 } else { NO_DATASET };
    let values = [
        (0x0100, field | RESPONSE),
        (0x0120, 1),
        (0x0800, kind),
        (0x0900, status),
        (0x1021, completed),
    ];
    for (element, value) in values {
        put(&mut body, element, VR::US, value.to_le_bytes());
    }
    let value = |value_type, data: &[u8]| PDataValue {
        presentation_context_id: if field == C_FIND_RQ { 1 } else { 3 },
        value_type,
        is_last: true,
        data: data.to_vec(),
    };
    let command = [value(PDataValueType::Command, &with_length(&body))];
    let dataset = dataset.map(|bytes| value(PDataValueType::Data, bytes));
    let pdus = command.into_iter().chain(dataset);
    pdus.flat_map(|value| bytes_of(&Pdu::PData { data: vec![value] })).collect()
}

fn question() -> Question {
    Question::Study(StudyName::Uid(Uid::parse("1.2.3").unwrap()))
}

/// An association with a peer that says `answers` at once, and closes unless it `stays`.
async fn open(answers: Vec<u8>, stays: bool, timeout: Duration) -> Association {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let mut heard = [0; 4096];
        let _ = stream.write_all(&acceptance()).await;
        let _ = stream.write_all(&answers).await;
        if !stays {
            let _ = stream.shutdown().await;
        }
        while stream.read(&mut heard).await.is_ok_and(|n| n > 0) {}
    });
    let (calling, called) = ("BOX".into(), "PACS".into());
    let peer = Peer { calling, called, address, tls: None, timeout };
    let proposals: Vec<Proposal> = services::OF_ARCHIVE.iter().map(|s| s.proposal).collect();
    Association::open(&peer, &proposals).await.unwrap()
}

const LONG: Duration = Duration::from_secs(20);

async fn found(answers: Vec<u8>) -> Result<Found, ScuError> {
    let mut association = open(answers, false, LONG).await;
    let found = association.find(&question()).await;
    association.abort().await;
    found
}

async fn moved(answers: Vec<u8>) -> Result<Response, ScuError> {
    let mut association = open(answers, false, LONG).await;
    let moved = association.move_to("BOX", |syntax| question().encode(syntax), || 0).await;
    association.abort().await;
    moved
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn every_answer_about_the_question_is_kept_and_the_last_response_ends_it() {
    let ours = question().encode(EXPLICIT);
    let other = Question::Study(StudyName::Uid(Uid::parse("1.2.4").unwrap())).encode(EXPLICIT);
    let answers = [
        response(C_FIND_RQ, 0xff00, 0, Some(&ours)),
        response(C_FIND_RQ, 0xff01, 0, Some(&other)),
        response(C_FIND_RQ, 0x0000, 0, None),
    ];
    let found = found(answers.concat()).await.unwrap();
    assert_eq!(found.answers.len(), 1);
    assert_eq!(
        (found.answers[0].study.as_ref().map(Uid::as_str), found.end.status),
        (Some("1.2.3"), 0)
    );
}

#[tokio::test]
async fn an_answer_that_is_none_ends_the_question_by_name() {
    let ours = question().encode(EXPLICIT);
    let pending = response(C_FIND_RQ, 0xff00, 0, Some(&ours));
    for (answers, expected) in [
        (pending.repeat(1001), "more than 1000 answers to one question"),
        (response(C_FIND_RQ, 0xff00, 0, None), "an answer without a data set"),
        (response(C_FIND_RQ, 0xff00, 0, Some(b"\x08\0\x05")), "an answer to C-FIND: data set"),
        (response(C_FIND_RQ, 0xff00, 0, Some(&vec![0; 2 << 20])), "too large"),
        (response(C_MOVE_RQ, 0x0000, 0, None), "answer 8021 to message 1, expected 8020 to 1"),
        (Vec::new(), "connection closed by the peer"),
    ] {
        let error = found(answers).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

#[tokio::test]
async fn a_move_goes_on_while_operations_are_done_and_ends_with_its_last_response() {
    let answers = [
        response(C_MOVE_RQ, 0xff00, 1, None),
        response(C_MOVE_RQ, 0xff00, 2, None),
        response(C_MOVE_RQ, 0xb000, 2, Some(b"")),
    ];
    let response = moved(answers.concat()).await.unwrap();
    assert_eq!((response.status, response.operations.completed), (0xb000, 2));
}

/// It answers, but nothing comes and nothing is done: that is no life.
#[tokio::test]
async fn an_archive_that_only_says_that_it_is_at_work_is_given_up() {
    let pending = response(C_MOVE_RQ, 0xff00, 0, None).repeat(3);
    let mut association = open(pending, true, Duration::from_millis(200)).await;
    let moved = association.move_to("BOX", |syntax| question().encode(syntax), || 0).await;
    let error = moved.unwrap_err().to_string();
    assert_eq!(error, "an answer, and no object came took longer than 0.2 s");
}

#[test]
fn patience_is_renewed_by_objects_and_by_operations_and_by_nothing_else() {
    let mut patience = Patience::new(LONG, 5);
    assert!(!patience.look(5, 0));
    assert!(patience.look(6, 0) && !patience.look(6, 0));
    assert!(patience.look(6, 1) && !patience.look(5, 1));
    assert!(patience.look(7, 0) && !patience.look(7, 1), "counts that go back are no progress");
}

proptest! {
    #[test]
    fn noise_for_an_answer_is_an_error_never_a_panic(
        answers in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        prop_assert!(runtime().block_on(found(answers.clone())).is_err());
        prop_assert!(runtime().block_on(moved(answers)).is_err());
    }

    /// One spoiled byte: an error, or an answer that still is about our question.
    #[test]
    fn a_spoiled_answer_never_panics(at in 0usize..400, byte: u8) {
        let ours = question().encode(EXPLICIT);
        let mut answers = [
            response(C_FIND_RQ, 0xff00, 0, Some(&ours)),
            response(C_FIND_RQ, 0x0000, 0, None),
        ]
        .concat();
        let at = at % answers.len();
        answers[at] = byte;
        if let Ok(found) = runtime().block_on(found(answers)) {
            prop_assert!(found.answers.iter().all(|answer| answer.is_about(&question())));
        }
    }
}
