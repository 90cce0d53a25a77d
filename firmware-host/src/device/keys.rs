//! Who may do what: enrolment and keyrings.

use super::{CHUNK, Device, DeviceError, unexpected};
use protocol::{Bytes, Digest, Keys, Request, Response, Role};

impl Device {
    /// Proves to the box that we know its one-time code; its proof that it knows it too comes back.
    pub fn enrol(&mut self, proof: Digest, name: &str) -> Result<(Role, Digest), DeviceError> {
        match self.call("enrol", Request::Enrol { proof, name: name.to_owned() })? {
            Response::Enrolled { role, proof } => Ok((role, proof)),
            other => Err(unexpected("enrol", &other)),
        }
    }

    /// Whose key may do what.
    pub fn keys(&mut self) -> Result<Keys, DeviceError> {
        match self.call("keys", Request::Keys)? {
            Response::Keys(keys) => Ok(keys),
            other => Err(unexpected("keys", &other)),
        }
    }

    /// The key that waits to replace the box's; made if none does.
    pub fn next_key(&mut self) -> Result<Digest, DeviceError> {
        match self.call("next-key", Request::NextKey)? {
            Response::NextKey { key } => Ok(key),
            other => Err(unexpected("next-key", &other)),
        }
    }

    /// Puts a newer keyring in force.
    pub fn apply_keyring(&mut self, text: &str) -> Result<(), DeviceError> {
        let bytes = text.as_bytes();
        let total = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut offset = 0;
        for chunk in bytes.chunks(self.payload_limit().clamp(1, CHUNK)) {
            let chunk = Bytes(chunk.to_vec());
            let sent = offset + chunk.0.len() as u32;
            match self.call("keyring", Request::Keyring { offset, total, chunk })? {
                Response::Keyring { received } if received == sent => offset = sent,
                other => return Err(unexpected("keyring", &other)),
            }
        }
        Ok(())
    }
}
