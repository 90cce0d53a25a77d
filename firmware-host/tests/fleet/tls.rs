//! hawkBit behind a proxy that ends TLS and asks for certificates.

use crate::orders::Hawkbit;
use crate::support::{Agent, image, until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// An authority and what it certifies.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

struct Issued {
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "hospital");
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(parameters, key), der, pem }
    }

    fn issue(&self, name: &str) -> Issued {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Issued { der: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

/// Ends TLS before `server` for whoever has a certificate of `authority`. Returns its URL and what was asked.
fn front(server: &Hawkbit, authority: &Authority) -> (String, Arc<Mutex<String>>) {
    let own = authority.issue("localhost");
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![own.der], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (config, far) = (Arc::new(config), server.url.strip_prefix("http://").unwrap().to_owned());
    let asked = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&asked);
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), near);
            let (far, told) = (far.clone(), Arc::clone(&told));
            thread::spawn(move || pass(tls, &far, &told));
        }
    });
    (format!("https://localhost:{port}"), asked)
}

/// One request there, one answer back.
fn pass(
    mut near: StreamOwned<ServerConnection, TcpStream>,
    far: &str,
    told: &Mutex<String>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut bytes = [0; 16 << 10];
    while !is_whole(&request) {
        match near.read(&mut bytes)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&bytes[..length]),
        }
    }
    told.lock().unwrap().push_str(&String::from_utf8_lossy(&request).to_lowercase());
    let mut server = TcpStream::connect(far)?;
    server.write_all(&request)?;
    std::io::copy(&mut server, &mut near)?;
    near.conn.send_close_notify();
    near.flush()
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn agent(folder: &Path, url: &str, more: &str) -> Agent {
    let fleet = format!(
        "[fleet]\nurl = {url:?}\ncontroller = \"room-3\"\npoll = \"1s\"\nca = \"ca.pem\"\n{more}"
    );
    Agent::start(folder, &fleet)
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

#[test]
fn a_box_with_a_certificate_comes_through_a_proxy_that_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Hawkbit::start("chest.swu", &image("1.0.0", 50_000));
    let authority = Authority::new();
    let (url, asked) = front(&server, &authority);
    let own = authority.issue("room-3");
    write(folder.path(), "ca.pem", &authority.pem);
    write(folder.path(), "box.pem", &own.pem);
    write(folder.path(), "box.key", &own.key.serialize_pem());
    server.orders().action = Some(8);
    let more = "client_certificate = \"box.pem\"\nclient_key = \"box.key\"\n[fleet.headers]\nX-Site = \"north\"\n";
    let agent = agent(folder.path(), &url, more);
    // The server's links say http: it does not know of the proxy, and the box goes through it all the same.
    until("the trial", || (agent.states().0 == "trial").then_some(()));
    let asked = asked.lock().unwrap();
    assert!(asked.contains("x-site: north"), "{asked}");
}

#[test]
fn a_box_without_a_certificate_and_a_server_of_another_authority_get_nowhere() {
    let server = Hawkbit::start("chest.swu", &image("1.0.0", 50_000));
    server.orders().action = Some(8);
    let (authority, other) = (Authority::new(), Authority::new());
    let (url, asked) = front(&server, &authority);
    for (ca, expected) in
        [(&authority, "CertificateRequired"), (&other, "invalid peer certificate")]
    {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "ca.pem", &ca.pem);
        let agent = agent(folder.path(), &url, "");
        until("the agent says why", || {
            let log = agent.log();
            let said = |line: &str| line.contains("WARN") && line.contains(expected);
            log.lines().any(said).then_some(())
        });
        assert_eq!(agent.states().0, "empty");
    }
    assert!(asked.lock().unwrap().is_empty());
}
