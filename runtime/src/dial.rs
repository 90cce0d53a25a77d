//! Connecting to somebody else, plain or under TLS, within a time.

use crate::tls::{self, Connection, client::Connector};
use std::time::Duration;
use thiserror::Error;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

#[derive(Debug, Error)]
#[error("cannot reach {address}: {why}")]
pub(crate) struct Unreachable {
    address: String,
    why: String,
}

/// A connection to `address`, HOST:PORT; handshake included.
pub(crate) async fn dial(
    address: &str,
    tls: Option<&Connector>,
    timeout: Duration,
) -> Result<Connection, Unreachable> {
    let failed = |why: String| Unreachable { address: address.to_owned(), why };
    let until = Instant::now() + timeout;
    let stream = match timeout_at(until, TcpStream::connect(address)).await {
        Err(_) => return Err(failed(format!("no answer in {timeout:?}"))),
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Ok(Ok(stream)) => stream,
    };
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match timeout_at(until, tls.connect(host, stream)).await {
        Err(_) => Err(failed(format!("no TLS handshake in {timeout:?}"))),
        Ok(Err(error)) => Err(failed(format!("no TLS: {}", tls::reason(&error)))),
        Ok(Ok(connection)) => Ok(connection),
    }
}
