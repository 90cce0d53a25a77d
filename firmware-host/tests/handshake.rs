//! Who is let in, and that nobody else does harm: strangers, old TLS, replays, half-open peers.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use bundle::SigningKey;
use firmware_host::link::tls::{Client, Identity, Records, WrongKey};
use firmware_host::link::{Link, connect_tcp};
use firmware_host::{Device, DeviceError, Patience};
use keyring::fingerprint;
use protocol::{Refusal, RequestId, Role};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, SignatureScheme};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use support::{Agent, connect, connect_as, of_the_box, ours, until};

const TIME: Duration = Duration::from_secs(20);
const PATIENCE: Patience = Patience { silence: TIME, call: Duration::from_secs(60) };

fn tcp(agent: &Agent) -> &str {
    agent.address.strip_prefix("tcp://").unwrap()
}

fn serves(agent: &Agent) {
    Device::open(Box::new(connect(tcp(agent))), PATIENCE).unwrap().ping(b"x").unwrap();
}

#[test]
fn a_key_that_nobody_admitted_is_turned_away_and_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let stranger = SigningKey::from_bytes(&[9; 32]);
    // In TLS 1.3 the box judges last: the refusal comes with the first answer.
    let link = connect_as(&stranger, tcp(&agent)).unwrap();
    let Err(DeviceError::Link(error)) = Device::open(Box::new(link), PATIENCE) else {
        panic!("a stranger was let in")
    };
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains("does not know our key"), "{error}");
    until("the agent says so", || agent.log().contains("is not let in").then_some(()));
    serves(&agent);
}

#[test]
fn a_box_with_another_key_is_not_talked_to() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let expected = SigningKey::from_bytes(&[9; 32]).verifying_key();
    let client = Client::new(&Identity::new(&ours()), Some(expected), Records::Long);
    let error = client.connect(connect_tcp(tcp(&agent)).unwrap(), TIME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let wrong = error.get_ref().and_then(|why| why.downcast_ref::<WrongKey>()).unwrap();
    assert_eq!(wrong.found, fingerprint(&of_the_box().verifying_key()));
    assert_eq!(wrong.expected, fingerprint(&expected));
    // Trying for longer would not help: the verb ends at once.
    let way = agent.way();
    let expected = fingerprint(&expected);
    let verb = ["slots", "--retry", "1h", "--json", "--box-key", &expected];
    let output = support::run(&[&verb[..], &way[..4]].concat());
    assert_eq!(output.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&output.stdout).contains("this is another box"), "{output:?}");
}

/// A verifier that takes anything: what is tested is the other end.
#[derive(Debug)]
struct Anything;

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// What the box says to a peer of this version that shows no key.
fn without_a_key(agent: &Agent, version: &'static rustls::SupportedProtocolVersion) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    let name = ServerName::try_from("box").unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = connect_tcp(tcp(agent)).unwrap();
    stream.set_read_timeout(Some(TIME)).unwrap();
    let mut tls = rustls::Stream::new(&mut session, &mut stream);
    let said = tls.write_all(b"\0").and_then(|()| tls.read_exact(&mut [0; 1]));
    said.unwrap_err().to_string()
}

#[test]
fn tls_1_2_and_a_peer_without_a_key_are_refused_by_the_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let old = without_a_key(&agent, &rustls::version::TLS12);
    assert!(old.contains("ProtocolVersion"), "{old}");
    let keyless = without_a_key(&agent, &rustls::version::TLS13);
    assert!(keyless.contains("alert"), "{keyless}");
    serves(&agent);
}

/// Passes bytes on and keeps those towards the box.
fn recording(there: String) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    thread::spawn(move || {
        let (mut here, _) = listener.accept().unwrap();
        let mut there = TcpStream::connect(there).unwrap();
        let (mut back_from, mut back_to) = (there.try_clone().unwrap(), here.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = here.read(&mut bytes) {
            keep.lock().unwrap().extend_from_slice(&bytes[..length]);
            there.write_all(&bytes[..length]).unwrap();
        }
        let _ = there.shutdown(Shutdown::Both);
    });
    (address, kept)
}

#[test]
fn the_bytes_of_a_session_are_worth_nothing_a_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let (address, kept) = recording(tcp(&agent).to_owned());
    let mut device = Device::open(Box::new(connect(&address)), PATIENCE).unwrap();
    let refusal = device.rollback(RequestId([5; 16]), "nothing to go back to").unwrap_err();
    assert!(matches!(refusal, DeviceError::Refused(Refusal::State { .. })), "{refusal}");
    drop(device);
    let session = kept.lock().unwrap().clone();
    assert!(session.len() > 500);

    let before = agent.log().matches("rollback").count();
    let mut replay = connect_tcp(tcp(&agent)).unwrap();
    replay.write_all(&session).unwrap();
    replay.shutdown(Shutdown::Write).unwrap();
    replay.set_read_timeout(Some(TIME)).unwrap();
    let _ = replay.read_to_end(&mut Vec::new());
    until("the agent refuses it", || agent.log().contains("is not let in").then_some(()));
    assert_eq!(agent.log().matches("rollback").count(), before);
    serves(&agent);
}

#[test]
fn half_open_and_noisy_peers_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let idle: Vec<_> = (0..100).map(|_| connect_tcp(tcp(&agent)).unwrap()).collect();
    let noise: Vec<u8> =
        (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let noisy: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = connect_tcp(tcp(&agent)).unwrap();
            let _ = stream.write_all(&noise);
            stream
        })
        .collect();
    serves(&agent);
    drop((idle, noisy));
}

#[test]
fn a_role_may_do_what_is_its_own_and_the_refusal_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    agent.kill();
    let looker = SigningKey::from_bytes(&[8; 32]);
    let path = folder.path().join("keys/admitted.toml");
    let more =
        format!("[[key]]\nkey = \"{}\"\nrole = \"look\"\n", fingerprint(&looker.verifying_key()));
    fs::write(&path, fs::read_to_string(&path).unwrap() + &more).unwrap();
    let agent = Agent::start(folder.path(), "");
    let link = connect_as(&looker, tcp(&agent)).unwrap();
    let mut device = Device::open(Box::new(link), PATIENCE).unwrap();
    device.slots().unwrap();
    let refusal = device.rollback(RequestId([5; 16]), "mischief").unwrap_err();
    let DeviceError::Refused(Refusal::Forbidden { role, request }) = refusal else {
        panic!("{refusal}")
    };
    assert_eq!((role, request.as_str()), (Role::Look, "rollback"));
    device.ping(b"still here").unwrap();
}

/// A session sends what fits and no more, and both ends know the same of it.
#[test]
fn both_ends_of_a_session_share_bytes_that_another_session_does_not() {
    use firmware_host::link::tls::{Admission, Server, Tls};
    #[derive(Debug)]
    struct Everybody;
    impl Admission for Everybody {
        fn admits(&self, _: &keyring::VerifyingKey) -> bool {
            true
        }
    }
    let server = Server::new(&Identity::new(&of_the_box()), Arc::new(Everybody), Records::Short);
    let session = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = server.clone();
        let accepted = thread::spawn(move || {
            let mut tls = server.accept(listener.accept().unwrap().0, TIME).unwrap();
            let (mut bytes, mut received) = (vec![0; 5000], Vec::new());
            while received.len() < 1 << 20 {
                let length = tls.receive(&mut bytes, TIME).unwrap();
                received.extend_from_slice(&bytes[..length]);
            }
            (tls.peer(), tls.binding(), received)
        });
        let mut tls: Tls<TcpStream> = connect(&address);
        let sent: Vec<u8> = (0..1 << 20).map(|n: u32| (n ^ (n >> 9)) as u8).collect();
        tls.send(&sent, TIME).unwrap();
        let (peer, binding, received) = accepted.join().unwrap();
        assert!(received == sent);
        assert_eq!(peer, ours().verifying_key());
        assert_eq!(binding, tls.binding());
        let silence = tls.receive(&mut [0; 1], Duration::from_millis(1));
        assert!(matches!(silence, Ok(0)) || silence.unwrap_err().kind() == ErrorKind::TimedOut);
        binding
    };
    assert_ne!(session(), session());
}

/// Time that was up before anything was asked for once left a buffer of zeros, which then passed for received.
#[test]
fn a_glance_without_any_time_breaks_no_session() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let mut link = connect(tcp(&agent));
    for _ in 0..3 {
        let error = link.receive(&mut [0; 8], Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
    Device::open(Box::new(link), PATIENCE).unwrap().ping(b"x").unwrap();
}
