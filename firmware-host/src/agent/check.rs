//! Which bundles this box accepts.

use bundle::{BundleError, Envelope, VerifyingKey};
use language::Carrier;
use protocol::{Cause, Digest};
use std::io::{self, BufReader, Read};

/// Bytes read at a time.
pub(super) const PIECE: usize = 64 << 10;

/// What a file holds, or why it will not do: the cause, and the details for people.
pub(super) type Checked = Result<protocol::Bundle, (Cause, String)>;

#[derive(Clone, Debug)]
pub struct Policy {
    pub trusted: Vec<VerifyingKey>,
    pub allow_unsigned: bool,
    /// Whether a confirm forbids releases older than the fallback's.
    pub keep_floor: bool,
    /// Longest bundle, in bytes.
    pub limit: u64,
}

impl Policy {
    /// Structure, digests and signature of a received file of `length` bytes. Fails if it cannot be read.
    pub fn check(&self, file: impl Read, length: u64) -> io::Result<Checked> {
        let damaged = |detail: String| Ok(Err((Cause::Damaged, detail)));
        let bundle = match Envelope::read(BufReader::with_capacity(PIECE, file), length) {
            Ok(bundle) => bundle,
            Err(BundleError::Io(error)) => return Err(error),
            Err(error) => return damaged(chain(&error)),
        };
        let vouched = self.vouch(&bundle.manifest.id, bundle.signatures(&self.trusted));
        if let Err(error) = vouched {
            return Ok(Err((Cause::Untrusted, error)));
        }
        if let Err(error) = Carrier::from(&bundle).check() {
            return damaged(chain(&error));
        }
        let digest = Digest(bundle.digest());
        match bundle.manifest.version.parse() {
            Ok(release) => Ok(Ok(protocol::Bundle { id: bundle.manifest.id, release, digest })),
            Err(error) => damaged(error),
        }
    }

    /// Whether all that a file of this name is made of is signed by somebody trusted, or need not be signed.
    pub(super) fn vouch(
        &self,
        name: &str,
        signatures: impl IntoIterator<Item = Result<(), BundleError>>,
    ) -> Result<(), String> {
        for signature in signatures {
            match signature {
                Ok(()) => {}
                Err(error) if error.is_unsigned() && self.allow_unsigned => log::warn!(
                    "{name} is NOT SIGNED or has a pack that is not; accepted because allow_unsigned is set"
                ),
                Err(error) => return Err(chain(&error)),
            }
        }
        Ok(())
    }
}

/// An error and what caused it, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
