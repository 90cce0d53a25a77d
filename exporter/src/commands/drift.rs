//! `exporter drift`: gives a bundle, or another one, a reference to notice drift by.

use crate::{
    read::images::ImageSet,
    verify::Network,
    write::{self, drift},
};
use anyhow::{Result, ensure};
use bundle::{Bundle, section};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use terminal::Terminal;

/// Puts into a bundle how images look that are as they should be; the box tells when others come
#[derive(Debug, Args)]
pub(crate) struct Drift {
    bundle: PathBuf,
    /// Images as they should be: a folder, or an index (its test split is never used)
    #[arg(long, value_name = "DIR|INDEX")]
    calibration: PathBuf,
    /// At most this many images, spread evenly
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    images_limit: u64,
    /// Bundle to write; its digest is another one, and what signed the old one does not sign it
    #[arg(long, value_name = "FILE", required_unless_present = "dump")]
    out: Option<PathBuf>,
    /// Private key (PEM) to sign with, from `exporter keygen`
    #[arg(long, value_name = "KEY", requires = "out")]
    sign: Option<PathBuf>,
    /// Write the numbers of each image, JSON, one a line
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
}

impl Drift {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let key = self.sign.as_deref().map(keyring::read_private_key).transpose()?;
        let bundle = Bundle::open(&self.bundle)?;
        let manifest = bundle.manifest.clone();
        let network = Network::open(&manifest.float_nodes, bundle.require(section::MODEL)?)?;
        let images = ImageSet::find(&self.calibration, self.images_limit as usize)?;
        let progress = terminal.progress(0).with_message("looking");
        let gathered = drift::gather(&network, &manifest, &images, &progress)?;
        let count = gathered.len();
        if let Some(path) = &self.dump {
            let line = |(image, gathered)| json!({ "image": image, "gathered": gathered });
            let lines: Vec<String> =
                gathered.iter().map(|(image, one)| line((image, one)).to_string() + "\n").collect();
            write::file(path, lines.concat().as_bytes())?;
        }
        let Some(out) = &self.out else {
            let document = json!({ "dump": self.dump, "images": count });
            return terminal.print(&document, &format!("{count} images"));
        };
        let reference = drift::reference(&manifest, gathered)?;
        let names = manifest.sections.iter().map(|entry| entry.name.clone());
        let mut sections = Vec::new();
        for name in names.filter(|name| name != section::DRIFT) {
            let bytes = bundle.section(&name).map(<[u8]>::to_vec);
            ensure!(bytes.is_some(), "{}: no section {name}", self.bundle.display());
            sections.extend(bytes.map(|bytes| (name, bytes)));
        }
        let size = reference.len();
        sections.push((section::DRIFT.to_owned(), reference));
        let sealed = Bundle::seal(manifest, sections, key.as_ref())?;
        write::file(out, &sealed.to_bytes()?)?;
        let document = json!({
            "bundle": out, "digest": sealed.digest(), "images": count, "reference_bytes": size,
            "signed": sealed.signature().is_some(),
        });
        let text =
            format!("{}: {count} images, {size} bytes\ndigest {}", out.display(), sealed.digest());
        terminal.print(&document, &text)
    }
}
