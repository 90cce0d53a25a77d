//! Who may log in: people with passwords and programs with tokens, in a file that the daemon only reads.
//!
//! `runtime user` writes it. A password is kept as its argon2id hash; a token, which is 256 random bits, as its
//! SHA-256. There is no user to begin with and no password that comes with the box.

use anyhow::{Context, Result, bail, ensure};
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// What somebody may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// See findings, queue and health
    Look,
    /// Also send again, hold and release what waits for delivery
    Operate,
    /// Also everything else the page offers
    Administer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Look => "look",
            Self::Operate => "operate",
            Self::Administer => "administer",
        })
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Users {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    users: Vec<User>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// `$argon2id$…`
    password: String,
}

/// For programs: `Authorization: Bearer …`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Of the token, hexadecimal.
    sha256: String,
}

/// At least so many characters; no other rule makes passwords better.
const PASSWORD_CHARACTERS: usize = 12;
/// Hashing is linear in the length; nobody types more.
const PASSWORD_BYTES: usize = 1024;
/// Memory that one log-in may take, KiB.
const MOST_MEMORY: u32 = 256 << 10;

/// Nobody's: an unknown name takes as long as a wrong password.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5aGFzdGhpcw$UE5pY2VseWRvbmVidXRub2JvZHloYXN0aGlzb25lISE";

impl Users {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read users from {}", path.display()))?;
        let users: Self =
            toml::from_str(&text).with_context(|| format!("{} holds no users", path.display()))?;
        users.check().with_context(|| path.display().to_string())?;
        Ok(users)
    }

    fn check(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for name in self.names() {
            check_name(name)?;
            ensure!(names.insert(name), "{name:?} is there twice");
        }
        for user in &self.users {
            let hash = PasswordHash::new(&user.password)
                .ok()
                .with_context(|| format!("{:?}: `password` is no hash", user.name))?;
            ensure!(
                hash.algorithm.as_str() == "argon2id",
                "{:?}: `password` is hashed by {}, expected argon2id",
                user.name,
                hash.algorithm.as_str()
            );
            let memory = hash.params.get_decimal("m").unwrap_or(0);
            ensure!(
                (8 << 10..=MOST_MEMORY).contains(&memory),
                "{:?}: argon2id with {memory} KiB, expected 8192 to {MOST_MEMORY}",
                user.name
            );
        }
        for token in &self.tokens {
            ensure!(
                token.sha256.len() == 64 && token.sha256.bytes().all(|b| b.is_ascii_hexdigit()),
                "{:?}: `sha256` is no digest",
                token.name
            );
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.tokens.is_empty()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let tokens = self.tokens.iter().map(|token| token.name.as_str());
        self.users.iter().map(|user| user.name.as_str()).chain(tokens)
    }

    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// The user, if this is the password. Takes long, and as long for an unknown name.
    pub(crate) fn log_in(&self, name: &str, password: &str) -> Option<&User> {
        let user = self.user(name);
        let hash = user.map_or(NOBODY, |user| &user.password);
        let right = password.len() <= PASSWORD_BYTES
            && PasswordHash::new(hash).is_ok_and(|hash| {
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            });
        user.filter(|_| right)
    }

    /// The program that has this token. Digests are compared, so time says nothing about the token.
    pub(crate) fn token(&self, token: &str) -> Option<&Token> {
        let digest = digest(token);
        self.tokens.iter().find(|known| known.sha256.eq_ignore_ascii_case(&digest))
    }

    /// Adds a user or changes role and password of one.
    pub(crate) fn set(&mut self, name: &str, role: Role, password: &str) -> Result<()> {
        check_name(name)?;
        ensure!(!self.tokens.iter().any(|t| t.name == name), "{name:?} is the name of a token");
        ensure!(
            password.chars().count() >= PASSWORD_CHARACTERS && password.len() <= PASSWORD_BYTES,
            "the password has {} characters, expected at least {PASSWORD_CHARACTERS}",
            password.chars().count()
        );
        let hash = Argon2::default()
            .hash_password(password.as_bytes())
            .map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))?;
        let user = User { name: name.into(), role, password: hash.to_string() };
        match self.users.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = user,
            None => self.users.push(user),
        }
        Ok(())
    }

    /// Adds a program; its token is shown once and kept nowhere.
    pub(crate) fn add_token(&mut self, name: &str, role: Role) -> Result<String> {
        check_name(name)?;
        ensure!(!self.names().any(|known| known == name), "{name:?} is there already");
        let token = secret()?;
        self.tokens.push(Token { name: name.into(), role, sha256: digest(&token) });
        Ok(token)
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<()> {
        let before = (self.users.len(), self.tokens.len());
        self.users.retain(|user| user.name != name);
        self.tokens.retain(|token| token.name != name);
        if before == (self.users.len(), self.tokens.len()) {
            bail!("there is no {name:?}");
        }
        Ok(())
    }

    /// Name, role and kind of everybody.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&str, Role, &'static str)> {
        let tokens = self.tokens.iter().map(|t| (t.name.as_str(), t.role, "token"));
        self.users.iter().map(|u| (u.name.as_str(), u.role, "user")).chain(tokens)
    }

    /// For its owner's eyes only; a power cut leaves the old file or the new.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).context("cannot encode the users")?;
        let aside = path.with_added_extension("part");
        let write = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&aside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&aside, path)?;
            durable::sync_parent(path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

impl User {
    /// Changes with role and password: sessions that began under another one are over.
    pub(crate) fn stamp(&self) -> String {
        digest(&format!("{} {}", self.role, self.password))
    }
}

/// 256 random bits, hexadecimal.
pub(crate) fn secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if filled != bytes.len() {
        return Err(io::Error::other("too few random bytes"));
    }
    Ok(hex::encode(bytes))
}

/// SHA-256, hexadecimal.
pub(crate) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

fn check_name(name: &str) -> Result<()> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
    ensure!(
        (1..=64).contains(&name.len()) && name.bytes().all(known),
        "name {name:?}: expected 1 to 64 letters, digits, dots, dashes, underscores or @"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn who_is_written_is_read_again_and_only_the_right_password_lets_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut users = Users::default();
        users.set("ada", Role::Operate, "correct horse battery").unwrap();
        let token = users.add_token("prometheus", Role::Look).unwrap();
        users.write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("horse") && !text.contains(&token), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let mut users = Users::read(&path).unwrap();
        let role = |users: &Users, name: &str, password: &str| {
            users.log_in(name, password).map(|user| user.role)
        };
        assert_eq!(role(&users, "ada", "correct horse battery"), Some(Role::Operate));
        assert_eq!(role(&users, "ada", "correct horse batterz"), None);
        assert_eq!(role(&users, "ada", ""), None);
        assert_eq!(role(&users, "bob", "correct horse battery"), None);
        assert_eq!(users.token(&token).map(|t| t.role), Some(Role::Look));
        assert!(users.token("").is_none() && users.token(&token[1..]).is_none());

        let stamp = users.user("ada").unwrap().stamp();
        users.set("ada", Role::Look, "another password").unwrap();
        assert_ne!(users.user("ada").unwrap().stamp(), stamp);
        assert_eq!(role(&users, "ada", "correct horse battery"), None);
        users.remove("ada").unwrap();
        users.remove("prometheus").unwrap();
        assert!(users.is_empty() && users.remove("ada").is_err());
    }

    #[test]
    fn an_unknown_name_is_verified_against_a_hash_that_nobody_has() {
        let hash = PasswordHash::new(NOBODY).unwrap();
        assert_eq!(hash.algorithm.as_str(), "argon2id");
        assert!(Argon2::default().verify_password(b"nobody", &hash).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let mut users = Users::default();
        let said = |result: Result<()>| format!("{:#}", result.unwrap_err());
        assert!(said(users.set("ada", Role::Look, "short")).contains("has 5 characters"));
        assert!(said(users.set("a b", Role::Look, "long enough for us")).contains("name \"a b\""));
        users.set("ada", Role::Look, "long enough for us").unwrap();
        assert!(users.add_token("ada", Role::Look).is_err());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let user = |rest: &str| format!("[[users]]\nname = \"ada\"\nrole = \"look\"\n{rest}\n");
        let good = NOBODY;
        for (text, expected) in [
            (user("password = \"secret\""), "`password` is no hash"),
            (user(&format!("password = \"{good}\"")).repeat(2), "there twice"),
            (user(&format!("password = \"{}\"", good.replace("id$", "i$"))), "expected argon2id"),
            (user(&format!("password = \"{}\"", good.replace("m=19456", "m=8"))), "8 KiB"),
            ("[[users]]\nname = \"ada\"\nrole = \"king\"\n".into(), "king"),
            ("[[tokens]]\nname = \"t\"\nrole = \"look\"\nsha256 = \"12\"\n".into(), "no digest"),
            ("[[people]]\n".into(), "people"),
        ] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", Users::read(&path).unwrap_err());
            assert!(error.contains(expected) && error.contains("users.toml"), "{error}");
        }
    }
}
