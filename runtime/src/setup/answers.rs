//! What a configuration is made of: from flags, and asked for where somebody sits at a terminal.

use super::{
    Setup,
    ask::Terminal,
    specs::{PacsSpec, PeerSpec, To},
};
use crate::config::{is_ae_title, is_hex_key};
use anyhow::{Context, Result, ensure};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Everything that is written.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) ae_title: String,
    pub(super) dicom: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) bundle: BundleFrom,
    /// Hexadecimal, or files.
    pub(super) keys: Vec<String>,
    pub(super) allow_unsigned: bool,
    pub(super) spool: PathBuf,
    pub(super) peers: Vec<PeerSpec>,
    pub(super) pacs: Vec<PacsSpec>,
    pub(super) dicom_tls: Option<Identity>,
    pub(super) http_tls: Option<Identity>,
    pub(super) users: Option<PathBuf>,
    /// What the agent of a package keeps.
    pub(super) keyring: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BundleFrom {
    File(PathBuf),
    /// Where `firmware-host agent` keeps them.
    Slots(PathBuf),
}

/// Files of a server's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: Option<PathBuf>,
}

const DICOM_PORT: u16 = 11112;
const HTTP_PORT: u16 = 8080;

impl Answers {
    /// From the flags; what they leave open is the default.
    pub(super) fn of(setup: &Setup) -> Result<Self> {
        let folder = folder(&setup.config)?;
        let state = state_of(&folder, Path::new("/"));
        let mut peers = setup.peers.clone();
        let added = committing(&setup.pacs, &peers);
        peers.extend(added);
        let identity =
            |certificate: &Option<PathBuf>, key: &Option<PathBuf>, ca: &Option<PathBuf>| {
                let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
                let client_ca = ca.as_deref().map(absolute).transpose()?;
                Ok::<_, anyhow::Error>(Some(Identity {
                    certificate: absolute(certificate)?,
                    key: absolute(key)?,
                    client_ca,
                }))
            };
        let ae_title = setup.ae_title.clone().unwrap_or_else(|| "CXR-EDGE".into());
        ensure!(
            is_ae_title(&ae_title),
            "--ae-title is {ae_title:?}, expected 1 to 16 printable characters"
        );
        Ok(Self {
            ae_title,
            dicom: setup.dicom.unwrap_or_else(|| default_dicom(&peers)),
            http: setup.http.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, HTTP_PORT).into()),
            bundle: match (&setup.bundle, &setup.slots) {
                (Some(file), _) => BundleFrom::File(absolute(file)?),
                (None, Some(slots)) => BundleFrom::Slots(absolute(slots)?),
                (None, None) => BundleFrom::Slots(state.join("slots")),
            },
            keys: setup.keys.iter().map(|key| key_of(key)).collect::<Result<_>>()?,
            allow_unsigned: setup.allow_unsigned,
            spool: setup.spool.as_deref().map_or_else(|| Ok(state.join("spool")), absolute)?,
            peers,
            pacs: setup.pacs.iter().map(in_full).collect::<Result<_>>()?,
            dicom_tls: identity(&setup.tls_certificate, &setup.tls_key, &setup.tls_client_ca)?,
            http_tls: identity(&setup.http_certificate, &setup.http_key, &None)?,
            users: (!setup.users.is_empty()).then(|| {
                // A package keeps it where the daemon's user reads it.
                let installed = Some(state.join("users")).filter(|folder| folder.is_dir());
                installed.unwrap_or_else(|| folder.clone()).join("users.toml")
            }),
            keyring: (state != folder).then(|| state.join("keys/keyring.toml")),
        })
    }

    /// For people to look over before it is written.
    pub(super) fn summary(&self) -> Vec<(&'static str, String)> {
        let bundle = match &self.bundle {
            BundleFrom::File(file) => file.display().to_string(),
            BundleFrom::Slots(folder) => format!("the active slot in {}", folder.display()),
        };
        let nobody = |what: &str, list: Vec<String>| {
            if list.is_empty() { what.to_owned() } else { list.join("; ") }
        };
        let peers = self.peers.iter().map(|peer| match &peer.address {
            Some(address) => format!("{} at {address}", peer.ae_title),
            None => format!("{} from anywhere", peer.ae_title),
        });
        let pacs = self.pacs.iter().map(|pacs| match &pacs.to {
            To::Dicom { ae_title, address, commit } => {
                let commit = if *commit { ", with storage commitment" } else { "" };
                format!("{}: {ae_title} at {address}{commit}", pacs.name)
            }
            To::Web { url, .. } => format!("{}: {url}", pacs.name),
        });
        let unsigned = if self.allow_unsigned { "any, signed or not" } else { "none" };
        vec![
            ("AE title", self.ae_title.clone()),
            ("DICOM", listening(self.dicom, self.dicom_tls.is_some())),
            ("may send", nobody("this machine only", peers.collect())),
            ("results go to", nobody("nobody: they stay here", pacs.collect())),
            ("bundle", bundle),
            ("keys", nobody(unsigned, self.keys.clone())),
            ("page", listening(self.http, self.http_tls.is_some())),
            ("spool", self.spool.display().to_string()),
        ]
    }
}

impl Setup {
    /// Asks for what the flags leave open.
    pub(super) fn ask(&mut self, terminal: &mut Terminal) -> Result<()> {
        let title = |text: &str| {
            ensure!(is_ae_title(text), "expected 1 to 16 printable characters");
            Ok(text.to_owned())
        };
        if self.ae_title.is_none() {
            self.ae_title = Some(terminal.ask("AE title of this box", "CXR-EDGE", title)?);
        }
        if self.peers.is_empty() {
            terminal.say("Who may send? AE@ADDRESS, or AE@ADDRESS:PORT for one that answers; nobody: this machine only.")?;
            self.peers = terminal.list("  sender", |text| text.parse())?;
        }
        if self.dicom.is_none() {
            let default = default_dicom(&self.peers).to_string();
            let socket = |text: &str| {
                text.parse().with_context(|| {
                    format!("{text:?}: expected ADDRESS:PORT, 0.0.0.0:{DICOM_PORT}")
                })
            };
            self.dicom = Some(terminal.ask("Where senders reach this box", &default, socket)?);
        }
        if self.pacs.is_empty() {
            terminal.say("Where do results go? NAME=AE@HOST:PORT, with `,commit` where the archive commits; nowhere: they stay here.")?;
            self.pacs = terminal.list("  archive", |text| text.parse())?;
        }
        if self.bundle.is_none() && self.slots.is_none() {
            let slots = state_of(&folder(&self.config)?, Path::new("/")).join("slots");
            let slots = slots.display().to_string();
            let from = terminal.ask(
                "Bundle: a file, or the folder where `firmware-host agent` keeps its slots",
                &slots,
                |text| Ok(PathBuf::from(text)),
            )?;
            if from.is_file() { self.bundle = Some(from) } else { self.slots = Some(from) }
        }
        if self.keys.is_empty() && !self.allow_unsigned {
            terminal.say(
                "Who may sign what runs here? Files with public keys, or their hexadecimal digits.",
            )?;
            self.keys = terminal.list("  key", key_of)?;
        }
        Ok(())
    }
}

/// Archives that commit on associations of their own must be let in.
fn committing(pacs: &[PacsSpec], peers: &[PeerSpec]) -> Vec<PeerSpec> {
    let let_in = |pacs: &PacsSpec| {
        let To::Dicom { ae_title, address, commit: true } = &pacs.to else { return None };
        if peers.iter().any(|peer| peer.ae_title == *ae_title) {
            return None;
        }
        let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(PeerSpec {
            name: Some(format!("{} reports what it has committed to", pacs.name)),
            ae_title: ae_title.clone(),
            // A name may stand for other addresses tomorrow.
            address: host.parse::<IpAddr>().is_ok().then(|| host.to_owned()),
            port: None,
            certificate: None,
        })
    };
    // Nobody but this machine is served until there is a peer, and an archive here needs to be none.
    let needed = |peer: &PeerSpec| {
        let here = peer.address.as_ref().and_then(|address| address.parse::<IpAddr>().ok());
        !peers.is_empty() || !here.is_some_and(|address| address.is_loopback())
    };
    pacs.iter().filter_map(let_in).filter(needed).collect()
}

/// Every address, once somebody else may send.
fn default_dicom(peers: &[PeerSpec]) -> SocketAddr {
    let address = if peers.is_empty() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    (address, DICOM_PORT).into()
}

fn listening(address: SocketAddr, tls: bool) -> String {
    let seen = if address.ip().is_loopback() { ", this machine only" } else { "" };
    format!("{address}{seen}{}", if tls { ", TLS" } else { "" })
}

/// Digits as they are; a file by its whole path.
pub(super) fn key_of(key: &str) -> Result<String> {
    if is_hex_key(key) {
        return Ok(key.to_owned());
    }
    let path = absolute(Path::new(key))?;
    ensure!(
        path.is_file(),
        "{key}: found no file, expected one with a public key, or 64 hexadecimal digits"
    );
    Ok(path.to_string_lossy().into_owned())
}

fn in_full(pacs: &PacsSpec) -> Result<PacsSpec> {
    let mut pacs = pacs.clone();
    let secrets = match &mut pacs.to {
        To::Web { bearer, basic, .. } => [bearer.as_mut(), basic.as_mut()],
        To::Dicom { .. } => [None, None],
    };
    let files = [pacs.ca.as_mut(), pacs.certificate.as_mut(), pacs.key.as_mut()];
    for file in files.into_iter().chain(secrets).flatten() {
        *file = absolute(file)?;
    }
    Ok(pacs)
}

/// Paths in a configuration are relative to it; those on a command line are not.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{}", path.display()))
}

/// Of the configuration.
fn folder(config: &Path) -> Result<PathBuf> {
    Ok(durable::parent(&absolute(config)?).to_owned())
}

/// Where state lies if nobody says: in /var/lib/NAME for a configuration in /etc/NAME, if a package made that folder;
/// else beside the configuration.
fn state_of(folder: &Path, root: &Path) -> PathBuf {
    let name = folder.strip_prefix(root.join("etc")).ok();
    let state = name.map(|name| root.join("var/lib").join(name));
    state.filter(|state| state.is_dir()).unwrap_or_else(|| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_lies_where_a_package_keeps_it_or_beside_the_configuration() {
        let root = tempfile::tempdir().unwrap();
        let path = |path: &str| root.path().join(path);
        let state = |folder: &str| state_of(&path(folder), root.path());
        assert_eq!(state("etc/cxr-edge"), path("etc/cxr-edge"), "no package");
        std::fs::create_dir_all(path("var/lib/cxr-edge")).unwrap();
        assert_eq!(state("etc/cxr-edge"), path("var/lib/cxr-edge"));
        assert_eq!(state("home/ada"), path("home/ada"));
    }

    #[test]
    fn an_archive_that_commits_is_let_in_where_it_would_be_cut_off() {
        let added = |pacs: &str, peers: &[&str]| {
            let peers: Vec<PeerSpec> = peers.iter().map(|peer| peer.parse().unwrap()).collect();
            committing(&[pacs.parse().unwrap()], &peers).first().map(|peer| peer.address.clone())
        };
        assert_eq!(added("pacs=PACS@10.0.0.2:104,commit", &[]), Some(Some("10.0.0.2".into())));
        assert_eq!(added("pacs=PACS@pacs.example:104,commit", &[]), Some(None));
        assert_eq!(added("pacs=PACS@10.0.0.2:104", &[]), None);
        assert_eq!(added("pacs=PACS@10.0.0.2:104,commit", &["PACS@10.0.0.2"]), None);
        // Without peers this machine is served.
        assert_eq!(added("pacs=PACS@127.0.0.1:104,commit", &[]), None);
        assert_eq!(
            added("pacs=PACS@127.0.0.1:104,commit", &["XRAY1"]),
            Some(Some("127.0.0.1".into()))
        );
    }
}
