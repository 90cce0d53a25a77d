//! Packs: what was added to the bundles of a box.

use super::{Device, DeviceError, unexpected};
use protocol::{Bytes, Digest, Feature, Refusal, Request, Response, SlotId, SlotPacks};

impl Device {
    /// Sends a pack: the slot that does not run is made of the bundle that runs and this pack. Returns which slot that
    /// is, and the SHA-256 of its file. Repeating it is harmless.
    pub fn push_pack(
        &mut self,
        pack: &[u8],
        mut sent: impl FnMut(u64),
    ) -> Result<(SlotId, Digest), DeviceError> {
        self.needs_packs()?;
        let size = self.payload_limit().min(super::CHUNK);
        let total = u32::try_from(pack.len())
            .map_err(|_| Refusal::TooLarge { found: pack.len() as u64, limit: u32::MAX.into() })?;
        let mut offset = 0;
        for chunk in pack.chunks(size) {
            let chunk = Bytes(chunk.to_vec());
            let after = offset + chunk.0.len() as u32;
            match self.call("pack", Request::Pack { offset, total, chunk })? {
                Response::Written { received } if received == u64::from(after) => {}
                Response::Composed { slot, sha256 } if after == total => return Ok((slot, sha256)),
                other => return Err(unexpected("pack", &other)),
            }
            offset = after;
            sent(offset.into());
        }
        Err(unexpected("pack", &"nothing to send"))
    }

    /// Makes the slot that does not run of the bundle that runs without the pack of this name.
    pub fn remove_pack(&mut self, name: &str) -> Result<(SlotId, Digest), DeviceError> {
        self.needs_packs()?;
        match self.call("unpack", Request::Unpack { name: name.to_owned() })? {
            Response::Composed { slot, sha256 } => Ok((slot, sha256)),
            other => Err(unexpected("unpack", &other)),
        }
    }

    /// The packs in both slots; `None` from a box that is too old to have any.
    pub fn packs_if_known(&mut self) -> Result<Option<SlotPacks>, DeviceError> {
        if !self.hello.has(Feature::Packs) {
            return Ok(None);
        }
        match self.call("packs", Request::Packs)? {
            Response::Packs(packs) => Ok(Some(packs)),
            other => Err(unexpected("packs", &other)),
        }
    }

    fn needs_packs(&self) -> Result<(), DeviceError> {
        if self.hello.has(Feature::Packs) {
            return Ok(());
        }
        Err(DeviceError::NoPacks { box_speaks: self.hello.version })
    }
}
