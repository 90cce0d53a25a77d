//! `keyring show|make|sign|apply`.

use crate::Target;
use crate::output::Output;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use firmware_host::agent::{self, Config};
use keyring::{Contents, LinkKey, VerifyingKey, fingerprint};
use protocol::{AdmittedKey, Keys, Role};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Keyring {
    Show(Show),
    Make(Box<Make>),
    Sign(Sign),
    Apply(Apply),
    Install(Install),
}

/// Prints the keyring in force at a box, and the keys enrolled there
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    target: Target,
}

/// Writes the next version, unsigned; from nothing, or from the one in force
#[derive(Debug, Args)]
pub(crate) struct Make {
    /// The one in force
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// A new epoch, which takes the signature of an emergency key
    #[arg(long, requires = "from")]
    new_epoch: bool,
    /// May sign the next keyring; each of these takes a public key, as digits or a file, and may be repeated
    #[arg(long, value_name = "KEY", value_parser = crate::keys::public_key)]
    root: Vec<VerifyingKey>,
    /// Kept offline; may sign the next epoch
    #[arg(long, value_name = "KEY", value_parser = crate::keys::public_key)]
    emergency: Vec<VerifyingKey>,
    /// May sign bundles
    #[arg(long, value_name = "KEY", value_parser = crate::keys::public_key)]
    bundle: Vec<VerifyingKey>,
    /// May do on the link what its role may: ROLE:KEY, or ROLE:KEY:NAME
    #[arg(long, value_name = "LINK", value_parser = link_key)]
    link: Vec<LinkKey>,
    /// May nothing more, for ever
    #[arg(long, value_name = "KEY", value_parser = crate::keys::public_key)]
    revoke: Vec<VerifyingKey>,
    /// Where to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Adds a signature to a keyring
#[derive(Debug, Args)]
pub(crate) struct Sign {
    file: PathBuf,
    /// Private key (PEM): a root, or an emergency key
    #[arg(long, value_name = "FILE")]
    with: PathBuf,
}

/// Puts a signed keyring in force at a box
#[derive(Debug, Args)]
pub(crate) struct Apply {
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

/// Puts a signed keyring in force at this box, whose agent is stopped: when no key opens the link any more
#[derive(Debug, Args)]
pub(crate) struct Install {
    file: PathBuf,
    /// Of the agent
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Keyring {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        match self {
            Self::Show(verb) => verb.run(output),
            Self::Make(verb) => verb.run(output),
            Self::Sign(verb) => verb.run(output),
            Self::Apply(verb) => verb.run(output),
            Self::Install(verb) => verb.run(output),
        }
    }
}

impl Show {
    fn run(self, output: Output) -> Result<()> {
        let Keys { keyring, admitted } = self.target.with(|device| Ok(device.keys()?))?;
        let lines = admitted
            .iter()
            .map(|AdmittedKey { key, role, name }| format!("enrolled: {key} {role} {name:?}\n"));
        let lines: String = lines.collect();
        let text = format!("{lines}{}", keyring.as_deref().unwrap_or("no keyring"));
        let admitted: Vec<_> = admitted
            .iter()
            .map(
                |AdmittedKey { key, role, name }| json!({ "key": key, "role": role, "name": name }),
            )
            .collect();
        output.say(text.trim_end(), &json!({ "keyring": keyring, "enrolled": admitted }))
    }
}

impl Make {
    fn run(self, output: Output) -> Result<()> {
        let mut next = match &self.from {
            Some(path) => keyring::Keyring::read(path)?.contents,
            None => Contents::default(),
        };
        if self.new_epoch {
            (next.epoch, next.version) = (next.epoch + 1, 0);
        }
        next.version += 1;
        // A key that comes again comes with what is said now; a revoked one not at all.
        let links: Vec<_> = self.link.iter().map(|link| link.key).collect();
        let said = [&self.root, &self.emergency, &self.bundle, &links, &self.revoke];
        let is_said = |key: &VerifyingKey| said.iter().any(|keys| keys.contains(key));
        let lists = [&mut next.roots, &mut next.emergency, &mut next.bundles, &mut next.revoked];
        let new =
            [self.root.clone(), self.emergency.clone(), self.bundle.clone(), self.revoke.clone()];
        for (list, new) in lists.into_iter().zip(new) {
            list.retain(|key| !is_said(key));
            list.extend(new);
        }
        next.links.retain(|link| !is_said(&link.key));
        next.links.extend(self.link);
        let keyring = keyring::Keyring::new(next)?;
        write(&self.out, &keyring)?;
        let text = format!("{}: version {}, not signed yet", self.out.display(), keyring.version());
        output.say(&text, &json!({ "keyring": self.out, "version": keyring.version() }))
    }
}

impl Sign {
    fn run(self, output: Output) -> Result<()> {
        let key = keyring::read_private_key(&self.with)?;
        let mut keyring = keyring::Keyring::read(&self.file)?;
        keyring.sign(&key);
        write(&self.file, &keyring)?;
        let signers: Vec<_> = keyring.signers().iter().map(fingerprint).collect();
        let text = format!("{}: signed by {}", self.file.display(), signers.join(", "));
        output.say(&text, &json!({ "keyring": self.file, "signers": signers }))
    }
}

impl Apply {
    fn run(self, output: Output) -> Result<()> {
        let keyring = keyring::Keyring::read(&self.file)?;
        self.target.with(|device| Ok(device.apply_keyring(keyring.text())?))?;
        let version = keyring.version();
        let text = format!("{}: keyring {version} is in force", self.target.device);
        output.say(&text, &json!({ "version": version }))
    }
}

impl Install {
    fn run(self, output: Output) -> Result<()> {
        let keyring = keyring::Keyring::read(&self.file)?;
        let version = agent::install_keyring(&Config::read(&self.config)?, keyring.text())?;
        output.say(&format!("keyring {version} is in force"), &json!({ "version": version }))
    }
}

fn write(path: &Path, keyring: &keyring::Keyring) -> Result<()> {
    durable::write(path, keyring.text().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// `ROLE:KEY` or `ROLE:KEY:NAME`.
fn link_key(text: &str) -> Result<LinkKey, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(role), Some(key)) = (parts.next(), parts.next()) else {
        return Err("expected ROLE:KEY or ROLE:KEY:NAME".into());
    };
    let (role, key) = (role.parse::<Role>()?, crate::keys::public_key(key)?);
    Ok(LinkKey { key, role, name: parts.next().unwrap_or_default().into() })
}
