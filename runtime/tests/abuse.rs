//! Broken and hostile peers: each drill ends with somebody else being served as if nothing had happened.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    Daemon, Settings, fixtures,
    scu::{self, C_STORE, CR_CONTEXT, Scu, command, request},
};
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use std::{
    io::Write,
    time::{Duration, Instant},
};

fn still_serves(daemon: &Daemon) {
    let mut scu = Scu::associate(daemon.dicom);
    assert_eq!(scu.echo(7), (0, 7));
    scu.release();
}

fn bytes(pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::new();
    dicom_ul::pdu::write_pdu(&mut bytes, pdu).unwrap();
    bytes
}

#[test]
fn garbage_and_half_a_request_end_the_connection_only() {
    let daemon =
        Daemon::start(Settings { dicom: "associate_seconds = 0.3", ..Settings::default() });
    let whole = bytes(&request("XRAY1", "CXR-EDGE"));
    let noise: Vec<u8> =
        (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let mut beginnings = vec![
        noise,
        http,
        vec![0; 64],
        vec![0xff; 64],
        vec![4, 0, 0, 0, 0, 0],
        vec![9, 0, 0, 0, 0, 0],
    ];
    beginnings.extend((1..whole.len()).step_by(37).map(|end| whole[..end].to_vec()));
    // Lengths inside the request that lead outside it.
    beginnings.extend((74..whole.len()).step_by(11).map(|at| {
        let mut spoilt = whole.clone();
        spoilt[at] = 0xff;
        spoilt
    }));
    for beginning in beginnings {
        let mut scu = Scu::connect(daemon.dicom);
        let _ = scu.stream.write_all(&beginning);
        // Whatever the answer, the connection ends (a spoilt byte may also be harmless: then we release).
        if let Some(Pdu::AssociationAC(_)) = scu.receive() {
            scu.release();
        }
    }
    still_serves(&daemon);
}

#[test]
fn a_claimed_length_is_not_believed() {
    let daemon = Daemon::start(Settings::default());
    still_serves(&daemon);
    let before = daemon.resident();
    for pdu_type in [1, 4, 9] {
        for associated in [false, true] {
            let mut scu =
                if associated { Scu::associate(daemon.dicom) } else { Scu::connect(daemon.dicom) };
            let began = Instant::now();
            let _ = scu.stream.write_all(&[pdu_type, 0, 0xff, 0xff, 0xff, 0xf0]);
            let piece = vec![0; 1 << 20];
            let mut sent = 0;
            while sent < 300 && scu.stream.write_all(&piece).is_ok() {
                sent += 1;
            }
            assert!(sent < 100, "{sent} MiB taken of a PDU that was too long from its first byte");
            assert!(began.elapsed() < Duration::from_secs(30));
        }
    }
    let grown = daemon.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "resident memory grew by {} MiB", grown >> 20);
    still_serves(&daemon);
}

#[test]
fn an_object_beyond_the_room_for_all_passes_without_being_held_in_memory() {
    let daemon = Daemon::start(Settings::default());
    still_serves(&daemon);
    let before = daemon.resident();
    let dataset = fixtures::encode(&fixtures::chest("1.2.3", 6500, 1), fixtures::IMPLICIT); // 85 MB
    let mut scu = Scu::associate(daemon.dicom);
    assert_eq!(scu.store_bytes("1.2.3", &dataset), 0);
    let grown = daemon.resident().saturating_sub(before);
    assert!(
        grown < 16 << 20,
        "resident memory grew by {} MiB for {} MiB",
        grown >> 20,
        dataset.len() >> 20
    );
}

#[test]
fn half_open_connections_leave_room_and_are_closed() {
    let settings =
        Settings { dicom: "max_pending = 20\nassociate_seconds = 2", ..Settings::default() };
    let daemon = Daemon::start(settings);
    let half = &bytes(&request("XRAY1", "CXR-EDGE"))[..40];
    let mut idle: Vec<_> = (0..100)
        .map(|i| {
            let mut scu = Scu::connect(daemon.dicom);
            let _ = scu.stream.write_all(half);
            if i % 25 == 0 {
                still_serves(&daemon);
            }
            scu
        })
        .collect();
    still_serves(&daemon);
    idle.iter_mut().for_each(|scu| while scu.receive().is_some() {});
    still_serves(&daemon);
}

#[test]
fn slow_and_silent_peers_are_cut_off() {
    let dicom = "associate_seconds = 5\npdu_seconds = 0.5\nidle_seconds = 0.5\nobject_seconds = 1.5\nassociation_seconds = 4";
    let daemon = Daemon::start(Settings { dicom, ..Settings::default() });
    let mut silent = Scu::associate(daemon.dicom);
    silent.expect_abort();

    let pdus = |uid: &str| {
        let dataset = fixtures::encode(&fixtures::chest(uid, 160, 1), fixtures::IMPLICIT);
        scu::pdus(
            CR_CONTEXT,
            &command(C_STORE, 5, fixtures::CR, Some(uid), true),
            Some(&dataset),
            512,
        )
    };
    // Stops within a PDU.
    let mut stuck = Scu::associate(daemon.dicom);
    let pdu = bytes(&pdus("1.1")[0]);
    stuck.stream.write_all(&pdu[..10]).unwrap();
    stuck.expect_abort();

    // Every PDU in time, but the object never ends.
    let mut slow = Scu::associate(daemon.dicom);
    let began = Instant::now();
    for pdu in pdus("1.2") {
        if !slow.try_send(&pdu) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(began.elapsed() < Duration::from_secs(10), "one object may take 1.5 s");

    // Every message in time, but the association never ends.
    let mut chatty = Scu::associate(daemon.dicom);
    let began = Instant::now();
    let echo = command(scu::C_ECHO, 1, scu::VERIFICATION, None, false);
    while scu::pdus(1, &echo, None, 512).iter().all(|pdu| chatty.try_send(pdu)) {
        if matches!(chatty.receive(), None | Some(Pdu::AbortRQ { .. })) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "an association may take 4 s");
        std::thread::sleep(Duration::from_millis(100));
    }
    daemon
        .wait("the half objects to go", |daemon| daemon.spool("incoming").is_empty().then_some(()));
    assert_eq!(daemon.spool("images").len(), 0);
    still_serves(&daemon);
}

#[test]
fn an_abort_at_any_pdu_leaves_nothing_behind() {
    let daemon = Daemon::start(Settings::default());
    let dataset = fixtures::encode(&fixtures::chest("1.2.3", 128, 1), fixtures::IMPLICIT);
    let pdus = scu::pdus(
        CR_CONTEXT,
        &command(C_STORE, 5, fixtures::CR, Some("1.2.3"), true),
        Some(&dataset),
        4096,
    );
    let whole: Vec<u8> = pdus.iter().flat_map(bytes).collect();
    let abort = Pdu::AbortRQ { source: dicom_ul::pdu::AbortRQSource::ServiceUser };
    for sent in 0..pdus.len() {
        let mut polite = Scu::associate(daemon.dicom);
        pdus[..sent].iter().for_each(|pdu| polite.send(pdu));
        polite.send(&abort);
        polite.expect_closed();
        let mut rude = Scu::associate(daemon.dicom);
        pdus[..sent].iter().for_each(|pdu| rude.send(pdu));
        rude.hang_up();
    }
    for end in (1..whole.len()).step_by(3001) {
        let mut rude = Scu::associate(daemon.dicom);
        rude.stream.write_all(&whole[..end]).unwrap();
        rude.hang_up();
    }
    daemon
        .wait("the half objects to go", |daemon| daemon.spool("incoming").is_empty().then_some(()));
    assert_eq!(daemon.spool("images").len(), 0);
    still_serves(&daemon);
}

#[test]
fn whoever_breaks_the_protocol_is_aborted() {
    let daemon = Daemon::start(Settings::default());
    let store = command(C_STORE, 5, fixtures::CR, Some("1.2.3"), true);
    let value = |context, value_type, is_last, data: &[u8]| PDataValue {
        presentation_context_id: context,
        value_type,
        is_last,
        data: data.to_vec(),
    };
    let data = |values: Vec<PDataValue>| Pdu::PData { data: values };
    let (cmd, set) = (PDataValueType::Command, PDataValueType::Data);
    let drills: Vec<Vec<Pdu>> = vec![
        // context that was never negotiated
        vec![data(vec![value(99, cmd.clone(), true, &store)])],
        // data set without a command
        vec![data(vec![value(3, set.clone(), true, b"data")])],
        // data set in another context than its command
        vec![data(vec![value(3, cmd.clone(), true, &store), value(1, set.clone(), true, b"data")])],
        // command in the middle of a data set
        vec![data(vec![value(3, cmd.clone(), true, &store), value(3, cmd.clone(), true, &store)])],
        // a command in two contexts
        vec![data(vec![value(3, cmd.clone(), false, &store), value(1, cmd.clone(), true, &store)])],
        // release in the middle of a message
        vec![data(vec![value(3, cmd.clone(), true, &store)]), Pdu::ReleaseRQ],
        // no command set
        vec![data(vec![value(3, cmd.clone(), true, b"nonsense")])],
        vec![data(vec![value(3, cmd.clone(), true, b"")])],
        // a command set without an end
        (0..20).map(|_| data(vec![value(3, cmd.clone(), false, &[0; 4096])])).collect(),
        // a response nobody asked for
        vec![data(vec![value(
            3,
            cmd.clone(),
            true,
            &command(0x8001, 1, fixtures::CR, None, false),
        )])],
        // PDUs out of place
        vec![request("XRAY1", "CXR-EDGE")],
        vec![Pdu::ReleaseRP],
        vec![Pdu::Unknown { pdu_type: 0x42, data: vec![1, 2, 3] }],
    ];
    for drill in drills {
        let mut scu = Scu::associate(daemon.dicom);
        let _ = drill.iter().all(|pdu| scu.try_send(pdu));
        assert!(matches!(scu.receive(), Some(Pdu::AbortRQ { .. })), "{drill:?}");
        scu.expect_closed();
    }
    // No PDV at all is odd, but says nothing wrong.
    let mut scu = Scu::associate(daemon.dicom);
    scu.send(&data(vec![]));
    assert_eq!(scu.echo(4), (0, 4));
    assert_eq!((daemon.spool("images").len(), daemon.spool("incoming").len()), (0, 0));
    still_serves(&daemon);
}
