//! HTTP to the server: one origin, its credentials for that origin alone, limits on everything.

use crate::agent::fleet::{Fleet, is_loopback, is_name};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{Certificate, ClientCert, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Body, Proxy, Timeout};

/// Longest answer that is not a file.
const ANSWER: u64 = 1 << 20;

#[derive(Debug, Error)]
pub(super) enum HttpError {
    /// `unsent`: nothing can have reached the server.
    #[error("{place}: {detail}")]
    Failed { place: String, detail: String, unsent: bool },

    #[error("{place} answered {status}")]
    Status { place: String, status: StatusCode, retry_after: Option<Duration> },

    #[error("{0:#}")]
    Credentials(anyhow::Error),
}

impl HttpError {
    /// How long the server wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The server speaks, and what was asked for is not there, or no longer.
    pub(super) fn is_gone(&self) -> bool {
        let gone = [StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::CONFLICT];
        matches!(self, Self::Status { status, .. } if gone.contains(status))
    }

    /// The server surely did nothing.
    pub(super) fn is_refused(&self) -> bool {
        match self {
            Self::Status { status, .. } => status.is_client_error(),
            Self::Credentials(_) => true,
            Self::Failed { unsent, .. } => *unsent,
        }
    }
}

pub(super) struct Client {
    http: ureq::Agent,
    fleet: Fleet,
    /// Of this box.
    root: String,
}

impl Client {
    pub(super) fn new(fleet: &Fleet, device: &str) -> Result<Self> {
        let name = fleet.controller.as_deref().unwrap_or(device);
        ensure!(is_name(name), "controller {name:?}, expected letters, digits, . _ -");
        let http = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .https_only(fleet.origin.starts_with("https"))
            .user_agent(concat!("firmware-host/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls(fleet)?)
            .proxy(if is_loopback(fleet.authority.host()) { None } else { Proxy::try_from_env() })
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(Duration::from_secs(30)))
            .timeout_per_write(Some(Duration::from_secs(30)))
            // Between two visits lie minutes: nothing is kept open.
            .max_idle_connections(0)
            .build()
            .into();
        let root = format!("{}{}{name}", fleet.origin, fleet.path);
        Ok(Self { http, root, fleet: fleet.clone() })
    }

    /// What this box is to do.
    pub(super) fn poll(&self) -> Result<Vec<u8>, HttpError> {
        self.read(&self.root)
    }

    /// What lies behind one of the server's links.
    pub(super) fn follow(&self, href: &str) -> Result<Vec<u8>, HttpError> {
        self.read(&self.own(href))
    }

    pub(super) fn put_attributes(&self, document: &Value) -> Result<(), HttpError> {
        let place = format!("{}/configData", self.root);
        let request = self.http.put(&place).content_type("application/json");
        let sent = self.with_headers(request)?.send(document.to_string());
        checked(&place, sent).map(drop)
    }

    /// A report about an action: `kind` is `deploymentBase`, `cancelAction` or `confirmationBase`.
    pub(super) fn feedback(&self, kind: &str, id: &str, report: &Value) -> Result<(), HttpError> {
        let place = format!("{}/{kind}/{id}/feedback", self.root);
        let request = self.http.post(&place).content_type("application/json");
        let sent = self.with_headers(request)?.send(report.to_string());
        checked(&place, sent).map(drop)
    }

    /// A file from byte `from` on. Credentials go to the server alone, whatever host it names.
    pub(super) fn file(&self, href: &str, from: u64) -> Result<Response<Body>, HttpError> {
        let is_ours = self.is_ours(href);
        let place = if is_ours { self.own(href) } else { href.to_owned() };
        let mut request = self.http.get(&place);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        if is_ours {
            request = self.with_headers(request)?;
        }
        checked(&place, request.call())
    }

    fn read(&self, place: &str) -> Result<Vec<u8>, HttpError> {
        let request =
            self.http.get(place).header("Accept", "application/hal+json, application/json");
        let mut response = checked(place, self.with_headers(request)?.call())?;
        let body = response.body_mut().with_config().limit(ANSWER).read_to_vec();
        body.map_err(|error| failed(place, &error))
    }

    fn with_headers<T>(
        &self,
        mut request: ureq::RequestBuilder<T>,
    ) -> Result<ureq::RequestBuilder<T>, HttpError> {
        for (name, value) in &self.fleet.headers {
            request = request.header(name, value);
        }
        if let Some(credentials) = &self.fleet.credentials {
            let header = credentials.header().map_err(HttpError::Credentials)?;
            request = request.header("Authorization", header);
        }
        Ok(request)
    }

    /// A link of the server, at the address it is configured under: behind a proxy it may not know that.
    fn own(&self, href: &str) -> String {
        let path = href.parse::<Uri>().ok().and_then(|uri| Some(uri.path_and_query()?.to_string()));
        format!("{}{}", self.fleet.origin, path.unwrap_or_else(|| href.to_owned()))
    }

    fn is_ours(&self, href: &str) -> bool {
        let Ok(uri) = href.parse::<Uri>() else { return false };
        let Some(authority) = uri.authority() else { return true };
        let is_plain = uri.scheme_str() == Some("http") && self.fleet.origin.starts_with("https");
        *authority == self.fleet.authority
            || (is_plain && authority.host() == self.fleet.authority.host())
    }
}

fn checked(
    place: &str,
    sent: Result<Response<Body>, ureq::Error>,
) -> Result<Response<Body>, HttpError> {
    let response = sent.map_err(|error| failed(place, &error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let seconds = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
    let retry_after = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    Err(HttpError::Status { place: place.into(), status, retry_after })
}

fn failed(place: &str, error: &ureq::Error) -> HttpError {
    let detail = error.to_string();
    // It failed before the connection stood.
    let unsent = match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(at) => matches!(at, Timeout::Resolve | Timeout::Connect),
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
        ),
        _ => false,
    };
    HttpError::Failed { place: place.into(), detail, unsent }
}

fn tls(fleet: &Fleet) -> Result<TlsConfig> {
    let read = |path: &std::path::Path| {
        fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    if let Some(path) = &fleet.ca {
        let certificates =
            certificates(&read(path)?).with_context(|| path.display().to_string())?;
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
    }
    if let Some((certificate, key)) = &fleet.client {
        let chain =
            certificates(&read(certificate)?).with_context(|| certificate.display().to_string())?;
        let private = ureq::tls::PrivateKey::from_pem(&read(key)?)
            .with_context(|| format!("{}: no private key in PEM", key.display()))?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, private)));
    }
    Ok(tls.build())
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>> {
    let items = parse_pem(pem).collect::<Result<Vec<_>, _>>()?;
    let certificates: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    ensure!(!certificates.is_empty(), "no certificate in PEM");
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn client() -> Client {
        let table = "url = \"http://127.0.0.1:8080/x\"\ncontroller = \"room-3\"";
        let fleet = toml::from_str::<crate::agent::fleet::Table>(table).unwrap();
        let mut fleet = fleet.checked(Path::new("")).unwrap();
        // As behind a proxy that ends TLS.
        fleet.origin = "https://127.0.0.1:8080".into();
        Client::new(&fleet, "box").unwrap()
    }

    #[test]
    fn links_are_followed_at_the_servers_configured_address_alone() {
        let client = client();
        assert_eq!(client.root, "https://127.0.0.1:8080/x/DEFAULT/controller/v1/room-3");
        for href in ["http://evil.example/a/b?c=1", "https://127.0.0.1:8080/a/b?c=1", "/a/b?c=1"] {
            assert_eq!(client.own(href), "https://127.0.0.1:8080/a/b?c=1");
        }
    }

    #[test]
    fn a_server_that_does_not_listen_surely_did_nothing() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let table = format!("url = \"http://{unused}\"\ncontroller = \"room-3\"");
        let fleet = toml::from_str::<crate::agent::fleet::Table>(&table).unwrap();
        let client = Client::new(&fleet.checked(Path::new("")).unwrap(), "box").unwrap();
        assert!(client.poll().unwrap_err().is_refused());
    }

    #[test]
    fn credentials_stay_with_the_server() {
        let client = client();
        for ours in ["https://127.0.0.1:8080/f", "http://127.0.0.1/f", "/f"] {
            assert!(client.is_ours(ours), "{ours}");
        }
        for foreign in ["https://evil.example/f", "https://127.0.0.1:9/f", "http://evil/f", ":"] {
            assert!(!client.is_ours(foreign), "{foreign}");
        }
    }
}
