//! The storage and verification service as its peers see it.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    Daemon, Settings, fixtures,
    scu::{self, C_ECHO, C_STORE, CR_CONTEXT, ECHO_CONTEXT, Scu, command, request, request_for},
};
use dicom_ul::pdu::{AssociationRJSource, Pdu};

#[test]
fn an_echo_is_answered_under_its_own_message_id() {
    let daemon = Daemon::start(Settings::default());
    let mut scu = Scu::associate(daemon.dicom);
    for message_id in [1, 7, 9, 0xffff] {
        assert_eq!(scu.echo(message_id), (0, message_id));
    }
    scu.release();
}

#[test]
fn a_stored_image_is_whole_on_disk_and_waits_for_a_bundle() {
    let daemon = Daemon::start(Settings::default());
    let mut scu = Scu::associate(daemon.dicom);
    assert_eq!(scu.store("1.2.3.4", 1), 0);
    let files = daemon.spool("images");
    let object = dicom_object::open_file(&files[0]).unwrap();
    assert_eq!(object.meta().media_storage_sop_instance_uid.trim_end_matches('\0'), "1.2.3.4");
    let expected = fixtures::encode(&fixtures::chest("1.2.3.4", 160, 1), fixtures::IMPLICIT);
    let stored = std::fs::read(&files[0]).unwrap();
    assert!(stored.ends_with(&expected), "the data set is stored as it came");
    scu.release();

    let (status, body) = daemon.json("/images/1.2.3.4");
    assert_eq!((status, body["status"].as_str()), (202, Some("waiting")));
    let (status, health) = daemon.json("/health");
    assert_eq!((status, health["status"].as_str()), (503, Some("not-ready")));
    assert_eq!(health["queue"]["waiting"], 1);
    assert_eq!(daemon.json("/images/9.9").0, 404);
    assert_eq!(daemon.json("/images/..%2f..%2fetc").0, 400);
    assert_eq!(daemon.json("/images").1["images"][0]["sop_instance_uid"], "1.2.3.4");
}

#[test]
fn an_acknowledged_image_survives_sigkill() {
    let daemon = Daemon::start(Settings::default());
    let mut scu = Scu::associate(daemon.dicom);
    for i in 0..5 {
        assert_eq!(scu.store(&format!("1.2.{i}"), i), 0);
    }
    let daemon = daemon.kill_and_restart(Settings::default());
    assert_eq!(daemon.json("/health").1["queue"]["waiting"], 5);
    assert_eq!(Scu::associate(daemon.dicom).store("1.2.0", 0), 0);
    assert_eq!(daemon.spool("images").len(), 5, "sent again, not stored again");
}

#[test]
fn messages_may_come_in_any_number_of_pieces() {
    let daemon = Daemon::start(Settings::default());
    for fragment in [2, 100, 1 << 20] {
        let mut scu = Scu::associate(daemon.dicom);
        scu.fragment = fragment;
        assert_eq!(scu.echo(3), (0, 3));
        if fragment > 2 {
            scu.fragment = fragment.min(60_000);
            assert_eq!(scu.store(&format!("1.2.{fragment}"), 1), 0);
        }
        scu.release();
    }
    // Command and data set in one PDU, and two messages without waiting for the first answer.
    let mut scu = Scu::associate(daemon.dicom);
    let dataset = fixtures::encode(&fixtures::chest("1.3", 128, 1), fixtures::IMPLICIT);
    for id in [1, 2] {
        let command = command(C_STORE, id, fixtures::CR, Some("1.3"), true);
        let values = scu::pdus(CR_CONTEXT, &command, Some(&dataset), 1 << 16)
            .into_iter()
            .flat_map(|pdu| if let Pdu::PData { data } = pdu { data } else { unreachable!() })
            .collect();
        scu.send(&Pdu::PData { data: values });
    }
    assert_eq!([scu.response(), scu.response()], [(0, 1), (0, 2)]);
    scu.release();
}

#[test]
fn what_cannot_be_stored_gets_the_status_that_says_why() {
    let daemon =
        Daemon::start(Settings { dicom: "max_object_bytes = 200_000", ..Settings::default() });
    let mut scu = Scu::associate(daemon.dicom);
    let good = fixtures::encode(&fixtures::chest("1.2.3", 160, 1), fixtures::IMPLICIT);
    let mut send = |class: &str, uid: Option<&str>, dataset: &[u8]| {
        scu.message(CR_CONTEXT, &command(C_STORE, 5, class, uid, true), Some(dataset));
        scu.response().0
    };
    assert_eq!(send(fixtures::DX, Some("1.2.3"), &good), 0x0122, "class of another context");
    assert_eq!(send(fixtures::CR, None, &good), 0x0120, "no instance");
    assert_eq!(send(fixtures::CR, Some("../../evil"), &good), 0x0117, "instance is no UID");
    assert_eq!(send(fixtures::CR, Some("1.2.4"), &good), 0xa900, "data set is another instance");
    assert_eq!(send(fixtures::CR, Some("1.2.3"), b"\x89PNG\r\n\x1a\nno data set at all"), 0xc000);
    assert_eq!(send(fixtures::CR, Some("1.2.3"), &good[..9]), 0xc000, "ends inside an element");
    let large = fixtures::encode(&fixtures::chest("1.2.3", 400, 1), fixtures::IMPLICIT);
    assert_eq!(send(fixtures::CR, Some("1.2.3"), &large), 0xa700, "larger than configured");
    assert_eq!(daemon.spool("images").len() + daemon.spool("incoming").len(), 0);
    assert_eq!(send(fixtures::CR, Some("1.2.3"), &good), 0, "the association goes on");

    scu.message(
        ECHO_CONTEXT,
        &command(0x0020, 6, scu::VERIFICATION, None, true),
        Some(b"identifier"),
    );
    assert_eq!(scu.response(), (0x0211, 6), "C-FIND is no service of ours");
    scu.message(ECHO_CONTEXT, &command(C_STORE, 8, fixtures::CR, Some("1.2.3"), true), Some(&good));
    assert_eq!(scu.response(), (0x0122, 8), "C-STORE in the context of verification");
    scu.message(CR_CONTEXT, &command(C_STORE, 9, fixtures::CR, Some("1.2.3"), false), None);
    assert_eq!(scu.response(), (0xc000, 9), "C-STORE without a data set");
    assert!(!daemon.folder.path().join("evil").exists());
    scu.release();
}

#[test]
fn a_full_spool_is_out_of_resources_and_nothing_worse() {
    let daemon = Daemon::start(Settings { spool: "max_bytes = 150_000", ..Settings::default() });
    let mut scu = Scu::associate(daemon.dicom);
    let statuses: Vec<_> = (0..4).map(|i| scu.store(&format!("1.2.{i}"), i)).collect();
    assert_eq!(statuses, [0, 0, 0xa700, 0xa700]);
    assert_eq!(scu.echo(1), (0, 1));
    assert_eq!((daemon.spool("images").len(), daemon.spool("incoming").len()), (2, 0));
    scu.release();
}

#[test]
fn the_same_object_is_kept_once_and_a_corrected_one_beside_it() {
    let daemon = Daemon::start(Settings::default());
    let mut scu = Scu::associate(daemon.dicom);
    for seed in [1, 1, 2, 1] {
        assert_eq!(scu.store("1.2.3", seed), 0);
    }
    assert_eq!(daemon.spool("images").len(), 2);
    assert_eq!(daemon.json("/images/1.2.3?revision=1").0, 202);
    assert_eq!(daemon.json("/images/1.2.3?revision=2").0, 404);
}

#[test]
fn only_configured_peers_get_in() {
    let peers = "[[dicom.peers]]\nae_title = \"XRAY1\"\naddress = \"127.0.0.0/8\"\n\
                 [[dicom.peers]]\nae_title = \"XRAY2\"\naddress = \"10.0.0.1\"";
    let daemon = Daemon::start(Settings { dicom: peers, ..Settings::default() });
    let reason = |calling, called| {
        let answer = Scu::connect(daemon.dicom).negotiate(&request(calling, called));
        answer.err().map(|rejection| match rejection.source {
            AssociationRJSource::ServiceUser(reason) => reason.to_string(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(reason("XRAY1", "CXR-EDGE"), None);
    assert_eq!(reason("XRAY2", "CXR-EDGE").unwrap(), "calling AE title not recognized");
    assert_eq!(reason("XRAY1", "OTHER").unwrap(), "called AE title not recognized");

    let strangers = "[[dicom.peers]]\nae_title = \"XRAY1\"\naddress = \"10.0.0.1\"";
    let daemon = Daemon::start(Settings { dicom: strangers, ..Settings::default() });
    Scu::connect(daemon.dicom).expect_closed();
}

#[test]
fn every_presentation_context_is_answered() {
    let daemon = Daemon::start(Settings::default());
    let contexts: Vec<_> = (0..128_u8)
        .map(|i| {
            (2 * i + 1, if i == 127 { scu::VERIFICATION } else { "1.2.840.10008.5.1.4.1.1.2" })
        })
        .collect();
    let mut scu = Scu::connect(daemon.dicom);
    let answer = scu.negotiate(&request_for("XRAY1", "CXR-EDGE", &contexts)).unwrap();
    assert_eq!((answer.presentation_contexts.len(), scu::accepted(&answer)), (128, vec![255]));
    scu.message(255, &command(C_ECHO, 1, scu::VERIFICATION, None, false), None);
    assert_eq!(scu.response(), (0, 1));
    scu.message(253, &command(C_ECHO, 1, scu::VERIFICATION, None, false), None);
    scu.expect_abort();
}

#[test]
fn too_many_associations_are_told_to_come_back() {
    let daemon =
        Daemon::start(Settings { dicom: "max_associations_per_peer = 2", ..Settings::default() });
    let (first, _second) = (Scu::associate(daemon.dicom), Scu::associate(daemon.dicom));
    let rejection =
        Scu::connect(daemon.dicom).negotiate(&request("XRAY1", "CXR-EDGE")).unwrap_err();
    assert_eq!(rejection.result, dicom_ul::pdu::AssociationRJResult::Transient);
    first.release();
    Scu::associate(daemon.dicom).release();
}

#[test]
fn sigterm_lets_an_object_arrive_and_then_stops() {
    let mut daemon = Daemon::start(Settings::default());
    let idle = Scu::associate(daemon.dicom);
    let mut busy = Scu::associate(daemon.dicom);
    let dataset = fixtures::encode(&fixtures::chest("1.2.3", 128, 1), fixtures::IMPLICIT);
    let pdus = scu::pdus(
        CR_CONTEXT,
        &command(C_STORE, 5, fixtures::CR, Some("1.2.3"), true),
        Some(&dataset),
        4096,
    );
    let (first, rest) = pdus.split_at(4);
    first.iter().for_each(|pdu| busy.send(pdu));
    daemon.wait("the object's beginning", |daemon| {
        (!daemon.spool("incoming").is_empty()).then_some(())
    });
    let dicom = daemon.dicom;
    let finish = std::thread::spawn({
        let rest = rest.to_vec();
        move || {
            let mut idle = idle;
            idle.expect_abort(); // so the signal has come
            rest.iter().for_each(|pdu| busy.send(pdu));
            assert_eq!(busy.response(), (0, 5));
            assert!(std::net::TcpStream::connect(dicom).is_err(), "no new connections");
        }
    });
    assert!(daemon.terminate().success());
    finish.join().unwrap();
    assert_eq!(daemon.spool("images").len(), 1);
}
