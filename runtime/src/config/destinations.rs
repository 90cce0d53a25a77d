//! `[[destinations]]`: where results go, and what becomes of those that do not get there.

use super::{duration, is_ae_title, seconds};
use crate::tls::{
    client::{ClientTls, Connector, client},
    expiry::Configured,
};
use anyhow::{Context, Result, bail, ensure};
use axum::http::Uri;
use results::Kind;
use serde::Deserialize;
use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, time::Duration};

/// One archive, as it may be relied on: everything that contradicts itself was refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Destination {
    pub(crate) name: String,
    pub(crate) target: Target,
    /// Whom we trust there, and who we are.
    pub(super) tls: Option<ClientTls>,
    pub(crate) objects: Vec<Kind>,
    pub(crate) when: When,
    /// Who gets what this one does not take for [`Self::fallback_after`].
    pub(crate) fallback: Option<String>,
    pub(crate) fallback_after: Duration,
    /// Connecting, one PDU, one answer.
    pub(crate) timeout: Duration,
    /// How long a report about storage commitment may take before we ask again.
    pub(crate) commit_within: Duration,
}

/// How to get there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// C-STORE; with `commit`, delivered means committed.
    Dicom { ae_title: String, address: String, commit: bool },
    /// STOW-RS; the path ends in `/studies`.
    Stow { url: Uri, credentials: Option<Credentials> },
}

/// Who we say we are to a web server, in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// A token.
    Bearer(PathBuf),
    /// NAME:PASSWORD
    Basic(PathBuf),
}

impl Credentials {
    pub(super) fn of(bearer: Option<PathBuf>, basic: Option<PathBuf>) -> Result<Option<Self>> {
        ensure!(
            bearer.is_none() || basic.is_none(),
            "`bearer_file` and `basic_file`: expected one of the two"
        );
        Ok(bearer.map(Self::Bearer).or(basic.map(Self::Basic)))
    }

    pub(super) fn path(&mut self) -> &mut PathBuf {
        match self {
            Self::Bearer(file) | Self::Basic(file) => file,
        }
    }
}

/// What is routed to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// Images with a positive finding only.
    Positive,
    /// Nothing of its own: it stands in for another destination.
    Fallback,
}

impl Destination {
    /// Whether an object is delivered only once the destination has committed to it.
    pub(crate) fn commits(&self) -> bool {
        matches!(self.target, Target::Dicom { commit: true, .. })
    }

    /// The files it names, for making them relative to something.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let secret = match &mut self.target {
            Target::Stow { credentials, .. } => credentials.as_mut().map(Credentials::path),
            Target::Dicom { .. } => None,
        };
        self.tls.iter_mut().flat_map(ClientTls::paths).chain(secret)
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = Configured> {
        let what = format!("destinations.{}", self.name);
        self.tls.iter().flat_map(move |tls| tls.certificates(what.clone()))
    }

    /// What connections need for TLS, read from its files; `None`: they are plain.
    pub(crate) fn connector(&self) -> Result<Option<Connector>> {
        let connector = self.tls.as_ref().map(client).transpose();
        connector.with_context(|| format!("destination {:?}", self.name))
    }
}

/// As it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    ae_title: Option<String>,
    address: Option<String>,
    url: Option<String>,
    tls: Option<ClientTls>,
    bearer_file: Option<PathBuf>,
    basic_file: Option<PathBuf>,
    #[serde(default = "usual_kinds")]
    objects: Vec<Kind>,
    #[serde(default)]
    commit: bool,
    when: Option<WrittenWhen>,
    fallback: Option<String>,
    #[serde(default = "seconds::<900>", deserialize_with = "duration")]
    fallback_seconds: Duration,
    #[serde(default = "seconds::<30>", deserialize_with = "duration")]
    timeout_seconds: Duration,
    #[serde(default = "seconds::<900>", deserialize_with = "duration")]
    commit_seconds: Duration,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenWhen {
    Always,
    Positive,
}

fn usual_kinds() -> Vec<Kind> {
    Kind::USUAL.to_vec()
}

impl TryFrom<Written> for Destination {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let name = written.name.clone();
        checked(written).map_err(|error| format!("destination {name:?}: {error:#}"))
    }
}

fn checked(written: Written) -> Result<Destination> {
    let name = written.name;
    ensure!(
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic()),
        "a name has 1 to 64 printable characters without blanks"
    );
    let credentials = Credentials::of(written.bearer_file, written.basic_file)?;
    let target = match (written.address, written.url, written.ae_title) {
        (Some(_), Some(_), _) => bail!("`address` and `url`: expected one of the two"),
        (None, None, _) => bail!("expected `address` (C-STORE) or `url` (STOW-RS)"),
        (Some(_), None, None) => bail!("`address` needs `ae_title`"),
        (Some(address), None, Some(ae_title)) => {
            check_address(&ae_title, &address)?;
            ensure!(
                credentials.is_none(),
                "`address` with `bearer_file` or `basic_file`: only STOW-RS knows them"
            );
            Target::Dicom { ae_title, address, commit: written.commit }
        }
        (None, Some(url), _) => {
            ensure!(!written.commit, "`commit` and `url`: only C-STORE knows storage commitment");
            let url = web(&url, written.tls.is_some(), credentials.is_some())?;
            Target::Stow { url, credentials }
        }
    };
    ensure!(
        !written.objects.is_empty(),
        "objects is empty, expected some of \"sr\", \"seg\", \"sc\", \"heat\""
    );
    let distinct: BTreeSet<Kind> = written.objects.iter().copied().collect();
    ensure!(distinct.len() == written.objects.len(), "objects names one kind twice");
    Ok(Destination {
        name,
        target,
        tls: written.tls,
        objects: written.objects,
        when: match written.when {
            Some(WrittenWhen::Positive) => When::Positive,
            Some(WrittenWhen::Always) => When::Always,
            // Unless it stands in for another one: see `resolve`.
            None => When::Fallback,
        },
        fallback: written.fallback,
        fallback_after: written.fallback_seconds,
        timeout: written.timeout_seconds,
        commit_within: written.commit_seconds,
    })
}

/// A peer that is called by DICOM's own protocol.
pub(super) fn check_address(ae_title: &str, address: &str) -> Result<()> {
    ensure!(
        is_ae_title(ae_title),
        "ae_title is {ae_title:?}, expected 1 to 16 printable characters without blanks at the ends"
    );
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    ensure!(
        port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0)),
        "address is {address:?}, expected HOST:PORT"
    );
    Ok(())
}

/// A web server's studies; secrets only go where nobody reads them on the way.
pub(super) fn web(text: &str, has_tls: bool, has_secret: bool) -> Result<Uri> {
    let is_url = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
    };
    let trimmed = text.trim_end_matches('/');
    let of_studies = trimmed.ends_with("/studies") || trimmed.contains("/studies/");
    let whole = if of_studies { trimmed.to_owned() } else { format!("{trimmed}/studies") };
    let expected = || format!("url is {text:?}, expected http://HOST/… or https://HOST/…");
    let url = whole.parse().ok().filter(is_url).with_context(expected)?;
    match (url.scheme_str(), has_tls) {
        (Some("https"), false) => bail!("url is https, expected `tls` with `ca`"),
        (Some("http"), true) => bail!("`tls` and a url with http: expected https"),
        _ => {}
    }
    ensure!(
        !has_secret || url.scheme_str() == Some("https") || is_loopback(&url),
        "url is http, and a secret would be read on the way: expected https"
    );
    Ok(url)
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What only the whole list can say. Who is named as a fallback and has no `when` gets nothing of its own.
pub(super) fn resolve(destinations: &mut [Destination]) -> Result<()> {
    let mut names = BTreeSet::new();
    for destination in &*destinations {
        let name = &destination.name;
        ensure!(names.insert(name.clone()), "two destinations are called {name:?}");
    }
    let mut stand_ins = BTreeSet::new();
    for destination in &*destinations {
        let (name, Some(fallback)) = (&destination.name, &destination.fallback) else { continue };
        ensure!(fallback != name, "destination {name:?} is its own fallback");
        let Some(other) = destinations.iter().find(|other| other.name == *fallback) else {
            bail!("destination {name:?}: fallback {fallback:?} is no destination");
        };
        ensure!(
            other.fallback.is_none(),
            "destination {name:?}: its fallback {fallback:?} has a fallback itself, expected none"
        );
        stand_ins.insert(fallback.clone());
    }
    for destination in destinations {
        if destination.when == When::Fallback && !stand_ins.contains(&destination.name) {
            destination.when = When::Always;
        }
    }
    Ok(())
}

/// The destinations of a file that has nothing else.
#[cfg(test)]
pub(crate) fn destinations_of(toml: &str) -> Result<Vec<Destination>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        destinations: Vec<Destination>,
    }
    let mut destinations = toml::from_str::<File>(toml)?.destinations;
    resolve(&mut destinations)?;
    Ok(destinations)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACS: &str =
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"10.0.0.1:104\"\n";
    const STOW: &str = "[[destinations]]\nname = \"web\"\nurl = \"https://pacs.example/dicom-web\"\n\
                        tls = { ca = \"pacs.pem\" }\n";

    #[test]
    fn the_shortest_destinations_get_everything_always() {
        let both = destinations_of(&format!("{PACS}{STOW}")).unwrap();
        for destination in &both {
            assert_eq!(destination.objects, [Kind::Sr, Kind::Seg, Kind::Sc]);
            assert_eq!(destination.when, When::Always);
            assert!(!destination.commits());
        }
        let Target::Stow { url, .. } = &both[1].target else { panic!() };
        assert_eq!(url, "https://pacs.example/dicom-web/studies");
    }

    #[test]
    fn every_key_of_the_contract_is_understood() {
        let text = format!(
            "{PACS}objects = [\"sr\", \"seg\", \"sc\"]\ncommit = true\nwhen = \"positive\"\nfallback = \"web\"\n\
             fallback_seconds = 60\ntimeout_seconds = 5\ncommit_seconds = 10\n{STOW}"
        );
        let both = destinations_of(&text).unwrap();
        assert!(both[0].commits());
        assert_eq!((both[0].when, both[1].when), (When::Positive, When::Fallback));
        assert_eq!(both[0].fallback_after, Duration::from_secs(60));
    }

    #[test]
    fn mistakes_are_named() {
        let both = format!("{PACS}{STOW}");
        for (text, expected) in [
            (format!("{PACS}url = \"https://x\"\n"), "`address` and `url`"),
            (PACS.replace("address = \"10.0.0.1:104\"", ""), "expected `address`"),
            (PACS.replace("ae_title = \"PACS\"", ""), "`address` needs `ae_title`"),
            (PACS.replace("10.0.0.1:104", "10.0.0.1"), "expected HOST:PORT"),
            (PACS.replace("10.0.0.1:104", ":104"), "expected HOST:PORT"),
            (PACS.replace("\"PACS\"", "\"A TITLE MUCH TOO LONG\""), "1 to 16 printable"),
            (format!("{STOW}commit = true\n"), "only C-STORE knows storage commitment"),
            (STOW.replace("https", "ftp"), "expected http://HOST"),
            (STOW.replace("https", "http"), "expected https"),
            (STOW.replace("tls = ", "# "), "expected `tls` with `ca`"),
            (format!("{STOW}bearer_file = \"a\"\nbasic_file = \"b\"\n"), "one of the two"),
            (format!("{PACS}bearer_file = \"a\"\n"), "only STOW-RS knows them"),
            (
                "[[destinations]]\nname = \"x\"\nurl = \"http://pacs.example\"\nbasic_file = \"b\"\n"
                    .to_owned(),
                "would be read on the way",
            ),
            (PACS.to_owned() + "tls = { key = \"k\" }\n", "missing field `ca`"),
            (format!("{PACS}objects = []\n"), "objects is empty"),
            (format!("{PACS}objects = [\"sr\", \"sr\"]\n"), "one kind twice"),
            (format!("{PACS}objects = [\"pdf\"]\n"), "unknown variant `pdf`"),
            (format!("{PACS}when = \"sometimes\"\n"), "unknown variant `sometimes`"),
            (format!("{PACS}retries = 3\n"), "unknown field `retries`"),
            (format!("{PACS}{PACS}"), "two destinations are called \"pacs\""),
            (format!("{PACS}fallback = \"web\"\n"), "fallback \"web\" is no destination"),
            (format!("{PACS}fallback = \"pacs\"\n"), "its own fallback"),
            (
                format!("{PACS}fallback = \"web\"\n{STOW}fallback = \"pacs\"\n"),
                "has a fallback itself",
            ),
            (both.replace("name = \"web\"", "name = \"the web\""), "without blanks"),
        ] {
            let error = format!("{:#}", destinations_of(&text).unwrap_err());
            assert!(error.contains(expected), "{expected:?}: {error}");
        }
    }
}
