//! `[fleet]` of `agent.toml`: the update server this box asks for orders.

use super::durations::duration;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{HeaderName, HeaderValue, Uri, uri::Authority};

/// A server that speaks hawkBit's DDI, checked.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// `https://host:port`
    pub origin: String,
    pub authority: Authority,
    /// `/prefix/tenant/controller/v1/`, to which the box's name is added.
    pub path: String,
    /// Name of this box at the server; none: that of the device.
    pub controller: Option<String>,
    pub credentials: Option<Credentials>,
    /// For the proxy in front of the server.
    pub headers: BTreeMap<String, String>,
    /// How often to ask, until the server says how often.
    pub poll: Duration,
    /// Whether the box itself consents where the server asks for a consent.
    pub consent: bool,
    pub board: String,
    pub revision: String,
    /// Whose certificates are trusted; none with `http`.
    pub ca: Option<PathBuf>,
    /// Certificate and key of this box.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A file with a token, read again for each request.
#[derive(Clone, Debug)]
pub enum Credentials {
    Target(PathBuf),
    Gateway(PathBuf),
}

/// The table as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    url: String,
    #[serde(default = "default_tenant")]
    tenant: String,
    controller: Option<String>,
    target_token: Option<PathBuf>,
    gateway_token: Option<PathBuf>,
    ca: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "five_minutes", deserialize_with = "duration")]
    poll: Duration,
    #[serde(default)]
    consent: bool,
    #[serde(default = "default_board")]
    board: String,
    #[serde(default = "default_revision")]
    revision: String,
}

impl Table {
    pub(super) fn checked(self, folder: &Path) -> Result<Fleet> {
        let (origin, authority, prefix) = place(&self.url)?;
        let is_http = origin.starts_with("http://");
        ensure!(is_name(&self.tenant), "tenant {:?}, expected letters, digits, . _ -", self.tenant);
        if let Some(name) = &self.controller {
            ensure!(is_name(name), "controller {name:?}, expected letters, digits, . _ -");
        }
        ensure!(
            is_http || self.ca.is_some(),
            "ca is missing: the file with the certificates that {} is trusted for",
            self.url
        );
        let credentials = match (self.target_token, self.gateway_token) {
            (Some(_), Some(_)) => bail!("found target_token and gateway_token, expected one"),
            (Some(file), None) => Some(Credentials::Target(folder.join(file))),
            (None, Some(file)) => Some(Credentials::Gateway(folder.join(file))),
            (None, None) => None,
        };
        if let Some(credentials) = &credentials {
            credentials.header()?;
        }
        let client = match (self.client_certificate, self.client_key) {
            (Some(certificate), Some(key)) => Some((folder.join(certificate), folder.join(key))),
            (None, None) => None,
            _ => bail!("client_certificate and client_key belong together, found one"),
        };
        ensure!(client.is_none() || !is_http, "a client certificate needs https");
        for (name, value) in &self.headers {
            let right = name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok();
            ensure!(right, "header {name:?} = {value:?} cannot be sent");
        }
        Ok(Fleet {
            origin,
            authority,
            path: format!("{prefix}/{}/controller/v1/", self.tenant),
            controller: self.controller,
            credentials,
            headers: self.headers,
            poll: self.poll,
            consent: self.consent,
            board: self.board,
            revision: self.revision,
            ca: self.ca.map(|file| folder.join(file)),
            client,
        })
    }
}

impl Credentials {
    /// What `Authorization` says.
    pub(super) fn header(&self) -> Result<String> {
        let (scheme, file) = match self {
            Self::Target(file) => ("TargetToken", file),
            Self::Gateway(file) => ("GatewayToken", file),
        };
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let token = text.trim();
        let plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(plain, "{}: expected one token of printable ASCII", file.display());
        Ok(format!("{scheme} {token}"))
    }
}

/// Letters that need no quoting in a path.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.bytes().all(plain) && !text.starts_with('.')
}

/// Origin, authority and path of a server that may be talked to.
fn place(url: &str) -> Result<(String, Authority, String)> {
    let expected = || format!("url {url:?}, expected https://HOST[:PORT][/PATH]");
    let uri: Uri = url.parse().with_context(expected)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        bail!(expected());
    };
    ensure!(["https", "http"].contains(&scheme) && uri.query().is_none(), expected());
    ensure!(!authority.as_str().contains('@'), "url names a user, expected a token in a file");
    let is_here = is_loopback(authority.host());
    ensure!(scheme == "https" || is_here, "http is for loopback alone, {} needs https", authority);
    let prefix = uri.path().trim_end_matches('/').to_owned();
    Ok((format!("{scheme}://{authority}"), authority.clone(), prefix))
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

const fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

fn default_tenant() -> String {
    "DEFAULT".into()
}

fn default_board() -> String {
    "default".into()
}

fn default_revision() -> String {
    crate::swu::HARDWARE.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Fleet> {
        toml::from_str::<Table>(text).unwrap().checked(Path::new("/etc/cxr"))
    }

    #[test]
    fn a_server_is_asked_over_tls_unless_it_is_on_this_box() {
        let fleet = read("url = \"https://hawkbit.example:8443/ddi/\"\nca = \"ca.pem\"").unwrap();
        assert_eq!(fleet.origin, "https://hawkbit.example:8443");
        assert_eq!(fleet.path, "/ddi/DEFAULT/controller/v1/");
        assert_eq!(fleet.ca.unwrap(), Path::new("/etc/cxr/ca.pem"));
        for here in ["http://127.0.0.1:8080", "http://[::1]:80", "http://localhost"] {
            read(&format!("url = {here:?}")).unwrap();
        }
    }

    #[test]
    fn a_table_that_cannot_work_is_refused_by_name() {
        for (text, expected) in [
            ("url = \"http://hawkbit.example\"", "http is for loopback alone"),
            ("url = \"https://hawkbit.example\"", "ca is missing"),
            ("url = \"hawkbit.example\"", "expected https://"),
            ("url = \"https://me@hawkbit.example\"\nca = \"x\"", "names a user"),
            ("url = \"http://localhost\"\ntenant = \"a/b\"", "tenant \"a/b\""),
            ("url = \"http://localhost\"\ncontroller = \"../x\"", "controller"),
            ("url = \"http://localhost\"\ntarget_token = \"/no/such\"", "cannot read /no/such"),
            ("url = \"http://localhost\"\ntarget_token = \"a\"\ngateway_token = \"b\"", "one"),
            ("url = \"https://x\"\nca = \"a\"\nclient_key = \"b\"", "belong together"),
            ("url = \"http://localhost\"\n[headers]\n\"X Y\" = \"1\"", "cannot be sent"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
    }

    #[test]
    fn a_token_is_one_printable_word() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "abc\n").unwrap();
        assert_eq!(Credentials::Gateway(file.clone()).header().unwrap(), "GatewayToken abc");
        for wrong in ["", " \n", "two words", "naïve"] {
            fs::write(&file, wrong).unwrap();
            let error = Credentials::Target(file.clone()).header().unwrap_err().to_string();
            assert!(error.contains("printable") && error.contains("token"), "{error}");
        }
    }
}
