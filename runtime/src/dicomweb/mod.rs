//! The client side of DICOMweb (PS3.18): one request to an archive's web server, one answer, both of bounded size.
//!
//! ```text
//! authorization   who we are there, from a file
//! query           QIDO-RS: Question → path; DICOM JSON → answers         no I/O
//! multipart       multipart/related: bytes → parts                       no I/O
//! ```
//!
//! STOW-RS is `outbox::stow`. Redirects are never followed: what is configured says who gets patients' data.

pub(crate) mod authorization;
pub(crate) mod multipart;
pub(crate) mod query;

use crate::{
    dial::{Unreachable, dial},
    tls::{Connection, client::Connector},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request, Uri,
    body::Bytes,
    client::conn::http1::handshake,
    header::{AUTHORIZATION, HOST, HeaderValue},
    http::request,
};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use thiserror::Error;

/// Where a web server is, and who we are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server<'a> {
    /// Of its studies.
    pub(crate) url: &'a Uri,
    pub(crate) tls: Option<&'a Connector>,
    pub(crate) authorization: Option<&'a HeaderValue>,
    /// Connecting, and the whole exchange after that.
    pub(crate) timeout: Duration,
}

/// What a web server says.
#[derive(Clone, Debug)]
pub(crate) struct WebAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl WebAnswer {
    /// A header's text; empty if it is not there or no text.
    pub(crate) fn header(&self, name: hyper::header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Debug, Error)]
pub(crate) enum WebError {
    #[error("{0}")]
    Unreachable(#[from] Unreachable),
    #[error("no answer in {limit:?}")]
    Silent { limit: Duration },
    #[error("{0}")]
    Broken(String),
}

impl Server<'_> {
    /// One request on a connection of its own; `path` is on the server, of the answer's body at most `most` bytes are
    /// taken.
    pub(crate) async fn exchange(
        &self,
        path: &str,
        request: request::Builder,
        body: Bytes,
        most: usize,
    ) -> Result<WebAnswer, WebError> {
        let host = self.url.host().unwrap_or_default();
        let usual = if self.url.scheme_str() == Some("https") { 443 } else { 80 };
        let address = format!("{host}:{}", self.url.port_u16().unwrap_or(usual));
        let stream = dial(&address, self.tls, self.timeout).await?;
        let request = match self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let request = request
            .uri(path)
            .header(HOST, authority)
            .body(Full::new(body))
            .map_err(|error| WebError::Broken(error.to_string()))?;
        tokio::time::timeout(self.timeout, send(stream, request, most))
            .await
            .unwrap_or(Err(WebError::Silent { limit: self.timeout }))
    }
}

async fn send(
    stream: Connection,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<WebAnswer, WebError> {
    let broken = |error: hyper::Error| WebError::Broken(format!("{:#}", anyhow::Error::new(error)));
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|error| WebError::Broken(format!("its answer: {error}")))?;
        let (status, headers) = (head.status.as_u16(), head.headers);
        Ok(WebAnswer { status, headers, body: body.to_bytes() })
    };
    tokio::pin!(answer, connection);
    let ended = tokio::select! {
        answer = &mut answer => return answer,
        ended = &mut connection => ended,
    };
    // The server has closed; what it said before is there.
    answer.await.map_err(|error| ended.map_or_else(broken, |()| error))
}
