//! `runtime shadow work`: the process in which the second bundle runs. The daemon starts it; nobody else needs to.
//!
//! A key of the spool on each line of standard input, a [`Said`] on each line of standard output. The end of the
//! input is its end.

use crate::{
    config::BundleConfig,
    model::{self, BundleFile},
    panics_without_their_words, print_json,
    profile::Threads,
    spool::Key,
};
use anyhow::{Context, Result};
use clap::Args;
use protocol::Digest;
use results::{BundleId, Record};
use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
    time::Duration,
};

/// What the process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Said {
    /// The bundle is loaded.
    Ready(BundleId),
    /// What came of an image.
    Found(Box<Record>),
    /// It cannot be loaded, or cannot look at the image.
    Refused(String),
}

/// What the process is to do.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct Order {
    #[arg(long)]
    bundle: PathBuf,
    /// SHA-256 that the file must have
    #[arg(long, value_parser = digest)]
    sha256: Option<Digest>,
    #[arg(long = "trusted-key")]
    trusted_keys: Vec<String>,
    #[arg(long)]
    keyring: Option<PathBuf>,
    #[arg(long)]
    allow_unsigned: bool,
    /// Folder of the images
    #[arg(long)]
    images: PathBuf,
    #[arg(long)]
    max_memory_bytes: u64,
}

fn digest(text: &str) -> Result<Digest, hex::FromHexError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)?;
    Ok(Digest(bytes))
}

/// The least urgent there is.
const NICENESS: i32 = 19;

impl Order {
    pub(super) fn new(
        file: &BundleFile,
        trust: &BundleConfig,
        images: PathBuf,
        max_memory_bytes: u64,
    ) -> Self {
        Self {
            bundle: file.path.clone(),
            sha256: file.sha256,
            trusted_keys: trust.trusted_keys.clone(),
            keyring: trust.keyring.clone(),
            allow_unsigned: trust.allow_unsigned,
            images,
            max_memory_bytes,
        }
    }

    /// The command line that says the same.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = ["shadow", "work", "--bundle"].map(Into::into).into();
        line.push(self.bundle.clone().into());
        if let Some(digest) = &self.sha256 {
            line.extend(["--sha256".into(), digest.to_string().into()]);
        }
        for key in &self.trusted_keys {
            line.extend(["--trusted-key".into(), key.into()]);
        }
        if let Some(path) = &self.keyring {
            line.extend(["--keyring".into(), path.clone().into()]);
        }
        line.extend(self.allow_unsigned.then(|| "--allow-unsigned".into()));
        line.extend(["--images".into(), self.images.clone().into()]);
        line.extend(["--max-memory-bytes".into(), self.max_memory_bytes.to_string().into()]);
        line
    }

    /// Works until standard input ends.
    pub(crate) fn run(self) -> Result<()> {
        panics_without_their_words();
        self.step_back()?;
        let config = BundleConfig {
            path: Some(self.bundle.clone()),
            slots: None,
            trusted_keys: self.trusted_keys.clone(),
            keyring: self.keyring.clone(),
            allow_unsigned: self.allow_unsigned,
            poll_seconds: Duration::from_secs(1),
            test_seconds: Duration::MAX,
        };
        let file = BundleFile { path: self.bundle.clone(), sha256: self.sha256 };
        let (loaded, about) = match model::load(&config, &Threads::unbound(1), &file) {
            Ok(loaded) => loaded,
            Err(error) => return print_json(&Said::Refused(format!("{error:#}"))),
        };
        let model::About { id, digest, version, packs, .. } = about;
        print_json(&Said::Ready(BundleId { id, digest, version, packs }))?;
        for line in io::stdin().lock().lines() {
            let line = line.context("standard input cannot be read")?;
            let found = self.image(&line).and_then(|bytes| loaded.analyse(&line, &bytes));
            print_json(&match found {
                Ok(analysis) => Said::Found(Box::new(analysis.report)),
                Err(error) => Said::Refused(format!("{error:#}")),
            })?;
        }
        Ok(())
    }

    /// Behind everybody else, within its memory, and gone with whoever started it.
    fn step_back(&self) -> Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .context("cannot ask to end with the daemon")?;
        rustix::process::setpriority_process(None, NICENESS).context("cannot step back")?;
        // Where the kernel does not let us: then it is chosen by size, like everybody else.
        if let Err(error) = fs::write("/proc/self/oom_score_adj", "1000") {
            log::warn!("the shadow is not the first to go when memory runs out: {error}");
        }
        let most = Some(self.max_memory_bytes);
        let limit = Rlimit { current: most, maximum: most };
        rustix::process::setrlimit(Resource::As, limit).context("cannot limit its memory")
    }

    fn image(&self, key: &str) -> Result<Vec<u8>> {
        let key = Key::of_file(Path::new(key)).context("no key of the spool")?;
        let path = self.images.join(key.name()).with_added_extension("dcm");
        fs::read(path).with_context(|| format!("cannot read {}", key.label()))
    }
}
