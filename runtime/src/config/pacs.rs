//! `[pacs]` of `acceptance.toml`: the archive that a site's studies are pulled from.

use super::{Credentials, DicomConfig, destinations, duration, is_ae_title, seconds};
use crate::tls::{
    ServerTls,
    client::{ClientTls, Connector, client},
};
use anyhow::{Context, Result, bail, ensure};
use axum::http::Uri;
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// An archive as it may be relied on: everything that contradicts itself was refused.
#[derive(Clone, Debug)]
pub(crate) struct Pacs {
    pub(crate) archive: Archive,
    /// Whom we trust there, and who we are.
    tls: Option<ClientTls>,
    /// Series of others are not asked for.
    pub(crate) modalities: Vec<String>,
    /// Connecting, one answer; of C-MOVE also from one object to the next.
    pub(crate) timeout: Duration,
}

/// How to ask it.
#[derive(Clone, Debug)]
pub(crate) enum Archive {
    /// C-FIND and C-MOVE.
    Dicom {
        ae_title: String,
        address: String,
        /// Where it sends what we ask for, and whom we let in there.
        door: Box<DicomConfig>,
    },
    /// QIDO-RS and WADO-RS; the path ends in `/studies`.
    Web { url: Uri, credentials: Option<Credentials> },
}

impl Pacs {
    /// Relative paths are relative to `base`.
    pub(crate) fn read(table: &toml::Table, base: &Path) -> Result<Self> {
        let written = table.clone().try_into::<Written>().map_err(anyhow::Error::new);
        written.and_then(|written| checked(written, base)).context("[pacs]")
    }

    /// What connections need for TLS; `None`: they are plain.
    pub(crate) fn connector(&self) -> Result<Option<Connector>> {
        self.tls.as_ref().map(client).transpose().context("[pacs]")
    }
}

/// As it stands in the plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    ae_title: Option<String>,
    address: Option<String>,
    calling: Option<String>,
    listen: Option<SocketAddr>,
    listen_tls: Option<ServerTls>,
    sender: Option<String>,
    url: Option<String>,
    tls: Option<ClientTls>,
    bearer_file: Option<PathBuf>,
    basic_file: Option<PathBuf>,
    #[serde(default = "usual_modalities")]
    modalities: Vec<String>,
    #[serde(default = "seconds::<60>", deserialize_with = "duration")]
    timeout_seconds: Duration,
}

/// Radiographs.
fn usual_modalities() -> Vec<String> {
    ["CR", "DX"].map(Into::into).into()
}

fn checked(mut written: Written, base: &Path) -> Result<Pacs> {
    let mut credentials = Credentials::of(written.bearer_file.take(), written.basic_file.take())?;
    let server = written.listen_tls.iter_mut().flat_map(ServerTls::paths);
    let client = written.tls.iter_mut().flat_map(ClientTls::paths);
    for path in server.chain(client).chain(credentials.as_mut().map(Credentials::path)) {
        *path = base.join(&*path);
    }
    let is_code = |code: &String| {
        let known = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_ ".contains(&b);
        (1..=16).contains(&code.len()) && code.bytes().all(known)
    };
    ensure!(
        !written.modalities.is_empty() && written.modalities.iter().all(is_code),
        "modalities is {:?}, expected some such as \"CR\", \"DX\"",
        written.modalities
    );
    let (modalities, timeout) = (written.modalities.clone(), written.timeout_seconds);
    let tls = written.tls.clone();
    let archive = match (&written.address, &written.url) {
        (Some(_), Some(_)) => bail!("`address` and `url`: expected one of the two"),
        (None, None) => {
            bail!("expected `address` (C-FIND and C-MOVE) or `url` (QIDO-RS and WADO-RS)")
        }
        (Some(_), None) => {
            ensure!(credentials.is_none(), "`address` with a secret: only DICOMweb knows them");
            dicom(written)?
        }
        (None, Some(url)) => {
            let ours = written.calling.is_some() || written.sender.is_some();
            let door = written.listen.is_some() || written.listen_tls.is_some();
            ensure!(
                written.ae_title.is_none() && !ours && !door,
                "`url` with `ae_title`, `calling`, `sender`, `listen` or `listen_tls`: only C-MOVE knows them"
            );
            let url = destinations::web(url, tls.is_some(), credentials.is_some())?;
            ensure!(
                url.path().ends_with("/studies"),
                "url is {url}, expected that of a server, or of all its studies"
            );
            Archive::Web { url, credentials }
        }
    };
    Ok(Pacs { archive, tls, modalities, timeout })
}

fn dicom(written: Written) -> Result<Archive> {
    let address = written.address.context("expected `address`")?;
    let ae_title = written.ae_title.context("`address` needs `ae_title`")?;
    destinations::check_address(&ae_title, &address)?;
    let calling = written.calling.context(
        "`address` needs `calling`: our AE title, under which the archive knows where to send",
    )?;
    let listen = written.listen.context(
        "`address` needs `listen`: where the archive sends what we ask for, as it has it for our AE title",
    )?;
    ensure!(listen.port() != 0, "listen is {listen}, expected the port that the archive knows");
    let sender = written.sender.unwrap_or_else(|| ae_title.clone());
    for (what, title) in [("calling", &calling), ("sender", &sender)] {
        ensure!(
            is_ae_title(title),
            "{what} is {title:?}, expected 1 to 16 printable characters without blanks at the ends"
        );
    }
    // What is not said here is as usual for the daemon.
    let peer = toml::Table::from_iter([("ae_title".to_owned(), sender.into())]);
    let door = toml::Table::from_iter([
        ("listen".to_owned(), listen.to_string().into()),
        ("ae_title".to_owned(), calling.into()),
        ("peers".to_owned(), vec![toml::Value::from(peer)].into()),
    ]);
    let door: DicomConfig = door.try_into().context("our own configuration")?;
    let door = Box::new(DicomConfig { tls: written.listen_tls, ..door });
    Ok(Archive::Dicom { ae_title, address, door })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACS: &str = "ae_title = \"PACS\"\naddress = \"10.0.0.1:104\"\ncalling = \"BOX \\\"1\"\n\
                        listen = \"0.0.0.0:11113\"\n";
    const WEB: &str = "url = \"https://pacs.example/dicom-web\"\ntls = { ca = \"pacs.pem\" }\n";

    fn read(text: &str) -> Result<Pacs> {
        Pacs::read(&toml::from_str(text).unwrap(), Path::new("/etc/site"))
    }

    #[test]
    fn an_archive_is_asked_either_way_and_its_files_lie_beside_the_plan() {
        let pacs =
            read(&format!("{PACS}listen_tls = {{ certificate = \"a\", key = \"b\" }}")).unwrap();
        assert_eq!((&*pacs.modalities.join(" "), pacs.timeout.as_secs()), ("CR DX", 60));
        let Archive::Dicom { door, ae_title, .. } = pacs.archive else { panic!() };
        assert_eq!(
            (&*ae_title, &*door.ae_title, &*door.peers[0].ae_title),
            ("PACS", "BOX \"1", "PACS")
        );
        assert!(door.check_called_ae_title);
        assert_eq!(door.tls.unwrap().key, Path::new("/etc/site/b"));
        let pacs = read(&format!("{WEB}bearer_file = \"token\"\nmodalities = [\"OT\"]")).unwrap();
        let Archive::Web { url, credentials } = pacs.archive else { panic!() };
        assert_eq!(url, "https://pacs.example/dicom-web/studies");
        assert_eq!(credentials, Some(Credentials::Bearer("/etc/site/token".into())));
        assert_eq!(pacs.tls.unwrap().ca, Path::new("/etc/site/pacs.pem"));
    }

    /// The plan with its archive, either way, as `docs/acceptance.md` shows it.
    #[test]
    fn what_the_docs_show_is_a_plan() {
        let docs = include_str!("../../docs/acceptance.md");
        let blocks: Vec<&str> = docs
            .split("```toml\n")
            .skip(1)
            .map(|block| block.split("```").next().unwrap_or_default())
            .collect();
        let [plan, by_move, by_web] = blocks[..] else { panic!("{} blocks", blocks.len()) };
        ::acceptance::Plan::parse(plan, Path::new("")).unwrap();
        // Lines that are commented out are keys too.
        let shown = |text: &str| text.replace("\n# ", "\n");
        let pacs = |text: &str| {
            let file: toml::Table = toml::from_str(&shown(text)).unwrap();
            Pacs::read(file["pacs"].as_table().unwrap(), Path::new("")).unwrap()
        };
        assert!(matches!(pacs(by_move).archive, Archive::Dicom { .. }));
        assert!(matches!(pacs(by_web).archive, Archive::Web { credentials: Some(_), .. }));
        let whole = plan.replace(
            "folder = \"studies\"                      # DICOM files, in whatever folders\n",
            "",
        );
        let whole = ::acceptance::Plan::parse(
            &format!("{whole}{}", &by_move[by_move.find("[pacs]").unwrap()..]),
            Path::new(""),
        );
        assert!(whole.unwrap().pacs.is_some());
    }

    #[test]
    fn mistakes_are_named() {
        let without = |line: &str| {
            let kept = PACS.lines().filter(|own| !own.starts_with(line));
            kept.collect::<Vec<_>>().join("\n")
        };
        for (text, expected) in [
            (String::new(), "expected `address` (C-FIND and C-MOVE) or `url`"),
            (format!("{PACS}url = \"https://x\""), "`address` and `url`: expected one"),
            (without("ae_title"), "`address` needs `ae_title`"),
            (without("calling"), "`address` needs `calling`"),
            (without("listen"), "`address` needs `listen`"),
            (PACS.replace(":11113", ":0"), "expected the port that the archive knows"),
            (PACS.replace(":104", ""), "address is \"10.0.0.1\", expected HOST:PORT"),
            (format!("{PACS}sender = \"MUCH TOO LONG A TITLE\""), "sender is"),
            (format!("{PACS}modalities = []"), "modalities is []"),
            (format!("{PACS}modalities = [\"C*\"]"), "modalities is [\"C*\"]"),
            (format!("{PACS}basic_file = \"a\""), "only DICOMweb knows them"),
            (format!("{PACS}retries = 1"), "unknown field `retries`"),
            (format!("{WEB}calling = \"BOX\""), "only C-MOVE knows them"),
            (WEB.replace("https", "http"), "expected https"),
            (WEB.replace("dicom-web", "dicom-web/studies/1.2"), "or of all its studies"),
        ] {
            let error = format!("{:#}", read(&text).unwrap_err());
            assert!(
                error.starts_with("[pacs]: ") && error.contains(expected),
                "{expected}: {error}"
            );
        }
    }
}
