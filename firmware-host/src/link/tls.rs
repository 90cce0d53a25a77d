//! TLS 1.3 over any [`Link`]: who is at the other end is known by an ed25519 key, and by nothing else.
//!
//! ```text
//! workstation                                    box
//! ClientHello  raw public keys (RFC 7250) ─────▶
//!              ◀───── ServerHello · {its key, its signature over all so far}
//! {our key, our signature} ────────────────────▶ admits the key, or sends an alert
//! frames of `protocol` ◀════ encrypted ═════════▶
//! ```
//!
//! No certificate, no authority, no name and so no clock. Nothing of an earlier session is used again: no
//! tickets, no early data. What the verifiers accept is in `tls/keys.rs`.

mod keys;

pub use keys::{Admission, Identity, WrongKey};

use super::Link;
use keyring::VerifyingKey;
use keys::{Admitted, Pinned, public_key_of};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Plaintext taken into one round of records: what is copied once more before it is sent.
const PIECE: usize = 64 << 10;
/// Distinguishes what is bound to a session from what TLS itself derives.
const BINDING_LABEL: &[u8] = b"EXPORTER-cxr-edge-link";

/// How long a record may be: a receiver has to wait for the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// 16 KiB.
    Long,
    /// 4 KiB: 0.4 s at 115200 baud.
    Short,
}

impl Records {
    fn limit(self) -> Option<usize> {
        (self == Self::Short).then_some(4 << 10)
    }
}

/// The workstation's end, ready to connect.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Shows `identity`, and goes on only if the box shows `box_key`; none: any key, which the caller must prove.
    pub fn new(identity: &Identity, box_key: Option<VerifyingKey>, records: Records) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .expect("ring has the cipher suites of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned::new(box_key, provider)))
            .with_client_cert_resolver(identity.for_client());
        config.resumption = Resumption::disabled();
        config.max_fragment_size = records.limit();
        Self(Arc::new(config))
    }

    /// Shakes hands over `link`, within `time`.
    pub fn connect<L: Link>(&self, link: L, time: Duration) -> io::Result<Tls<L>> {
        // Nobody looks at the name: the key says who it is.
        let name = ServerName::try_from("box").expect("a constant name");
        let session = ClientConnection::new(Arc::clone(&self.0), name).map_err(broken)?;
        Tls::shake_hands(link, session.into(), time)
    }
}

/// The box's end, ready to accept.
#[derive(Clone, Debug)]
pub struct Server(Arc<ServerConfig>);

impl Server {
    /// Shows `identity`, and goes on only with keys that `admission` lets in.
    pub fn new(identity: &Identity, admission: Arc<dyn Admission>, records: Records) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .expect("ring has the cipher suites of TLS 1.3")
            .with_client_cert_verifier(Arc::new(Admitted::new(admission, provider)))
            .with_cert_resolver(identity.for_server());
        // Unread tickets would turn the close of a peer that only sends into a reset.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_fragment_size = records.limit();
        Self(Arc::new(config))
    }

    /// Shakes hands over `link`, within `time`.
    pub fn accept<L: Link>(&self, link: L, time: Duration) -> io::Result<Tls<L>> {
        let session = ServerConnection::new(Arc::clone(&self.0)).map_err(broken)?;
        Tls::shake_hands(link, session.into(), time)
    }
}

/// An encrypted session over a link, with a peer who has proven to hold [`Tls::peer`].
#[derive(Debug)]
pub struct Tls<L> {
    link: L,
    session: Connection,
    peer: VerifyingKey,
    /// From the link; what follows `given` was not yet given to the session.
    held: Vec<u8>,
    given: usize,
}

impl<L: Link> Tls<L> {
    fn shake_hands(mut link: L, mut session: Connection, time: Duration) -> io::Result<Self> {
        let end = Instant::now() + time;
        let mut bytes = [0; 4 << 10];
        while session.is_handshaking() {
            if session.wants_write() {
                flush(&mut link, &mut session, left(end)?)?;
                continue;
            }
            let length = link.receive(&mut bytes, left(end)?)?;
            if length == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "left during the handshake"));
            }
            let mut rest = &bytes[..length];
            while !rest.is_empty() {
                take(&mut link, &mut session, &mut rest)?;
            }
        }
        flush(&mut link, &mut session, left(end)?)?;
        let shown = session.peer_certificates().and_then(|shown| shown.first());
        let peer = shown.and_then(|shown| public_key_of(shown));
        let peer = peer.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "showed no key"))?;
        Ok(Self { link, session, peer, held: Vec::new(), given: 0 })
    }

    /// The key of the other end, which signed this very handshake.
    pub fn peer(&self) -> VerifyingKey {
        self.peer
    }

    /// Bytes that both ends of this session know, and nobody in between (RFC 8446 section 7.5).
    pub fn binding(&self) -> [u8; 32] {
        let known = self.session.export_keying_material([0; 32], BINDING_LABEL, None);
        known.expect("the handshake is complete")
    }
}

impl<L: Link> Link for Tls<L> {
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
        let end = Instant::now() + time;
        loop {
            match self.session.reader().read(bytes) {
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if self.given == self.held.len() {
                // First of all: what is held when the time is up would pass for received.
                let left = left(end)?;
                self.given = 0;
                self.held.resize(PIECE, 0);
                let length = self.link.receive(&mut self.held, left);
                self.held.truncate(*length.as_ref().unwrap_or(&0));
                if length? == 0 {
                    return Ok(0);
                }
            }
            // As much as it takes at once; the rest when that was read.
            let mut rest = &self.held[self.given..];
            let taken = take(&mut self.link, &mut self.session, &mut rest);
            self.given = self.held.len() - rest.len();
            taken?;
        }
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        for piece in bytes.chunks(PIECE) {
            let mut rest = piece;
            while !rest.is_empty() {
                let length = self.session.writer().write(rest)?;
                rest = &rest[length..];
                flush(&mut self.link, &mut self.session, left(end)?)?;
            }
        }
        Ok(())
    }
}

/// Gives the session some of `bytes`; on failure the peer is told why, if it listens.
fn take<L: Link>(link: &mut L, session: &mut Connection, bytes: &mut &[u8]) -> io::Result<()> {
    session.read_tls(bytes)?;
    match session.process_new_packets() {
        Ok(_) => Ok(()),
        Err(error) => {
            let _ = flush(link, session, Duration::from_millis(500));
            Err(broken(error))
        }
    }
}

fn flush<L: Link>(link: &mut L, session: &mut Connection, time: Duration) -> io::Result<()> {
    let mut records = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut records)?;
    }
    if records.is_empty() { Ok(()) } else { link.send(&records, time) }
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// What rustls says, in our words where it is about keys.
fn broken(error: rustls::Error) -> io::Error {
    if let Some(wrong) = WrongKey::of(&error) {
        return io::Error::new(ErrorKind::PermissionDenied, wrong);
    }
    match error {
        rustls::Error::AlertReceived(alert) if keys::is_about_our_key(alert) => {
            io::Error::new(ErrorKind::PermissionDenied, "the other end does not know our key")
        }
        error => io::Error::new(ErrorKind::InvalidData, error),
    }
}
