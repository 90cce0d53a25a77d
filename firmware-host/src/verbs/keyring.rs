//! `keyring show|next-key|make|sign|apply|follow|install`.

use crate::Target;
use crate::output::Output;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use firmware_host::agent::{self, Config};
use firmware_host::known_boxes;
use keyring::{BoxKey, Contents, LinkKey, VerifyingKey, fingerprint};
use protocol::{AdmittedKey, Keys, Role};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Keyring {
    Show(Show),
    NextKey(NextKey),
    Make(Box<Make>),
    Sign(Sign),
    Apply(Apply),
    Follow(Follow),
    Install(Install),
}

/// Prints the keyring in force at a box, and the keys enrolled there
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    target: Target,
}

/// Has a box make the key that is to replace its own; prints both as `make --box` takes them
#[derive(Debug, Args)]
pub(crate) struct NextKey {
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
    /// A box's key and the one that replaces it, OLD:NEW, as `next-key` prints them
    #[arg(long = "box", value_name = "KEYS", value_parser = box_key)]
    boxes: Vec<BoxKey>,
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

/// Takes over, into the list of known boxes, the keys that a keyring says boxes have now
#[derive(Debug, Args)]
pub(crate) struct Follow {
    file: PathBuf,
    /// Who must have signed it
    #[arg(long, value_name = "KEY", value_parser = crate::keys::public_key)]
    root: VerifyingKey,
    #[command(flatten)]
    keys: crate::keys::Keys,
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
            Self::NextKey(verb) => verb.run(output),
            Self::Make(verb) => verb.run(output),
            Self::Sign(verb) => verb.run(output),
            Self::Apply(verb) => verb.run(output),
            Self::Follow(verb) => verb.run(output),
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

impl NextKey {
    fn run(self, output: Output) -> Result<()> {
        let next = self.target.with(|device| Ok(device.next_key()?))?;
        let current = fingerprint(&self.target.keys.box_key(&self.target.device)?);
        let device = self.target.device.to_string();
        let document = json!({ "device": device, "current": current, "next": next });
        output.say(&format!("{current}:{next}"), &document)
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
        let is_new = |own: &BoxKey| self.boxes.iter().any(|new| new.replaces == own.replaces);
        next.boxes.retain(|own| !is_new(own) && !is_said(&own.key));
        next.boxes.extend(self.boxes);
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
        // It is in force, so the box has the key that it says; where the list knew the old one, it knows this one now.
        let (list, address) = (self.target.keys.known_boxes()?, self.target.device.to_string());
        let known = known_boxes::look_up(&list, &address)?;
        if let Some(key) = known.and_then(|key| keyring.successor(&key)) {
            known_boxes::pin(&list, &address, &key)?;
        }
        let version = keyring.version();
        let text = format!("{}: keyring {version} is in force", self.target.device);
        output.say(&text, &json!({ "version": version }))
    }
}

impl Follow {
    fn run(self, output: Output) -> Result<()> {
        let keyring = keyring::Keyring::read(&self.file)?;
        let (file, root) = (self.file.display(), fingerprint(&self.root));
        ensure!(keyring.signers().contains(&self.root), "{file}: not signed by {root}");
        ensure!(keyring.contents.roots.contains(&self.root), "{file}: {root} is no root of it");
        let list = self.keys.known_boxes()?;
        let replaced = known_boxes::replace(&list, |key| keyring.successor(key))?;
        let text = match &replaced[..] {
            [] => format!("{}: no box has another key", list.display()),
            boxes => format!("{}: another key of {}", list.display(), boxes.join(", ")),
        };
        output.say(&text, &json!({ "replaced": replaced, "version": keyring.version() }))
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

/// `OLD:NEW`.
fn box_key(text: &str) -> Result<BoxKey, String> {
    let (replaces, key) = text.split_once(':').ok_or("expected OLD:NEW")?;
    let (replaces, key) = (crate::keys::public_key(replaces)?, crate::keys::public_key(key)?);
    Ok(BoxKey { key, replaces })
}
