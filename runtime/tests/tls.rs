//! DICOM under TLS: whom it lets in and whom not. DCMTK and pynetdicom are the peers.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{
    Daemon, PATIENCE, Settings, fixtures,
    pki::{Identity, Pki},
    scu::{Scu, request},
};
use dicom_ul::pdu::{Pdu, write_pdu};
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_rustls::rustls::{
    self, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// A daemon that asks for certificates of `pki`, with these lines about peers.
fn daemon(folder: tempfile::TempDir, pki: &Pki, peers: &str) -> Daemon {
    let own = pki.issue("localhost");
    let dicom = format!(
        "associate_seconds = 2\ntls = {{ certificate = {:?}, key = {:?}, client_ca = {:?} }}\n{peers}",
        own.certificate, own.key, pki.ca
    );
    Daemon::start_in(folder, Settings { dicom: &dicom, ..Settings::default() })
}

fn dcmtk(tool: &str, arguments: &[&str], daemon: &Daemon, files: &[&Path]) -> Option<Output> {
    let port = daemon.dicom.port().to_string();
    let output = Command::new(tool)
        .args(arguments)
        .args(["-to", "20", "-aec", "CXR-EDGE", "127.0.0.1", &port])
        .args(files)
        .output();
    if output.is_err() {
        skip::because(format_args!("{tool} is not installed (Debian package dcmtk)"));
    }
    output.ok()
}

/// Options of DCMTK's tools for an identity.
fn shows<'a>(identity: &'a Identity, pki: &'a Pki, title: &'a str) -> [&'a str; 7] {
    let text = |path: &'a Path| path.to_str().unwrap();
    ["+tls", text(&identity.key), text(&identity.certificate), "+cf", text(&pki.ca), "-aet", title]
}

#[test]
fn dcmtk_is_let_in_by_its_certificate_and_nobody_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(&folder.path().join("pki"));
    let (xray1, xray2) = (pki.issue("xray1.example"), pki.issue("xray2.example"));
    let expired = pki.issue_until("xray1.example", 2021);
    let stranger = Pki::new(&folder.path().join("strangers")).issue("xray1.example");
    let file = folder.path().join("chest.dcm");
    fixtures::chest("1.2.3.4", 300, 3)
        .with_meta(dicom_object::FileMetaTableBuilder::new().transfer_syntax(fixtures::EXPLICIT))
        .unwrap()
        .write_to_file(&file)
        .unwrap();
    let peers = format!(
        "[[dicom.peers]]\nae_title = \"XRAY1\"\ncertificate = \"xray1.example\"\n\
         [[dicom.peers]]\nae_title = \"XRAY2\"\ncertificate = \"sha256:{}\"",
        xray2.fingerprint
    );
    let daemon = daemon(folder, &pki, &peers);

    let echo = |options: &[&str]| dcmtk("echoscu", options, &daemon, &[]);
    let Some(first) = echo(&shows(&xray1, &pki, "XRAY1")) else { return };
    assert!(first.status.success(), "{first:?}");
    let Some(store) = dcmtk("storescu", &shows(&xray2, &pki, "XRAY2"), &daemon, &[&file]) else {
        return;
    };
    assert!(store.status.success(), "{store:?}");
    assert_eq!(daemon.metric("cxr_dicom_stored_total"), 1);

    for (why, options) in [
        ("XRAY2's certificate under XRAY1's title", &shows(&xray2, &pki, "XRAY1")[..]),
        ("XRAY1's certificate under XRAY2's title", &shows(&xray1, &pki, "XRAY2")[..]),
        ("a title nobody has", &shows(&xray1, &pki, "OTHER")[..]),
        ("an expired certificate", &shows(&expired, &pki, "XRAY1")[..]),
        ("another authority's certificate", &shows(&stranger, &pki, "XRAY1")[..]),
        ("no certificate", &["+tla", "-ic", "-aet", "XRAY1"][..]),
        ("no TLS", &["-aet", "XRAY1"][..]),
    ] {
        let Some(refused) = echo(options) else { return };
        assert!(!refused.status.success(), "{why}: {refused:?}");
    }
    let Some(again) = echo(&shows(&xray1, &pki, "XRAY1")) else { return };
    assert!(again.status.success(), "{again:?}");
    assert_eq!(daemon.metric("cxr_dicom_echoes_total"), 2);
    let log = daemon.log();
    for said in ["CallingTitle", "no TLS: ", "expired", "BadSignature", "sent no certificates"] {
        assert!(log.to_lowercase().contains(&said.to_lowercase()), "{said} is not in\n{log}");
    }
}

#[test]
fn pynetdicom_is_let_in_by_its_certificate() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    let known = Command::new(&python).args(["-c", "import pynetdicom"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        return skip::because(format_args!("{} has no pynetdicom: make setup", python.display()));
    }
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(&folder.path().join("pki"));
    let (xray1, xray2) = (pki.issue("xray1.example"), pki.issue("xray2.example"));
    let peers = "[[dicom.peers]]\nae_title = \"XRAY1\"\ncertificate = \"xray1.example\"";
    let daemon = daemon(folder, &pki, peers);
    let script = r#"
import ssl, sys
from pynetdicom import AE
port, ca, certificate, key = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
context.load_cert_chain(certificate, key)
ae = AE(ae_title="XRAY1")
ae.add_requested_context("1.2.840.10008.1.1")
association = ae.associate("127.0.0.1", int(port), ae_title="CXR-EDGE", tls_args=(context, "localhost"))
if not association.is_established:
    sys.exit(3)
status = association.send_c_echo().Status
association.release()
sys.exit(0 if status == 0 else 4)
"#;
    for (identity, expected) in [(&xray1, 0), (&xray2, 3)] {
        let output = Command::new(&python)
            .args(["-c", script, &daemon.dicom.port().to_string()])
            .args([&pki.ca, &identity.certificate, &identity.key])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(expected), "{output:?}");
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(daemon: &Daemon, pki: &Pki, identity: &Identity) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&pki.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&identity.key).unwrap(),
        )
        .unwrap();
    let connection =
        ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let tcp = TcpStream::connect(daemon.dicom).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(connection, tcp)
}

fn associate(tls: &mut Tls) {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &request("XRAY1", "CXR-EDGE")).unwrap();
    tls.write_all(&bytes).unwrap();
    let mut head = [0; 6];
    tls.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 2, "expected A-ASSOCIATE-AC");
    let mut rest = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
    tls.read_exact(&mut rest).unwrap();
}

#[test]
fn a_claimed_length_is_not_believed_under_tls_either() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(&folder.path().join("pki"));
    let xray1 = pki.issue("xray1.example");
    let daemon = daemon(folder, &pki, "");
    associate(&mut connect(&daemon, &pki, &xray1));
    let before = daemon.resident();
    for pdu_type in [1, 4, 9] {
        for associated in [false, true] {
            let mut tls = connect(&daemon, &pki, &xray1);
            if associated {
                associate(&mut tls);
            }
            let _ = tls.write_all(&[pdu_type, 0, 0xff, 0xff, 0xff, 0xf0]);
            let piece = vec![0; 1 << 20];
            let mut sent = 0;
            while sent < 300 && tls.write_all(&piece).is_ok() {
                sent += 1;
            }
            assert!(sent < 100, "{sent} MiB taken of a PDU that was too long from its first byte");
        }
    }
    let grown = daemon.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "resident memory grew by {} MiB", grown >> 20);
    associate(&mut connect(&daemon, &pki, &xray1));
}

#[test]
fn a_release_is_answered_and_the_last_word_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(&folder.path().join("pki"));
    let xray1 = pki.issue("xray1.example");
    let daemon = daemon(folder, &pki, "");
    let mut tls = connect(&daemon, &pki, &xray1);
    associate(&mut tls);
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &Pdu::ReleaseRQ).unwrap();
    tls.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    // To the end: `close_notify` comes, or this would be an error.
    tls.read_to_end(&mut answer).unwrap();
    assert_eq!((answer[0], answer.len()), (6, 10));
}

#[test]
fn silent_and_slow_handshakes_are_cut_off_and_leave_room() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(&folder.path().join("pki"));
    let xray1 = pki.issue("xray1.example");
    let daemon = daemon(folder, &pki, "");
    let began = Instant::now();
    // A record that says it is a handshake of 256 bytes, of which a few come.
    let mut slow: Vec<_> = (0..60)
        .map(|_| {
            let mut scu = Scu::connect(daemon.dicom);
            let _ = scu.stream.write_all(&[22, 3, 1, 1, 0, 1, 0]);
            scu
        })
        .collect();
    associate(&mut connect(&daemon, &pki, &xray1));
    for scu in &mut slow {
        let mut rest = Vec::new();
        let _ = scu.stream.read_to_end(&mut rest);
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "cut off before its deadline");
    associate(&mut connect(&daemon, &pki, &xray1));
}
