//! Which key may do what on this box, and the key of the box itself.
//!
//! ```text
//! keys/box.key         made at the first start; the box is recognised by it
//! keys/box.next.key    made on request; takes its place once a keyring says so
//! keys/enrol.toml      the one-time code, see `code`
//! keys/admitted.toml   keys that were enrolled here, each with a role and a name
//! keys/keyring.toml    the signed list in force, see the crate `keyring`
//! ```
//!
//! A key may do what the keyring says; what the keyring does not know, what `admitted.toml` says; and what the
//! keyring revokes, nothing.

use super::code::{Codes, Refused};
use super::{Config, Folder, held};
use crate::enrolment::Binding;
use crate::link::tls::{Admission, Identity};
use anyhow::{Context, Result, ensure};
use keyring::{KeyError, Keyring, VerifyingKey, fingerprint};
use machine::Machine;
use protocol::{AdmittedKey, Digest, Keys, Refusal, Role};
use serde::{Deserialize, Serialize};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const BOX_KEY: &str = "box";
const NEXT_KEY: &str = "box.next";
const ADMITTED: &str = "admitted.toml";
const KEYRING: &str = "keyring.toml";
/// Longest name of a key that a stranger may give himself.
const LONGEST_NAME: usize = 64;

/// Asked before every request, and changed while sessions run.
#[derive(Debug)]
pub(super) struct Access {
    identity: Mutex<Identity>,
    folder: PathBuf,
    machine: Machine,
    /// Who may sign the first keyring.
    roots: Vec<VerifyingKey>,
    codes: Codes,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    admitted: Vec<Admitted>,
    keyring: Option<Keyring>,
}

/// A key of `admitted.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Admitted {
    key: VerifyingKey,
    role: Role,
    /// For people.
    name: String,
}

/// `admitted.toml` as written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    role: Role,
    #[serde(default)]
    name: String,
}

impl Access {
    /// Opens the folder, which is made with a new key of the box where there is none.
    pub(super) fn open(folder: &Path, roots: &[VerifyingKey], sysroot: &Path) -> Result<Self> {
        // Nobody else may change what is in the folder. The group may look, where whoever made it has said so: the daemon
        // reads the keyring. What is secret is for the owner alone, file by file.
        let close = || match fs::metadata(folder)?.permissions().mode() & 0o027 {
            0 => Ok(()),
            _ => fs::set_permissions(folder, Permissions::from_mode(0o700)),
        };
        let made = durable::create_folders(folder).and_then(|()| close());
        made.with_context(|| format!("cannot use {}", folder.display()))?;
        let path = folder.join(KEYRING);
        let keyring = path.exists().then(|| Keyring::read(&path)).transpose()?;
        let signed = keyring.as_ref().map(Keyring::check_signed).transpose();
        signed.with_context(|| path.display().to_string())?;
        let mut key = box_key(&folder.join(BOX_KEY))?;
        // The power went between the keyring and the key.
        match keyring.as_ref().map_or(Ok(None), |keyring| waits_for(keyring, &key, folder)) {
            Ok(None) => {}
            Ok(Some(next)) => {
                take_next_key(folder)?;
                key = next;
            }
            // Who follows the keyring does not know this box any more; others may, and help.
            Err(error) => log::error!("{}: {error:#}", path.display()),
        }
        let known = Known { admitted: read(&folder.join(ADMITTED))?, keyring };
        Ok(Self {
            identity: Mutex::new(Identity::new(&key)),
            folder: folder.to_owned(),
            machine: Machine::new(sysroot),
            roots: roots.to_vec(),
            codes: Codes::of(folder),
            known: Mutex::new(known),
        })
    }

    /// The box's key, in force for every handshake from now on.
    pub(super) fn identity(&self) -> Identity {
        held(&self.identity).clone()
    }

    /// The key that waits to replace the box's; made if none does.
    pub(super) fn next_key(&self) -> Result<VerifyingKey> {
        // One at a time: two would make two.
        let _known = held(&self.known);
        Ok(box_key(&self.folder.join(NEXT_KEY))?.verifying_key())
    }

    /// What a key may do; none: it is a stranger's, or revoked.
    pub(super) fn role(&self, key: &VerifyingKey) -> Option<Role> {
        held(&self.known).role(key)
    }

    /// Draws a code if nobody may do anything yet. Returns the file to look it up in.
    pub(super) fn draw_first_code(&self) -> Result<Option<PathBuf>> {
        {
            let known = held(&self.known);
            if !known.admitted.is_empty() || known.keyring.is_some() {
                return Ok(None);
            }
        }
        self.codes.draw(Role::Administer, &self.machine.moment())?;
        Ok(Some(self.folder.join("enrol.toml")))
    }

    /// Admits a stranger who proves to know the code; returns the box's proof.
    pub(super) fn enrol(
        &self,
        proof: &Digest,
        name: &str,
        binding: &Binding,
    ) -> Result<(Role, Digest), Refusal> {
        let failed = |error: anyhow::Error| Refusal::Disk { detail: format!("{error:#}") };
        let refused = |detail: String| Refusal::Enrolment { detail };
        if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
            let detail = format!("a name has at most {LONGEST_NAME} characters, none of control");
            return Err(refused(detail));
        }
        let key = binding.workstation;
        if held(&self.known).is_revoked(&key) {
            return Err(refused("this key is revoked".into()));
        }
        let now = self.machine.moment();
        let admit = |role| self.admit(Admitted { key, role, name: name.to_owned() });
        let taken = self.codes.take(&proof.0, binding, &now, admit).map_err(failed)?;
        match taken {
            Ok((role, proof)) => {
                log::info!("enrolled key {} as {role}, {name:?}", fingerprint(&key));
                Ok((role, Digest(proof)))
            }
            Err(Refused::Closed) => Err(refused(
                "the box waits for no enrolment: draw a code at the box by `firmware-host code`"
                    .into(),
            )),
            Err(Refused::Wrong { tries_left }) => {
                log::warn!("a wrong enrolment code; {tries_left} tries left");
                Err(refused(format!("the code is wrong; {tries_left} tries left")))
            }
        }
    }

    /// Puts a newer keyring in force, durably. Returns its version; the same one again is no error.
    pub(super) fn apply(&self, text: &str) -> Result<String, Refusal> {
        let refused = |detail: String| Refusal::Keyring { detail };
        let new = Keyring::parse(text).map_err(|error| refused(error.to_string()))?;
        let mut known = held(&self.known);
        let may = match &known.keyring {
            Some(current) if current.text() == text => return Ok(new.version()),
            Some(current) => new.may_replace(current),
            None => new.may_begin(&self.roots),
        };
        may.map_err(|error| refused(error.to_string()))?;
        let disk = |error: anyhow::Error| Refusal::Disk { detail: format!("{error:#}") };
        let current = read_box_key(&self.folder, BOX_KEY).map_err(disk)?;
        let next = waits_for(&new, &current, &self.folder);
        let next = next.map_err(|error| refused(format!("{error:#}")))?;
        durable::write(&self.folder.join(KEYRING), text.as_bytes())
            .map_err(|error| Refusal::Disk { detail: error.to_string() })?;
        if let Some(next) = next {
            take_next_key(&self.folder).map_err(disk)?;
            log::warn!("the box's key is {} now", fingerprint(&next.verifying_key()));
            *held(&self.identity) = Identity::new(&next);
        }
        let version = new.version();
        log::info!("keyring {version} is in force");
        known.keyring = Some(new);
        Ok(version)
    }

    /// Who may sign bundles.
    pub(super) fn bundle_keys(&self, configured: &[VerifyingKey]) -> Vec<VerifyingKey> {
        keyring::bundle_keys(configured, held(&self.known).keyring.as_ref())
    }

    /// For people.
    pub(super) fn keys(&self) -> Keys {
        let known = held(&self.known);
        let admitted = |Admitted { key, role, name }: &Admitted| AdmittedKey {
            key: Digest(key.to_bytes()),
            role: *role,
            name: name.clone(),
        };
        Keys {
            keyring: known.keyring.as_ref().map(|keyring| keyring.text().to_owned()),
            admitted: known.admitted.iter().map(admitted).collect(),
        }
    }

    /// Lets a key in, durably; instead of what it was before.
    fn admit(&self, new: Admitted) -> Result<()> {
        let mut known = held(&self.known);
        let mut next = known.admitted.clone();
        next.retain(|admitted| admitted.key != new.key);
        next.push(new);
        let path = self.folder.join(ADMITTED);
        durable::write(&path, text(&next).as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        known.admitted = next;
        Ok(())
    }
}

impl Admission for Access {
    /// Whoever may do something; and a stranger while there is a code he may know.
    fn admits(&self, key: &VerifyingKey) -> bool {
        if held(&self.known).is_revoked(key) {
            return false;
        }
        let waits = || self.codes.is_open(key, &self.machine.moment());
        self.role(key).is_some() || waits()
    }
}

impl Known {
    fn is_revoked(&self, key: &VerifyingKey) -> bool {
        self.keyring.as_ref().is_some_and(|keyring| keyring.is_revoked(key))
    }

    fn role(&self, key: &VerifyingKey) -> Option<Role> {
        if self.is_revoked(key) {
            return None;
        }
        let listed = self.keyring.as_ref().and_then(|keyring| keyring.role(key));
        let admitted = || self.admitted.iter().find(|known| known.key == *key);
        listed.or_else(|| admitted().map(|known| known.role))
    }
}

/// Draws a code for the agent whose keys are in `folder`; the agent may run meanwhile.
pub fn draw_code(folder: &Path, role: Role, sysroot: &Path) -> Result<crate::enrolment::Code> {
    ensure!(folder.is_dir(), "{}: found no folder of keys; start the agent once", folder.display());
    Codes::of(folder).draw(role, &Machine::new(sysroot).moment())
}

/// Puts a keyring in force where no agent runs: for a box whose link nobody can open any more.
pub fn install_keyring(config: &Config, text: &str) -> Result<String> {
    let alone = Folder::open(&config.slots);
    let _alone = alone.with_context(|| format!("cannot use {}", config.slots.display()))?;
    let access = Access::open(&config.keys, &config.roots, &config.sysroot)?;
    Ok(access.apply(text)?)
}

/// The key of ours that this keyring puts in the place of `current`, if it does. Fails if we do not have it: nobody would
/// know the box any more.
fn waits_for(
    keyring: &Keyring,
    current: &keyring::SigningKey,
    folder: &Path,
) -> Result<Option<keyring::SigningKey>> {
    let current = current.verifying_key();
    let Some(wanted) = keyring.contents.boxes.iter().find(|own| own.replaces == current) else {
        return Ok(None);
    };
    let wanted = fingerprint(&wanted.key);
    let next = read_box_key(folder, NEXT_KEY)
        .with_context(|| format!("it replaces the key of this box by {wanted}"))?;
    let found = fingerprint(&next.verifying_key());
    ensure!(
        found == wanted,
        "it replaces the key of this box by {wanted}, and the one that waits here is {found}"
    );
    Ok(Some(next))
}

fn read_box_key(folder: &Path, name: &str) -> Result<keyring::SigningKey> {
    Ok(keyring::read_private_key(&folder.join(name).with_added_extension("key"))?)
}

/// The next key is the box's; the one before is gone.
fn take_next_key(folder: &Path) -> Result<()> {
    let path = |name: &str| folder.join(name).with_added_extension("key");
    fs::rename(path(NEXT_KEY), path(BOX_KEY))
        .and_then(|()| durable::sync_folder(folder))
        .with_context(|| format!("cannot rename {}", path(NEXT_KEY).display()))
}

/// The box's key; made where there is none, and never again in place of one that cannot be read.
fn box_key(name: &Path) -> Result<keyring::SigningKey> {
    let private = name.with_added_extension("key");
    match keyring::read_private_key(&private) {
        Err(KeyError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {}
        read => return Ok(read?),
    }
    let key = keyring::generate()?;
    keyring::write_private_key(&private, &key)?;
    log::info!("made {}: {}", private.display(), fingerprint(&key.verifying_key()));
    Ok(key)
}

fn read(path: &Path) -> Result<Vec<Admitted>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Vec<Admitted>> {
    let file: File = toml::from_str(text)?;
    let mut admitted: Vec<Admitted> = Vec::new();
    for Line { key, role, name } in file.key {
        let key = keyring::public_key(&key)?;
        let twice = admitted.iter().any(|known| known.key == key);
        ensure!(!twice, "key {} stands there twice", fingerprint(&key));
        admitted.push(Admitted { key, role, name });
    }
    Ok(admitted)
}

fn text(admitted: &[Admitted]) -> String {
    let line = |Admitted { key, role, name }: &Admitted| Line {
        key: fingerprint(key),
        role: *role,
        name: name.clone(),
    };
    let file = File { key: admitted.iter().map(line).collect() };
    let text = toml::to_string(&file).expect("strings are TOML");
    format!("# Keys that were enrolled at this box. Read at its start.\n{text}")
}
