//! The keyring: one signed text that says who may sign bundles, who may do what on the link, and who no more.
//!
//! ```text
//! format = 1                         TOML, for people to read, compare and keep
//! epoch = 0
//! version = 3                        counts up; no clock
//! roots = ["hex"]                    may sign the next version
//! emergency = ["hex"]                kept offline; may sign the next epoch, with whatever roots
//! bundles = ["hex"]                  may sign bundles
//! revoked = ["hex"]                  may nothing, whatever anybody else says
//! [[link]]                           may do on the link what their role may
//! key = "hex"
//! role = "operate"
//! name = "workshop"
//! [[box]]                            a box's key, and the one it had before
//! key = "hex"
//! replaces = "hex"
//! # signature KEY SIGNATURE          over "cxr-edge keyring\n" and every byte above the first of these lines
//! ```
//!
//! [`Keyring::may_replace`] holds the rules of succession. They are those of The Update Framework, less its
//! clock, and with one addition: the epoch, so that a stolen root cannot count past its owner.

use crate::key::{fingerprint, public_key};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use protocol::Role;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

/// Longest document, in bytes: some 400 keys.
pub const KEYRING_LIMIT: usize = 64 << 10;
const FORMAT: u64 = 1;
const MOST_SIGNATURES: usize = 16;
const SIGNED: &[u8] = b"cxr-edge keyring\n";
const SIGNATURE: &str = "# signature ";

/// Why a document is no keyring, or not the next one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyringError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("{} is not a usable keyring", path.display())]
    Bad { path: PathBuf, source: Box<Self> },

    #[error("{found} bytes, expected at most {KEYRING_LIMIT}")]
    TooLong { found: usize },

    #[error("not a keyring: {reason}")]
    Malformed { reason: String },

    #[error("format {found}, expected {FORMAT}: made for a newer program")]
    Format { found: u64 },

    #[error("line {line:?}, expected `# signature`, a key and a signature")]
    SignatureLine { line: String },

    #[error("the signature of {key} does not fit: the text or the signature was changed")]
    Forged { key: String },

    #[error("key {key} stands in `{first}` and in `{second}`")]
    Twice { key: String, first: &'static str, second: &'static str },

    #[error("`roots` is empty, expected the keys that may sign the next keyring")]
    NoRoots,

    #[error("signed by none of {whose}")]
    Unsigned { whose: &'static str },

    #[error("version {found} is not newer than {current}, the one in force")]
    NotNewer { found: String, current: String },

    #[error("key {key} was revoked and is not any more: a revocation is for ever")]
    Unrevoked { key: String },

    #[error("the emergency keys differ: only an emergency key may change them, with a new epoch")]
    Emergency,

    #[error("this box has no keyring yet, and its configuration names no `roots` to begin with")]
    NoBeginning,
}

/// A key that may do something on the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkKey {
    pub key: VerifyingKey,
    pub role: Role,
    /// For people.
    pub name: String,
}

/// A box's key, and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxKey {
    pub key: VerifyingKey,
    pub replaces: VerifyingKey,
}

/// What a keyring says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub epoch: u64,
    pub version: u64,
    pub roots: Vec<VerifyingKey>,
    pub emergency: Vec<VerifyingKey>,
    pub bundles: Vec<VerifyingKey>,
    pub revoked: Vec<VerifyingKey>,
    pub links: Vec<LinkKey>,
    pub boxes: Vec<BoxKey>,
}

/// A document whose form and signatures are right. Whether it counts is for [`Keyring::may_replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    pub contents: Contents,
    /// Whose signatures it bears.
    signers: Vec<VerifyingKey>,
    text: String,
}

/// The text, taken apart.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u64,
    epoch: u64,
    version: u64,
    roots: Vec<String>,
    #[serde(default)]
    emergency: Vec<String>,
    #[serde(default)]
    bundles: Vec<String>,
    #[serde(default)]
    revoked: Vec<String>,
    #[serde(default)]
    link: Vec<Line>,
    /// Programs from before there were any refuse a text that has some.
    #[serde(default, rename = "box", skip_serializing_if = "Vec::is_empty")]
    boxes: Vec<BoxLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoxLine {
    key: String,
    replaces: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    role: Role,
    #[serde(default)]
    name: String,
}

impl Keyring {
    /// An unsigned document.
    pub fn new(contents: Contents) -> Result<Self, KeyringError> {
        Self::parse(&contents.to_text())
    }

    /// Reads untrusted text; form and every signature are checked here.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        if text.len() > KEYRING_LIMIT {
            return Err(KeyringError::TooLong { found: text.len() });
        }
        let signed = text.find(&format!("\n{SIGNATURE}")).map_or(text.len(), |at| at + 1);
        let (body, signatures) = text.split_at(signed);
        let contents = Contents::parse(body)?;
        let lines = signatures.lines().take(MOST_SIGNATURES + 1);
        let signers: Vec<_> = lines.map(|line| signer(line, body)).collect::<Result<_, _>>()?;
        if signers.len() > MOST_SIGNATURES {
            let reason = format!("more than {MOST_SIGNATURES} signatures");
            return Err(KeyringError::Malformed { reason });
        }
        Ok(Self { contents, signers, text: text.to_owned() })
    }

    /// [`Self::parse`] of a file; errors name the file.
    pub fn read(path: &Path) -> Result<Self, KeyringError> {
        let text = fs::read_to_string(path)
            .map_err(|source| KeyringError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|source| KeyringError::Bad { path: path.to_owned(), source: Box::new(source) })
    }

    /// Adds a signature.
    pub fn sign(&mut self, key: &SigningKey) {
        let public = key.verifying_key();
        if self.signers.contains(&public) {
            return;
        }
        let body = self.text.find(&format!("\n{SIGNATURE}")).map_or(self.text.len(), |at| at + 1);
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let body = if self.signers.is_empty() { self.text.len() } else { body };
        let signature = key.sign(&[SIGNED, &self.text.as_bytes()[..body]].concat());
        let (key, signature) = (fingerprint(&public), hex::encode(signature.to_bytes()));
        self.text.push_str(&format!("{SIGNATURE}{key} {signature}\n"));
        self.signers.push(public);
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn signers(&self) -> &[VerifyingKey] {
        &self.signers
    }

    /// `EPOCH.VERSION`.
    pub fn version(&self) -> String {
        format!("{}.{}", self.contents.epoch, self.contents.version)
    }

    /// Whether one of its own roots signed it: what a reader checks who gets it from a place he trusts.
    pub fn check_signed(&self) -> Result<(), KeyringError> {
        self.is_signed_by(&self.contents.roots, "its own roots")
    }

    /// Whether it may be the first: signed by one of `roots`, which the box's configuration names.
    pub fn may_begin(&self, roots: &[VerifyingKey]) -> Result<(), KeyringError> {
        if roots.is_empty() {
            return Err(KeyringError::NoBeginning);
        }
        self.check_signed()?;
        self.is_signed_by(roots, "the roots of the box's configuration")
    }

    /// Whether it may follow `current`.
    ///
    /// The next version of an epoch needs the signature of a root in force. The next epoch needs that of an
    /// emergency key in force. Both need the signature of a root of their own: a root that nobody holds would
    /// be the last. Revocations stay.
    pub fn may_replace(&self, current: &Self) -> Result<(), KeyringError> {
        let (new, old) = (&self.contents, &current.contents);
        if (new.epoch, new.version) <= (old.epoch, old.version) {
            let (found, current) = (self.version(), current.version());
            return Err(KeyringError::NotNewer { found, current });
        }
        self.check_signed()?;
        if new.epoch > old.epoch {
            self.is_signed_by(&old.emergency, "the emergency keys in force")?;
        } else {
            self.is_signed_by(&old.roots, "the roots in force")?;
            let same = |a: &[_], b: &[_]| a.iter().all(|key| b.contains(key));
            if !(same(&new.emergency, &old.emergency) && same(&old.emergency, &new.emergency)) {
                return Err(KeyringError::Emergency);
            }
        }
        match old.revoked.iter().find(|key| !new.revoked.contains(key)) {
            Some(key) => Err(KeyringError::Unrevoked { key: fingerprint(key) }),
            None => Ok(()),
        }
    }

    pub fn is_revoked(&self, key: &VerifyingKey) -> bool {
        self.contents.revoked.contains(key)
    }

    /// What a key may do on the link.
    pub fn role(&self, key: &VerifyingKey) -> Option<Role> {
        self.contents.links.iter().find(|link| link.key == *key).map(|link| link.role)
    }

    /// The key of the box that once had this one; none: it has it still.
    pub fn successor(&self, key: &VerifyingKey) -> Option<VerifyingKey> {
        let next = |key: &VerifyingKey| self.contents.boxes.iter().find(|b| b.replaces == *key);
        let mut last = next(key)?.key;
        // As many steps as there are lines: whoever writes a circle gets somewhere in it.
        for _ in &self.contents.boxes {
            last = next(&last).map_or(last, |further| further.key);
        }
        Some(last)
    }

    fn is_signed_by(&self, keys: &[VerifyingKey], whose: &'static str) -> Result<(), KeyringError> {
        let signed = self.signers.iter().any(|signer| keys.contains(signer));
        if signed { Ok(()) } else { Err(KeyringError::Unsigned { whose }) }
    }
}

/// Who may sign bundles: those of a configuration and those of the keyring, less the revoked.
pub fn bundle_keys(configured: &[VerifyingKey], keyring: Option<&Keyring>) -> Vec<VerifyingKey> {
    let more = keyring.map_or(&[][..], |keyring| &keyring.contents.bundles);
    let all = configured.iter().chain(more);
    all.filter(|key| !keyring.is_some_and(|keyring| keyring.is_revoked(key))).copied().collect()
}

impl Contents {
    fn parse(text: &str) -> Result<Self, KeyringError> {
        let malformed = |error: toml::de::Error| {
            let reason = error.message().chars().take(200).collect();
            KeyringError::Malformed { reason }
        };
        let table: toml::Table = text.parse().map_err(malformed)?;
        match table.get("format").and_then(toml::Value::as_integer).map(u64::try_from) {
            Some(Ok(FORMAT)) => {}
            Some(Ok(found)) => return Err(KeyringError::Format { found }),
            _ => return Err(KeyringError::Malformed { reason: "no `format`".into() }),
        }
        let file: File = table.try_into().map_err(malformed)?;
        let contents = Self {
            epoch: file.epoch,
            version: file.version,
            roots: keys(&file.roots)?,
            emergency: keys(&file.emergency)?,
            bundles: keys(&file.bundles)?,
            revoked: keys(&file.revoked)?,
            links: file.link.into_iter().map(LinkKey::parse).collect::<Result<_, _>>()?,
            boxes: file.boxes.iter().map(BoxKey::parse).collect::<Result<_, _>>()?,
        };
        contents.check()?;
        Ok(contents)
    }

    /// Every key once: what a key may do can be read in one place.
    fn check(&self) -> Result<(), KeyringError> {
        if self.roots.is_empty() {
            return Err(KeyringError::NoRoots);
        }
        let links: Vec<_> = self.links.iter().map(|link| link.key).collect();
        let boxes: Vec<_> = self.boxes.iter().map(|own| own.key).collect();
        let lists = [
            ("roots", &self.roots),
            ("emergency", &self.emergency),
            ("bundles", &self.bundles),
            ("revoked", &self.revoked),
            ("link", &links),
            ("box", &boxes),
        ];
        let mut seen: Vec<(VerifyingKey, &'static str)> = Vec::new();
        for (second, list) in lists {
            for key in list {
                if let Some((_, first)) = seen.iter().find(|(known, _)| known == key) {
                    return Err(KeyringError::Twice { key: fingerprint(key), first, second });
                }
                seen.push((*key, second));
            }
        }
        // A box's earlier key may be revoked, or another line's key; nothing else, and it is replaced once.
        let others =
            [&self.roots, &self.emergency, &self.bundles, &links].map(|list| &list[..]).concat();
        for (at, BoxKey { replaces, key }) in self.boxes.iter().enumerate() {
            let again = self.boxes[..at].iter().any(|earlier| earlier.replaces == *replaces);
            if again || key == replaces || others.contains(replaces) {
                let key = fingerprint(replaces);
                return Err(KeyringError::Twice { key, first: "box replaces", second: "others" });
            }
        }
        Ok(())
    }

    fn to_text(&self) -> String {
        let digits = |keys: &[VerifyingKey]| keys.iter().map(fingerprint).collect();
        let line = |LinkKey { key, role, name }: &LinkKey| Line {
            key: fingerprint(key),
            role: *role,
            name: name.clone(),
        };
        let one_box = |BoxKey { key, replaces }: &BoxKey| BoxLine {
            key: fingerprint(key),
            replaces: fingerprint(replaces),
        };
        let file = File {
            format: FORMAT,
            epoch: self.epoch,
            version: self.version,
            roots: digits(&self.roots),
            emergency: digits(&self.emergency),
            bundles: digits(&self.bundles),
            revoked: digits(&self.revoked),
            link: self.links.iter().map(line).collect(),
            boxes: self.boxes.iter().map(one_box).collect(),
        };
        toml::to_string(&file).expect("numbers below 2^63 and strings are TOML")
    }
}

impl BoxKey {
    fn parse(BoxLine { key, replaces }: &BoxLine) -> Result<Self, KeyringError> {
        Ok(Self { key: key_of(key)?, replaces: key_of(replaces)? })
    }
}

impl LinkKey {
    fn parse(Line { key, role, name }: Line) -> Result<Self, KeyringError> {
        Ok(Self { key: key_of(&key)?, role, name })
    }
}

fn keys(texts: &[String]) -> Result<Vec<VerifyingKey>, KeyringError> {
    texts.iter().map(|text| key_of(text)).collect()
}

fn key_of(text: &str) -> Result<VerifyingKey, KeyringError> {
    public_key(text).map_err(|error| KeyringError::Malformed { reason: error.to_string() })
}

/// Whose signature a line holds, which fits `body`.
fn signer(line: &str, body: &str) -> Result<VerifyingKey, KeyringError> {
    let parts = || {
        let (key, signature) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
        let signature: [u8; 64] = hex::decode(signature).ok()?.try_into().ok()?;
        Some((public_key(key).ok()?, Signature::from_bytes(&signature)))
    };
    let (key, signature) = parts()
        .ok_or_else(|| KeyringError::SignatureLine { line: line.chars().take(100).collect() })?;
    let message = [SIGNED, body.as_bytes()].concat();
    let checked = key.verify_strict(&message, &signature);
    checked.map_err(|_| KeyringError::Forged { key: fingerprint(&key) })?;
    Ok(key)
}
