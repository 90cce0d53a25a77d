//! Which bundles this box accepts.

use bundle::{Bundle, BundleError, VerifyingKey};
use protocol::{Cause, Digest};
use sha2::{Digest as _, Sha256};

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
    /// Structure, digests and signature of a received file; on failure why, and the details for people.
    pub fn check(&self, bytes: &[u8], sha256: Digest) -> Result<protocol::Bundle, (Cause, String)> {
        let found = Digest(Sha256::digest(bytes).into());
        if found != sha256 {
            let detail = format!("SHA-256 of the file is {found}, expected {sha256}");
            return Err((Cause::Damaged, detail));
        }
        let damaged = |detail: String| (Cause::Damaged, detail);
        let bundle = Bundle::read(bytes).map_err(|error| damaged(error.to_string()))?;
        match bundle.check_signature(&self.trusted) {
            Err(BundleError::Unsigned) if self.allow_unsigned => {
                log::warn!(
                    "{} is NOT SIGNED; accepted because allow_unsigned is set",
                    bundle.manifest.id
                );
            }
            checked => checked.map_err(|error| (Cause::Untrusted, error.to_string()))?,
        }
        let release = bundle.manifest.version.parse().map_err(damaged)?;
        let digest = hex::decode(bundle.digest()).ok().and_then(|digest| digest.try_into().ok());
        let digest = Digest(digest.expect("a bundle's digest is a SHA-256 in hexadecimal"));
        Ok(protocol::Bundle { id: bundle.manifest.id, release, digest })
    }
}
