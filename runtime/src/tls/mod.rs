//! TLS for every socket of the daemon: DICOM in and out, HTTP.
//!
//! ```text
//! server(&ServerTls) → Acceptor     TcpStream → Connection, certificate of the peer
//! client::client(&ClientTls) → Connector    TcpStream → Connection
//! ```
//!
//! TLS 1.2 and 1.3, ephemeral keys and authenticated ciphers only: that is all rustls has, and it is what
//! BCP 195 (RFC 9325), and with it the TLS profiles of DICOM PS3.15 B, ask for. Nothing here is an option.
//! Sessions are not resumed, so that a certificate is looked at in each connection.

pub(crate) mod client;
pub(crate) mod expiry;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer, de::Error as _};
use sha2::{Digest, Sha256};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        client::verify_server_name,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier},
    },
};

/// A connection, plain or under TLS.
pub(crate) type Connection = Box<dyn Stream>;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Who we are to those who connect, and who they must be. Files in PEM form.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerTls {
    /// Our certificate, then those between it and the authority.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Authorities that sign the certificates of peers. With it, whoever shows no certificate is refused.
    pub(crate) client_ca: Option<PathBuf>,
}

impl ServerTls {
    /// The files it names, for making them relative to something.
    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.certificate, &mut self.key].into_iter().chain(self.client_ca.as_mut())
    }
}

/// Takes connections under TLS.
#[derive(Clone)]
pub(crate) struct Acceptor(TlsAcceptor);

/// Reads certificates and key; `protocol` is what is spoken inside (ALPN), where peers name it.
pub(crate) fn server(tls: &ServerTls, protocol: Option<&str>) -> Result<Acceptor> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("no TLS version")?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authorities(path)?.into(), provider)
                    .build()
                    .with_context(|| format!("{} is no authority", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = identity(&tls.certificate, &tls.key)?;
    let mut config =
        builder.with_single_cert(chain, key).with_context(|| pair(&tls.certificate, &tls.key))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // A peer that only sends and hangs up would answer our tickets with a reset.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = protocol.map(|name| name.into()).into_iter().collect();
    Ok(Acceptor(TlsAcceptor::from(Arc::new(config))))
}

impl Acceptor {
    /// The handshake; what comes back with the connection is the certificate of the peer, if it had to show one.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<(Connection, Option<Shown>)> {
        let stream = self.0.accept(tcp).await?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let shown = certificates.first().map(|first| Shown(first.clone().into_owned()));
        Ok((Box::new(stream), shown))
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}

/// A certificate that a peer has shown; that it is in order was seen in the handshake.
#[derive(Clone, Debug)]
pub(crate) struct Shown(CertificateDer<'static>);

/// Which certificate a peer must show: `sha256:` and 64 hexadecimal digits, colons allowed, for one certificate;
/// anything else is a DNS name or an address among its alternative names, and stays right when it is renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Fingerprint([u8; 32]),
    Name(ServerName<'static>),
}

impl Wanted {
    fn parse(text: &str) -> Result<Self> {
        let Some(digits) = text.strip_prefix("sha256:") else {
            return Ok(Self::Name(server_name(text)?));
        };
        let mut digest = [0; 32];
        hex::decode_to_slice(digits.replace(':', ""), &mut digest)
            .with_context(|| format!("{text:?}: expected 64 hexadecimal digits after `sha256:`"))?;
        Ok(Self::Fingerprint(digest))
    }

    pub(crate) fn is(&self, shown: &Shown) -> bool {
        match self {
            Self::Fingerprint(digest) => Sha256::digest(&shown.0)[..] == digest[..],
            Self::Name(name) => ParsedCertificate::try_from(&shown.0)
                .is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok()),
        }
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| D::Error::custom(format!("{error:#}")))
    }
}

/// Until a certificate of a file expires; negative if it has.
fn days(certificate: &CertificateDer<'_>, path: &Path) -> Result<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .with_context(|| format!("{} holds a bad certificate", path.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = parsed.validity().not_after.timestamp() - now.as_secs() as i64;
    Ok(left.div_euclid(24 * 3600))
}

/// ring: it builds for the boxes with gcc alone.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn server_name(text: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(text.to_owned())
        .with_context(|| format!("{text:?} is neither a DNS name nor an address"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found =
        read.with_context(|| format!("cannot read certificates from {}", path.display()))?;
    ensure!(!found.is_empty(), "{} holds no certificate in PEM form", path.display());
    Ok(found)
}

fn authorities(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .with_context(|| format!("{} holds a bad certificate", path.display()))?;
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(certificate: &Path, key: &Path) -> Result<Identity> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read a private key from {}", key.display()))?;
    Ok((chain, key))
}

fn pair(certificate: &Path, key: &Path) -> String {
    format!("{} and {} do not go together", certificate.display(), key.display())
}

/// A failed handshake on one line: rustls puts the reason into the error, the kind of I/O error says less.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => tls.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Shown {
        /// A certificate with these alternative names.
        pub(crate) fn made(names: &[&str]) -> Self {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            Self(made.cert.der().clone())
        }
    }

    #[test]
    fn a_certificate_is_known_by_fingerprint_or_by_alternative_name() {
        let shown = Shown::made(&["xray1.example", "192.0.2.7"]);
        let digits = hex::encode_upper(Sha256::digest(&shown.0));
        let colons: Vec<&str> = (0..32).map(|i| &digits[2 * i..2 * i + 2]).collect();
        for wanted in [
            format!("sha256:{digits}"),
            format!("sha256:{}", colons.join(":")),
            "192.0.2.7".into(),
            "xray1.example".into(),
        ] {
            assert!(Wanted::parse(&wanted).unwrap().is(&shown), "{wanted}");
        }
        let other = format!("sha256:{}", "0".repeat(64));
        for wanted in [other.as_str(), "192.0.2.8", "xray2.example", "example"] {
            assert!(!Wanted::parse(wanted).unwrap().is(&shown), "{wanted}");
        }
        for mistake in ["sha256:12", "sha256:", "", "a b"] {
            assert!(Wanted::parse(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["box".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let certificate = write("box.crt", made.cert.pem());
        let key = write("box.key", made.signing_key.serialize_pem());
        let stranger = write("other.key", other.serialize_pem());
        let empty = write("empty", String::new());
        let missing = folder.path().join("missing");
        let said = |certificate: &Path, key: &Path, client_ca: Option<&Path>| {
            let tls = ServerTls {
                certificate: certificate.into(),
                key: key.into(),
                client_ca: client_ca.map(Into::into),
            };
            server(&tls, None).err().map(|error| format!("{error:#}"))
        };
        assert_eq!(said(&certificate, &key, Some(&certificate)), None);
        for (found, expected) in [
            (said(&missing, &key, None), "cannot read certificates from"),
            (said(&empty, &key, None), "holds no certificate"),
            (said(&certificate, &empty, None), "cannot read a private key from"),
            (said(&certificate, &stranger, None), "do not go together"),
            (said(&certificate, &key, Some(&empty)), "holds no certificate"),
        ] {
            let found = found.unwrap();
            assert!(found.contains(expected) && found.contains('/'), "{found}");
        }
    }
}
