//! Which packs a bundle takes, and what it answers together with them.
//!
//! ```text
//! bundle      language.bin: space, findings; labels of its network ┐ of one space,
//! packs       space, findings; one after another                   ┴ every finding called otherwise
//! ```

use crate::{Language, LanguageError, Pack};
use bundle::{Bundle, Envelope, Manifest, SealedPack, section};
use graph::Task;
use protocol::Release;
use std::collections::BTreeMap;
use thiserror::Error;

/// A bundle as packs see it.
#[derive(Clone, Copy, Debug)]
pub struct Carrier<'a> {
    manifest: &'a Manifest,
    section: Option<&'a [u8]>,
    packs: &'a [SealedPack],
}

/// Why a bundle does not take a pack, or does not give one up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackError {
    #[error(
        "bundle {bundle} has no language: packs are for networks of PRIOR's that ship with theirs"
    )]
    NoLanguage { bundle: String },

    #[error("bundle {bundle} has {found} and no {missing}: language needs both")]
    Half { bundle: String, found: &'static str, missing: &'static str },

    #[error("the language of bundle {bundle} cannot be used")]
    Bundle { bundle: String, source: LanguageError },

    #[error("pack `{pack}` cannot be used")]
    Pack { pack: String, source: LanguageError },

    #[error("pack `{pack}` has space {found}, the bundle's is {expected}")]
    OtherSpace { pack: String, found: String, expected: String },

    #[error("pack `{pack}` has finding `{finding}`, which {owner} has already")]
    Taken { pack: String, finding: String, owner: String },

    #[error("pack `{pack}` has version {found:?}, expected MAJOR.MINOR.PATCH")]
    Version { pack: String, found: String },

    #[error("pack `{pack}` {found} is not newer than {there}, which is there already")]
    NotNewer { pack: String, found: Release, there: Release },

    #[error("no pack is called `{pack}`, found {}", if there.is_empty() { "none" } else { there })]
    NoSuchPack { pack: String, there: String },
}

impl<'a> From<&'a Bundle> for Carrier<'a> {
    fn from(bundle: &'a Bundle) -> Self {
        let section = bundle.section(section::LANGUAGE);
        Self { manifest: &bundle.manifest, section, packs: bundle.packs() }
    }
}

impl<'a> From<&'a Envelope> for Carrier<'a> {
    fn from(bundle: &'a Envelope) -> Self {
        let section = bundle.language();
        Self { manifest: &bundle.manifest, section, packs: bundle.packs() }
    }
}

impl<'a> Carrier<'a> {
    /// Whether its language can be used and all its packs fit.
    pub fn check(&self) -> Result<(), PackError> {
        self.packs().map(drop)
    }

    /// The bundle's own language, without its packs. `None` where it has none, nor packs. The manifest's head says whether
    /// the network speaks.
    pub fn language(&self) -> Result<Option<Language>, PackError> {
        const HEAD: &str = "a language head";
        let half = |found, missing| PackError::Half { bundle: self.name(), found, missing };
        match (self.manifest.head(Task::Language), self.section) {
            (Some(_), Some(section)) => Language::from_bytes(section)
                .map(Some)
                .map_err(|source| PackError::Bundle { bundle: self.name(), source }),
            (Some(_), None) => Err(half(HEAD, section::LANGUAGE)),
            (None, Some(_)) => Err(half(section::LANGUAGE, "language head")),
            (None, None) if self.packs.is_empty() => Ok(None),
            (None, None) => Err(PackError::NoLanguage { bundle: self.name() }),
        }
    }

    /// Its packs, each of which fits. Golden vectors are for [`Pack::prove`].
    pub fn packs(&self) -> Result<Vec<Pack>, PackError> {
        let Some(language) = self.language()? else { return Ok(Vec::new()) };
        let mut taken = self.taken(&language);
        let mut packs = Vec::new();
        for sealed in self.packs {
            let (pack, _) = unsealed(sealed)?;
            // Image and text must mean the same to both.
            if pack.space != language.space {
                let (found, expected) = (pack.space.to_string(), language.space.to_string());
                return Err(PackError::OtherSpace { pack: pack.name, found, expected });
            }
            for prompt in &pack.prompts {
                let finding = prompt.name.clone();
                if let Some(owner) = taken.insert(finding.clone(), format!("pack {}", pack.name)) {
                    return Err(PackError::Taken { pack: pack.name, finding, owner });
                }
            }
            packs.push(pack);
        }
        Ok(packs)
    }

    /// The packs it would have with this one: instead of an older one of the same name, or behind all others. As they
    /// are if it has the very same already.
    pub fn with_pack(&self, sealed: SealedPack) -> Result<Vec<SealedPack>, PackError> {
        let (pack, found) = unsealed(&sealed)?;
        let mut packs = self.packs.to_vec();
        match packs.iter().position(|there| there.name() == sealed.name()) {
            Some(at) if packs[at].digest() == sealed.digest() => return Ok(packs),
            Some(at) => {
                let (_, there) = unsealed(&packs[at])?;
                if found <= there {
                    return Err(PackError::NotNewer { pack: pack.name, found, there });
                }
                packs[at] = sealed;
            }
            None => packs.push(sealed),
        }
        if self.section.is_none() {
            return Err(PackError::NoLanguage { bundle: self.name() });
        }
        Carrier { packs: &packs, ..*self }.check()?;
        Ok(packs)
    }

    /// The packs it would have without the one of this name.
    pub fn without_pack(&self, name: &str) -> Result<Vec<SealedPack>, PackError> {
        let mut packs = self.packs.to_vec();
        packs.retain(|pack| pack.name() != name);
        if packs.len() == self.packs.len() {
            let there = self.packs.iter().map(SealedPack::name).collect::<Vec<_>>().join(", ");
            return Err(PackError::NoSuchPack { pack: name.into(), there });
        }
        Ok(packs)
    }

    /// Names of findings, and who has them.
    fn taken(&self, language: &Language) -> BTreeMap<String, String> {
        let labels = self.manifest.model.heads.iter().flat_map(|head| head.labels.iter());
        let own = labels.chain(language.prompts.iter().map(|prompt| &prompt.name));
        own.map(|name| (name.clone(), format!("bundle {}", self.name()))).collect()
    }

    fn name(&self) -> String {
        format!("{} {}", self.manifest.id, self.manifest.version)
    }
}

/// A pack whose version can be compared.
fn unsealed(sealed: &SealedPack) -> Result<(Pack, Release), PackError> {
    let name = || sealed.name().to_owned();
    let pack = Pack::unseal(sealed).map_err(|source| PackError::Pack { pack: name(), source })?;
    match pack.version.parse() {
        Ok(release) => Ok((pack, release)),
        Err(_) => Err(PackError::Version { pack: name(), found: pack.version }),
    }
}

#[cfg(test)]
mod tests;
