//! The workstation's key, and those of the boxes it knows.

use crate::address::{Address, Way};
use anyhow::{Context, Result, ensure};
use clap::Args;
use firmware_host::known_boxes;
use firmware_host::link::Link;
use firmware_host::link::tls::Identity;
use keyring::VerifyingKey;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug, Args)]
pub(crate) struct Keys {
    /// Our private key (PEM) [default: ~/.config/cxr-edge/link.key]
    #[arg(long, env = "CXR_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Boxes and their keys, a line each [default: ~/.config/cxr-edge/known_boxes]
    #[arg(long, env = "CXR_KNOWN_BOXES", value_name = "FILE")]
    known_boxes: Option<PathBuf>,
    /// The box's public key (hexadecimal, or a file with it), whatever the list says
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    box_key: Option<VerifyingKey>,
    /// A serial line or pty without TLS (`plain = true` at the box), which may no more than report
    #[arg(long)]
    plain: bool,
}

impl Keys {
    pub(crate) fn connect(&self, address: &Address, time: Duration) -> Result<Box<dyn Link>> {
        if self.plain {
            return Ok(address.connect_plain()?.link);
        }
        let box_key = Some(self.box_key(address)?);
        Ok(address.connect(&self.identity()?, box_key, time)?.link)
    }

    /// The same for one of several boxes, whose key may be known already.
    pub(crate) fn for_box(&self, key: Option<VerifyingKey>) -> Self {
        Self { box_key: key.or(self.box_key), ..self.clone() }
    }

    /// Connects to a box that has yet to prove who it is, unless its key is given.
    pub(crate) fn meet(&self, address: &Address, time: Duration) -> Result<Way> {
        ensure!(!self.plain, "{address}: enrolment needs TLS, found --plain");
        address.connect(&self.identity()?, self.box_key, time)
    }

    pub(crate) fn identity(&self) -> Result<Identity> {
        let key = keyring::read_private_key(&self.key()?);
        let key = key.context("no key to show the box: `firmware-host keygen` makes one")?;
        Ok(Identity::new(&key))
    }

    /// Which key a box at this address has to show.
    pub(crate) fn box_key(&self, address: &Address) -> Result<VerifyingKey> {
        if let Some(key) = self.box_key {
            return Ok(key);
        }
        let list = self.known_boxes()?;
        known_boxes::look_up(&list, &address.to_string())?.with_context(|| {
            format!(
                "{address} is not in {}: enrol with the box's one-time code, or compare keys and give --box-key",
                list.display()
            )
        })
    }

    pub(crate) fn key(&self) -> Result<PathBuf> {
        self.key.clone().map_or_else(|| configured("link.key"), Ok)
    }

    pub(crate) fn known_boxes(&self) -> Result<PathBuf> {
        self.known_boxes.clone().map_or_else(|| configured("known_boxes"), Ok)
    }
}

/// Where a person keeps the settings of programs.
pub(crate) fn configured(name: &str) -> Result<PathBuf> {
    let folder = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let folder = folder.filter(|folder| folder.is_absolute()).or_else(home);
    let folder = folder.context("neither HOME nor XDG_CONFIG_HOME is set: say where keys are")?;
    Ok(folder.join("cxr-edge").join(name))
}

pub(crate) fn public_key(text: &str) -> Result<VerifyingKey, String> {
    let key = keyring::public_key(text).or_else(|_| keyring::read_public_key(Path::new(text)));
    key.map_err(|error| {
        format!("{error}: neither a key of 64 hexadecimal digits nor a file with one")
    })
}
