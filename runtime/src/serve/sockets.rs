//! Where the daemon listens.

use crate::{config::Config, spool::Stages};
use anyhow::{Context, Result};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// Where the daemon can be reached; what `--ready-file` gets.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Ready {
    pub(crate) dicom: SocketAddr,
    pub(crate) http: SocketAddr,
    /// When what happened to the last images, for whoever runs the daemon within a process.
    #[serde(skip)]
    pub(crate) stages: Arc<Stages>,
}

/// Both are bound before a bundle is loaded; nobody is served yet.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) dicom: TcpListener,
    pub(super) http: TcpListener,
    pub(super) addresses: Ready,
}

impl Sockets {
    /// Binds both, and warns of what is open or in the clear.
    pub(super) async fn bind(config: &Config) -> Result<Self> {
        let dicom = bind("dicom", config.dicom.listen).await?;
        let http = bind("http", config.http.listen).await?;
        let (stages, http_address) = (Arc::default(), http.local_addr()?);
        let addresses = Ready { dicom: dicom.local_addr()?, http: http_address, stages };
        if config.dicom.peers.is_empty() && !addresses.dicom.ip().is_loopback() {
            log::warn!(
                "nobody but this machine may send images to {}: nobody stands under [[dicom.peers]]",
                addresses.dicom
            );
        }
        if !addresses.http.ip().is_loopback() && config.http.tls.is_none() {
            log::warn!(
                "passwords and findings go in the clear to whoever reaches {}",
                addresses.http
            );
        }
        Ok(Self { dicom, http, addresses })
    }
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for {what}"))
}
