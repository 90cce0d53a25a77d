//! An association with a peer that sends whatever it likes.

use super::*;
use dicom_ul::pdu::{
    AssociationAC, PresentationContextResult, PresentationContextResultReason, write_pdu,
};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime,
};

const CLASS: &str = "1.2.840.10008.5.1.4.1.1.88.34";
const PROPOSALS: [Proposal; 1] = [Proposal { class: CLASS, syntaxes: &["1.2.840.10008.1.2.1"] }];

fn bytes_of(pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).unwrap();
    bytes
}

fn acceptance() -> Vec<u8> {
    bytes_of(&Pdu::AssociationAC(AssociationAC {
        protocol_version: 1,
        calling_ae_title: "BOX".into(),
        called_ae_title: "PACS".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![PresentationContextResult {
            id: 1,
            reason: PresentationContextResultReason::Acceptance,
            transfer_syntax: PROPOSALS[0].syntaxes[0].into(),
        }],
        user_variables: Vec::new(),
    }))
}

/// A whole, good answer to the first C-STORE.
fn good_answer() -> Vec<u8> {
    let request = Request {
        field: C_STORE_RQ,
        class: CLASS,
        instance: Some("1.2.3"),
        has_dataset: true,
        ..Request::default()
    };
    let command = Command::parse(&request.encode(1)).unwrap();
    bytes_of(&Pdu::PData { data: vec![fragment(&command.response(&Status::success()))] })
}

fn fragment(data: &[u8]) -> PDataValue {
    PDataValue {
        presentation_context_id: 1,
        value_type: PDataValueType::Command,
        is_last: true,
        data: data.to_vec(),
    }
}

/// One C-STORE to a peer that says `greeting` and `answer` at once, listens, and says nothing more.
async fn store(greeting: Vec<u8>, answer: Vec<u8>) -> Result<Response, ScuError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = async {
        let mut stream = listener.accept().await.unwrap().0;
        let mut heard = [0; 4096];
        let _ = stream.write_all(&greeting).await;
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        while stream.read(&mut heard).await.is_ok_and(|n| n > 0) {}
    };
    let ask = async {
        let peer = Peer {
            calling: "BOX".into(),
            called: "PACS".into(),
            address,
            tls: None,
            timeout: Duration::from_secs(20),
        };
        let mut association = Association::open(&peer, &PROPOSALS).await?;
        let object =
            Object { class: CLASS, instance: "1.2.3", dataset: b"contents", urgent: false };
        let answer = association.store(&object).await;
        association.abort().await;
        answer
    };
    // The end of one is the end of both.
    tokio::select! {
        answer = ask => answer,
        () = async { serve.await; std::future::pending().await } => unreachable!("pending"),
    }
}

#[tokio::test]
async fn a_good_answer_is_taken_and_one_about_something_else_is_not() {
    assert_eq!(store(acceptance(), good_answer()).await.unwrap().status, 0);
    let request =
        |field, has_dataset| Request { field, class: CLASS, has_dataset, ..Request::default() };
    let success = Status::success();
    let answer_to =
        |request: Request<'_>, id| Command::parse(&request.encode(id)).unwrap().response(&success);
    for (answer, expected) in [
        (answer_to(request(C_STORE_RQ, true), 2), "answer 8001 to message 2, expected 8001 to 1"),
        (answer_to(request(C_ECHO_RQ, false), 1), "answer 8030 to message 1, expected 8001 to 1"),
        (request(C_ECHO_RQ, false).encode(1), "got a request (command 0030)"),
        (b"no command set".to_vec(), "command set"),
    ] {
        let pdu = Pdu::PData { data: vec![fragment(&answer)] };
        let error = store(acceptance(), bytes_of(&pdu)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = store(acceptance(), bytes_of(&Pdu::ReleaseRQ)).await.unwrap_err().to_string();
    assert!(error.contains("unexpected ReleaseRQ"), "{error}");
}

#[tokio::test]
async fn a_pdu_that_claims_four_gigabytes_is_refused_at_once() {
    let claim = b"\x04\x00\xff\xff\xff\xf0".to_vec();
    let error = store(acceptance(), claim.clone()).await.unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
    let error = store(claim, Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
}

#[test]
fn a_message_without_end_is_refused() {
    let mut parts = Parts::default();
    let value = PDataValue { is_last: false, ..fragment(&[0; 4000]) };
    let refused = (0..10).map(|_| parts.add(&value)).find_map(Result::err);
    assert_eq!(refused.unwrap(), "a message of more than 16384 bytes");
}

fn blocking_store(greeting: Vec<u8>, answer: Vec<u8>) -> Result<Response, ScuError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store(greeting, answer))
}

/// A command set of elements that answers have, in any order, with values of any length.
fn command_set() -> impl Strategy<Value = Vec<u8>> {
    let element = prop::sample::select(
        &[0x0000_u16, 0x0002, 0x0100, 0x0120, 0x0800, 0x0900, 0x0902, 0x1000][..],
    );
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..8),
        Just(0x8001_u16.to_le_bytes().to_vec()),
        Just(vec![0, 0]),
        Just(vec![1, 0]),
        Just(0x0101_u16.to_le_bytes().to_vec()),
    ];
    prop::collection::vec((element, value), 0..10).prop_map(|elements| {
        let mut bytes = Vec::new();
        for (element, value) in elements {
            bytes.extend([0, 0]);
            bytes.extend(element.to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(value);
        }
        bytes
    })
}

/// What a peer may say at any time.
fn pdu() -> impl Strategy<Value = Vec<u8>> {
    let fragment = (0_u8..4, any::<bool>(), any::<bool>(), command_set()).prop_map(
        |(presentation_context_id, is_command, is_last, data)| PDataValue {
            presentation_context_id,
            value_type: if is_command { PDataValueType::Command } else { PDataValueType::Data },
            is_last,
            data,
        },
    );
    prop_oneof![
        4 => prop::collection::vec(fragment, 1..4)
            .prop_map(|data| bytes_of(&Pdu::PData { data })),
        1 => Just(good_answer()),
        1 => Just(acceptance()),
        1 => Just(bytes_of(&Pdu::ReleaseRQ)),
        1 => Just(bytes_of(&Pdu::ReleaseRP)),
        1 => (1_u8..9, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, body)| {
            let length = (body.len() as u32).to_be_bytes();
            [&[kind, 0][..], &length, &body].concat()
        }),
    ]
}

proptest! {
    #[test]
    fn noise_for_an_answer_is_an_error_never_a_panic(
        greeting in prop::collection::vec(any::<u8>(), 0..80),
        answer in prop::collection::vec(any::<u8>(), 0..120),
        accepts: bool,
    ) {
        let greeting = if accepts { acceptance() } else { greeting };
        prop_assert!(blocking_store(greeting, answer).is_err());
    }

    /// One spoiled byte: an error, or an answer that still names our message. Never a panic, never a hang.
    #[test]
    fn a_spoiled_answer_never_panics(
        in_greeting: bool, at in 0usize..200, byte: u8,
    ) {
        let (mut greeting, mut answer) = (acceptance(), good_answer());
        let spoiled = if in_greeting { &mut greeting } else { &mut answer };
        let at = at % spoiled.len();
        // Not in a length: what is not whole is awaited until the peer closes, as it should be.
        spoiled[at] = byte;
        if let Ok(response) = blocking_store(greeting, answer) {
            prop_assert_eq!((response.field, response.answers), (0x8001, 1));
        }
    }

    #[test]
    fn fragments_in_any_order_never_panic(
        values in prop::collection::vec(
            (0u8..4, any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..8),
    ) {
        let mut parts = Parts::default();
        for (context, is_command, is_last, data) in values {
            let value_type =
                if is_command { PDataValueType::Command } else { PDataValueType::Data };
            let value = PDataValue { presentation_context_id: context, value_type, is_last, data };
            if parts.add(&value).is_err() {
                break;
            }
        }
    }

    /// Whole messages in any order: an error, or the answer to our message.
    #[test]
    fn a_peer_that_says_anything_never_panics_nor_answers_for_another_message(
        accepts: bool,
        greeting in prop::collection::vec(pdu(), 0..3),
        answer in prop::collection::vec(pdu(), 0..5),
    ) {
        let greeting = if accepts { acceptance() } else { greeting.concat() };
        if let Ok(response) = blocking_store(greeting, answer.concat()) {
            prop_assert_eq!((response.field, response.answers), (0x8001, 1));
        }
    }
}
