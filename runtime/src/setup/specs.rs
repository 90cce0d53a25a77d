//! Peers and archives as they are written on a command line, or typed.

use crate::config::is_ae_title;
use anyhow::{Context, Result, bail, ensure};
use std::{net::IpAddr, path::PathBuf, str::FromStr};

/// `[NAME=]AE[@ADDRESS[:PORT]][,certificate=NAME]`: who may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerSpec {
    pub(super) name: Option<String>,
    pub(super) ae_title: String,
    /// An address or a network; none: from anywhere.
    pub(super) address: Option<String>,
    /// Where it answers; none: it is not asked.
    pub(super) port: Option<u16>,
    pub(super) certificate: Option<String>,
}

/// `NAME=AE@HOST:PORT[,commit][,sr][,seg][,sc][,heat][,positive][,fallback=NAME][,ca=FILE][,certificate=FILE][,key=FILE]`
/// or `NAME=URL[,…][,bearer=FILE][,basic=FILE]`: who gets results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PacsSpec {
    pub(super) name: String,
    pub(super) to: To,
    pub(super) objects: Vec<String>,
    pub(super) positive: bool,
    pub(super) fallback: Option<String>,
    pub(super) ca: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    Dicom { ae_title: String, address: String, commit: bool },
    Web { url: String, bearer: Option<PathBuf>, basic: Option<PathBuf> },
}

impl FromStr for PeerSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected =
            || format!("{text:?}: expected [NAME=]AE[@ADDRESS[:PORT]][,certificate=NAME]");
        let (first, options) = options(text);
        let (name, peer) = match first.split_once('=') {
            Some((name, peer)) => (Some(name.to_owned()), peer),
            None => (None, first),
        };
        let (ae_title, place) = match peer.split_once('@') {
            Some((title, place)) => (title, Some(place)),
            None => (peer, None),
        };
        ensure!(is_ae_title(ae_title), expected());
        let (address, port) = match place {
            None => (None, None),
            Some(place) => peer_place(place).with_context(expected)?,
        };
        let mut certificate = None;
        for option in options {
            match option.split_once('=') {
                Some(("certificate", name)) if !name.is_empty() => {
                    certificate = Some(name.to_owned())
                }
                _ => bail!("{text:?}: {option:?} is not known, expected certificate=NAME"),
            }
        }
        Ok(Self { name, ae_title: ae_title.to_owned(), address, port, certificate })
    }
}

/// Address and port; the daemon compares addresses, so a host's name is none.
fn peer_place(place: &str) -> Result<(Option<String>, Option<u16>)> {
    if place.parse::<IpAddr>().is_ok() || place.contains('/') {
        return Ok((Some(place.to_owned()), None));
    }
    let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ensure!(
        host.parse::<IpAddr>().is_ok(),
        "{host:?} is no address: peers are known by their address, not by a name"
    );
    let port = match port {
        "" => None,
        port => Some(
            port.parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .with_context(|| format!("{port:?} is no port"))?,
        ),
    };
    Ok((Some(host.to_owned()), port))
}

impl FromStr for PacsSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = || format!("{text:?}: expected NAME=AE@HOST:PORT or NAME=URL, then options");
        let (first, options) = options(text);
        let (name, place) = first.split_once('=').with_context(expected)?;
        ensure!(!name.is_empty(), expected());
        let to = if place.starts_with("http://") || place.starts_with("https://") {
            To::Web { url: place.to_owned(), bearer: None, basic: None }
        } else {
            let (ae_title, address) = place.split_once('@').with_context(expected)?;
            ensure!(is_ae_title(ae_title) && address.contains(':'), expected());
            To::Dicom { ae_title: ae_title.to_owned(), address: address.to_owned(), commit: false }
        };
        let mut pacs = Self {
            name: name.to_owned(),
            to,
            objects: Vec::new(),
            positive: false,
            fallback: None,
            ca: None,
            certificate: None,
            key: None,
        };
        for option in options {
            pacs.option(option).with_context(|| format!("{text:?}: {option:?}"))?;
        }
        Ok(pacs)
    }
}

impl PacsSpec {
    fn option(&mut self, option: &str) -> Result<()> {
        let (key, value) = option.split_once('=').map_or((option, None), |(k, v)| (k, Some(v)));
        let file =
            || Ok::<_, anyhow::Error>(Some(PathBuf::from(value.context("expected a file")?)));
        match (key, &mut self.to) {
            ("commit", To::Dicom { commit, .. }) if value.is_none() => *commit = true,
            ("bearer", To::Web { bearer, .. }) => *bearer = file()?,
            ("basic", To::Web { basic, .. }) => *basic = file()?,
            ("sr" | "seg" | "sc" | "heat", _) if value.is_none() => {
                self.objects.push(key.to_owned())
            }
            ("positive", _) if value.is_none() => self.positive = true,
            ("fallback", _) => self.fallback = Some(value.context("expected a name")?.to_owned()),
            ("ca", _) => self.ca = file()?,
            ("certificate", _) => self.certificate = file()?,
            ("key", _) => self.key = file()?,
            _ => bail!(
                "is not known here, expected commit, sr, seg, sc, heat, positive, fallback=NAME, \
                 ca=FILE, certificate=FILE, key=FILE; with a URL bearer=FILE or basic=FILE"
            ),
        }
        Ok(())
    }
}

/// What comes before the first comma, and what after it.
fn options(text: &str) -> (&str, impl Iterator<Item = &str>) {
    let mut parts = text.trim().split(',').map(str::trim);
    (parts.next().unwrap_or_default(), parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_as_people_write_them() {
        let read = |text: &str| {
            let peer: PeerSpec = text.parse().unwrap();
            (peer.name, peer.ae_title, peer.address, peer.port)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            read("room 3=XRAY1@192.168.1.20:104"),
            (some("room 3"), "XRAY1".into(), some("192.168.1.20"), Some(104))
        );
        assert_eq!(
            read("XRAY1@192.168.1.0/24"),
            (None, "XRAY1".into(), some("192.168.1.0/24"), None)
        );
        assert_eq!(read("XRAY1@[fd00::1]:104"), (None, "XRAY1".into(), some("fd00::1"), Some(104)));
        assert_eq!(read("XRAY1@fd00::1"), (None, "XRAY1".into(), some("fd00::1"), None));
        assert_eq!(read("XRAY1"), (None, "XRAY1".into(), None, None));
        let bound: PeerSpec = "XRAY1,certificate=xray1.example".parse().unwrap();
        assert_eq!(bound.certificate.as_deref(), Some("xray1.example"));
    }

    #[test]
    fn archives_are_read_with_their_options() {
        let pacs: PacsSpec = "pacs=PACS@pacs.example:104,commit,sr,seg,ca=ca.pem".parse().unwrap();
        assert_eq!(pacs.name, "pacs");
        let To::Dicom { ae_title, address, commit: true } = &pacs.to else { panic!("{pacs:?}") };
        assert_eq!((&**ae_title, &**address), ("PACS", "pacs.example:104"));
        assert_eq!((pacs.objects.len(), pacs.ca), (2, Some("ca.pem".into())));
        let web: PacsSpec =
            "web=https://pacs.example/dicom-web,ca=ca.pem,bearer=token".parse().unwrap();
        assert!(matches!(web.to, To::Web { bearer: Some(_), .. }));
    }

    #[test]
    fn mistakes_name_what_was_found() {
        let peer = |text: &str| format!("{:#}", text.parse::<PeerSpec>().unwrap_err());
        assert!(peer("XRAY1@xray.example:104").contains("\"xray.example\" is no address"));
        assert!(peer("XRAY1@10.0.0.1:0").contains("\"0\" is no port"));
        assert!(peer("A TITLE MUCH TOO LONG@10.0.0.1").contains("expected [NAME=]AE"));
        assert!(peer("XRAY1@10.0.0.1,commit").contains("\"commit\" is not known"));
        let pacs = |text: &str| format!("{:#}", text.parse::<PacsSpec>().unwrap_err());
        assert!(pacs("PACS@10.0.0.1:104").contains("expected NAME=AE@HOST:PORT"));
        assert!(pacs("pacs=PACS@10.0.0.1").contains("expected NAME=AE@HOST:PORT"));
        assert!(pacs("pacs=PACS@10.0.0.1:104,comit").contains("\"comit\""));
        assert!(pacs("web=https://x,commit").contains("is not known here"));
    }
}
