//! The calling side: whom we connect to, and who we are there.

use super::{Connection, authorities, identity, pair, provider, server_name};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::{fmt, io, path::PathBuf, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, client::Resumption, pki_types::ServerName},
};

/// Whom we connect to, and who we are there. Files in PEM form.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientTls {
    /// Authorities that sign the peer's certificate.
    pub(crate) ca: PathBuf,
    /// Shown where the peer asks for one; `certificate` and `key` go together.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// The name in the peer's certificate, if it is not the one we connect to.
    pub(crate) name: Option<String>,
}

impl ClientTls {
    /// The files it names, for making them relative to something.
    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        std::iter::once(&mut self.ca).chain(self.certificate.as_mut()).chain(self.key.as_mut())
    }
}

/// Makes connections under TLS.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

/// Reads certificates and key.
pub(crate) fn client(tls: &ClientTls) -> Result<Connector> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context("no TLS version")?
        .with_root_certificates(authorities(&tls.ca)?);
    let mut config = match (&tls.certificate, &tls.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let (chain, secret) = identity(certificate, key)?;
            builder.with_client_auth_cert(chain, secret).with_context(|| pair(certificate, key))?
        }
        _ => bail!("tls: `certificate` and `key` go together"),
    };
    config.resumption = Resumption::disabled();
    let name = tls.name.as_deref().map(server_name).transpose()?;
    Ok(Connector { config: Arc::new(config), name })
}

impl Connector {
    /// The handshake with `host`, a name or an address, at the other end of `tcp`.
    pub(crate) async fn connect(&self, host: &str, tcp: TcpStream) -> io::Result<Connection> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(|e| io::Error::other(format!("{e:#}")))?,
        };
        let stream = TlsConnector::from(self.config.clone()).connect(name, tcp).await?;
        Ok(Box::new(stream))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{ServerTls, server};
    use std::path::Path;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A self-signed certificate is its own authority.
    fn made(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (certificate, key) =
            (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }

    #[tokio::test]
    async fn both_ends_prove_who_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (pacs, pacs_key) = made(folder.path(), "pacs.example");
        let (own, own_key) = made(folder.path(), "box.example");
        let acceptor = server(
            &ServerTls { certificate: pacs.clone(), key: pacs_key, client_ca: Some(own.clone()) },
            None,
        )
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            let mut greeted = Vec::new();
            for _ in 0..4 {
                let (tcp, _) = listener.accept().await.unwrap();
                let accepted = acceptor.accept(tcp).await;
                greeted.push(match accepted {
                    Ok((mut stream, Some(_))) => stream.write_all(b"hello").await.is_ok(),
                    _ => false,
                });
            }
            greeted
        });
        let try_with = async |identity: bool, ca: &Path, name: Option<&str>| {
            let tls = ClientTls {
                ca: ca.into(),
                certificate: identity.then(|| own.clone()),
                key: identity.then(|| own_key.clone()),
                name: name.map(Into::into),
            };
            let tcp = TcpStream::connect(address).await.unwrap();
            let mut word = [0; 5];
            // In TLS 1.3 a client hears only when it reads that its certificate was refused.
            match client(&tls).unwrap().connect("pacs.example", tcp).await {
                Ok(mut stream) => stream.read_exact(&mut word).await.is_ok(),
                Err(_) => false,
            }
        };
        assert!(try_with(true, &pacs, None).await);
        assert!(!try_with(false, &pacs, None).await, "without a certificate");
        assert!(!try_with(true, &own, None).await, "another authority");
        assert!(!try_with(true, &pacs, Some("other.example")).await, "another name");
        assert_eq!(peer.await.unwrap(), [true, false, false, false]);
        let half = ClientTls { ca: pacs.clone(), certificate: Some(pacs), key: None, name: None };
        assert!(client(&half).is_err());
    }
}
