//! Which bundles this box accepts.

use bundle::{BundleError, Envelope, VerifyingKey};
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
            Err(error) => return damaged(error.to_string()),
        };
        match bundle.check_signature(&self.trusted) {
            Ok(()) => {}
            Err(BundleError::Unsigned) if self.allow_unsigned => {
                log::warn!(
                    "{} is NOT SIGNED; accepted because allow_unsigned is set",
                    bundle.manifest.id
                );
            }
            Err(error) => return Ok(Err((Cause::Untrusted, error.to_string()))),
        }
        let digest = Digest(bundle.digest());
        match bundle.manifest.version.parse() {
            Ok(release) => Ok(Ok(protocol::Bundle { id: bundle.manifest.id, release, digest })),
            Err(error) => damaged(error),
        }
    }
}
