//! The one-time code of this box: drawn, kept in a file, used up.
//!
//! Kept in `keys/enrol.toml`, so that `firmware-host code`, another process, can draw one while the agent runs.
//! Time is the machine's uptime and the boot id: setting a clock neither opens nor prolongs anything.

use crate::enrolment::{Binding, Code, End};
use anyhow::{Context, Result, ensure};
use keyring::{VerifyingKey, fingerprint};
use protocol::{BootId, Moment, Role};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A code counts for so long.
const LIFETIME: f64 = 15.0 * 60.0;
/// Wrong proofs after which it counts no more.
const TRIES: u8 = 5;

/// The file as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    code: String,
    /// What whoever proves to know it may do from then on.
    role: Role,
    boot: BootId,
    /// Seconds since that start.
    drawn_at: f64,
    tries_left: u8,
    /// The key it was used up by; it may repeat, should the answer have got lost.
    used_by: Option<String>,
}

/// Why a proof was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Closed,
    Wrong { tries_left: u8 },
}

/// Where codes are kept.
#[derive(Debug)]
pub(super) struct Codes {
    path: PathBuf,
}

impl Codes {
    pub(super) fn of(folder: &Path) -> Self {
        Self { path: folder.join("enrol.toml") }
    }

    /// Draws a code in place of any before.
    pub(super) fn draw(&self, role: Role, now: &Moment) -> Result<Code> {
        ensure!(
            now.boot != BootId::UNKNOWN,
            "/proc tells no boot id: a code could not end with the boot"
        );
        let _lock = self.lock()?;
        let code = Code::draw().context("no random numbers")?;
        self.write(&Open {
            code: code.to_string(),
            role,
            boot: now.boot,
            drawn_at: now.uptime.as_secs_f64(),
            tries_left: TRIES,
            used_by: None,
        })?;
        Ok(code)
    }

    /// Whether a stranger with `key` has anything to say here.
    pub(super) fn is_open(&self, key: &VerifyingKey, now: &Moment) -> bool {
        let open = self.read().inspect_err(|error| log::warn!("{error:#}"));
        matches!(open, Ok(Some(open)) if open.counts(key, now))
    }

    /// Checks a workstation's proof. `admit` is called before the code is used up: a cut between the two leaves
    /// the key admitted and the code good for that key alone.
    pub(super) fn take(
        &self,
        proof: &[u8; 32],
        binding: &Binding,
        now: &Moment,
        admit: impl FnOnce(Role) -> Result<()>,
    ) -> Result<Result<(Role, [u8; 32]), Refused>> {
        let _lock = self.lock()?;
        let key = &binding.workstation;
        let Some(mut open) = self.read()?.filter(|open| open.counts(key, now)) else {
            return Ok(Err(Refused::Closed));
        };
        let code: Code = open.code.parse().map_err(anyhow::Error::msg)?;
        if !code.is_proven(proof, End::Workstation, binding) {
            open.tries_left -= 1;
            self.write(&open)?;
            return Ok(Err(Refused::Wrong { tries_left: open.tries_left }));
        }
        admit(open.role)?;
        open.used_by = Some(fingerprint(key));
        self.write(&open)?;
        Ok(Ok((open.role, code.proof(End::Box, binding))))
    }

    fn read(&self) -> Result<Option<Open>> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", self.path.display()))?,
        };
        toml::from_str(&text).with_context(|| self.path.display().to_string()).map(Some)
    }

    fn write(&self, open: &Open) -> Result<()> {
        let text = toml::to_string(open).context("a code cannot be written as TOML")?;
        durable::write_private(&self.path, text.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Held by whoever reads and then writes: the agent, or the verb that draws a code.
    fn lock(&self) -> Result<File> {
        let path = self.path.with_added_extension("lock");
        let locked = File::create(&path).and_then(|lock| lock.lock().map(|()| lock));
        locked.with_context(|| format!("cannot lock {}", path.display()))
    }
}

impl Open {
    fn counts(&self, key: &VerifyingKey, now: &Moment) -> bool {
        let since = now.uptime.as_secs_f64() - self.drawn_at;
        let free = self.used_by.as_ref().is_none_or(|user| *user == fingerprint(key));
        self.boot.same(now.boot) && (0.0..LIFETIME).contains(&since) && self.tries_left > 0 && free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(n: u8) -> VerifyingKey {
        keyring::SigningKey::from_bytes(&[n; 32]).verifying_key()
    }

    fn binding(n: u8) -> Binding {
        Binding { session: [n; 32], workstation: key(n), of_box: key(9) }
    }

    fn at(uptime: f64) -> Moment {
        Moment { boot: BootId([1; 16]), uptime: Duration::from_secs_f64(uptime), wall: 0 }
    }

    struct Box {
        _folder: tempfile::TempDir,
        codes: Codes,
        code: Code,
    }

    impl Box {
        /// With a code drawn 100 seconds after the start.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let codes = Codes::of(folder.path());
            let code = codes.draw(Role::Operate, &at(100.0)).unwrap();
            Self { _folder: folder, codes, code }
        }

        fn try_with(&self, code: &Code, n: u8, now: &Moment) -> Result<Role, Refused> {
            let proof = code.proof(End::Workstation, &binding(n));
            let mut admitted = None;
            let taken = self.codes.take(&proof, &binding(n), now, |role| {
                admitted = Some(role);
                Ok(())
            });
            let taken = taken.unwrap();
            assert_eq!(admitted, taken.as_ref().ok().map(|(role, _)| *role));
            taken.map(|(role, back)| {
                assert!(code.is_proven(&back, End::Box, &binding(n)));
                role
            })
        }
    }

    #[test]
    fn a_code_admits_one_key_once_and_forgives_a_lost_answer() {
        let this = Box::new();
        assert_eq!(this.try_with(&this.code, 1, &at(101.0)), Ok(Role::Operate));
        assert_eq!(this.try_with(&this.code, 1, &at(102.0)), Ok(Role::Operate));
        assert_eq!(this.try_with(&this.code, 2, &at(103.0)), Err(Refused::Closed));
        assert!(
            this.codes.is_open(&key(1), &at(104.0)) && !this.codes.is_open(&key(2), &at(104.0))
        );
    }

    #[test]
    fn five_wrong_guesses_use_a_code_up() {
        let this = Box::new();
        let guess = Code::draw().unwrap();
        for tries_left in [4, 3, 2, 1, 0] {
            let refused = this.try_with(&guess, 2, &at(101.0));
            assert_eq!(refused, Err(Refused::Wrong { tries_left }));
        }
        assert_eq!(this.try_with(&this.code, 1, &at(102.0)), Err(Refused::Closed));
    }

    #[test]
    fn a_code_is_over_after_its_time_and_after_a_new_start_whatever_the_clock() {
        let this = Box::new();
        assert_eq!(this.try_with(&this.code, 1, &at(100.0 + LIFETIME)), Err(Refused::Closed));
        assert_eq!(this.try_with(&this.code, 1, &at(99.0)), Err(Refused::Closed));
        let reboot = Moment { boot: BootId([2; 16]), ..at(101.0) };
        assert_eq!(this.try_with(&this.code, 1, &reboot), Err(Refused::Closed));
        assert_eq!(this.try_with(&this.code, 1, &at(99.0 + LIFETIME)), Ok(Role::Operate));
    }

    #[test]
    fn a_machine_that_tells_no_boot_draws_no_code() {
        let folder = tempfile::tempdir().unwrap();
        let unknown = Moment { boot: BootId::UNKNOWN, ..at(100.0) };
        assert!(Codes::of(folder.path()).draw(Role::Look, &unknown).is_err());
        assert_eq!(Codes::of(folder.path()).read().unwrap(), None);
    }

    #[test]
    fn a_new_code_replaces_the_old_and_without_any_the_box_is_closed() {
        let this = Box::new();
        let new = this.codes.draw(Role::Look, &at(101.0)).unwrap();
        assert!(matches!(this.try_with(&this.code, 1, &at(102.0)), Err(Refused::Wrong { .. })));
        assert_eq!(this.try_with(&new, 1, &at(102.0)), Ok(Role::Look));
        fs::remove_file(&this.codes.path).unwrap();
        assert_eq!(this.try_with(&new, 1, &at(102.0)), Err(Refused::Closed));
        fs::write(&this.codes.path, "code = 7").unwrap();
        assert!(!this.codes.is_open(&key(1), &at(102.0)));
    }
}
