//! `push` of a pack, and `push --remove`.

use crate::Target;
use crate::output::{Ended, Output};
use anyhow::{Context, Error, Result};
use bundle::SealedPack;
use firmware_host::{Device, Kind};
use language::Pack;
use protocol::{BootRecord, Digest, Release, SlotId, SlotState};
use serde_json::json;
use std::path::Path;

/// A pack on its way to a box.
pub(super) struct Parcel {
    bytes: Vec<u8>,
    /// What is known of it; nothing where all checks are left to the box.
    known: Option<(SealedPack, Pack)>,
}

impl Parcel {
    /// Refuses what every box refuses.
    pub(super) fn read(path: &Path, bytes: Vec<u8>, check: bool) -> Result<Self> {
        if !check {
            return Ok(Self { bytes, known: None });
        }
        let unusable = || format!("{} is not a usable pack", path.display());
        let sealed = SealedPack::read(&bytes).with_context(unusable)?;
        let pack = Pack::unseal(&sealed).with_context(unusable)?;
        let release: Result<Release, _> = pack.version.parse();
        release.map_err(Error::msg).with_context(unusable)?;
        Ok(Self { bytes, known: Some((sealed, pack)) })
    }

    /// Refuses what this box would, as far as one can know; then sends it.
    pub(super) fn send(&self, device: &mut Device) -> Result<(SlotId, Digest)> {
        let unsigned = self.known.as_ref().is_some_and(|(sealed, _)| sealed.signature().is_none());
        if unsigned && device.info()?.signatures_required {
            let why =
                "the pack is not signed, and the box takes only what a trusted key has signed";
            return Err(Ended::new(Kind::Refused, why.into()).into());
        }
        Ok(device.push_pack(&self.bytes, |sent| log::debug!("{sent} bytes sent"))?)
    }

    fn told(&self, path: &Path) -> String {
        match &self.known {
            Some((_, pack)) => format!("pack {} {}", pack.name, pack.version),
            None => path.display().to_string(),
        }
    }
}

pub(super) fn push(target: &Target, path: &Path, parcel: &Parcel, output: Output) -> Result<()> {
    let sent = target.with(|device| parcel.send(device));
    let (slot, sha256) = sent.with_context(|| format!("cannot push {}", path.display()))?;
    let known = parcel.known.as_ref();
    let document = json!({
        "slot": slot.to_string(), "sha256": sha256, "bytes": parcel.bytes.len(),
        "pack": known.map(|(sealed, pack)| json!({
            "name": pack.name, "version": pack.version, "digest": Digest(sealed.digest()),
            "findings": pack.prompts.iter().map(|prompt| &prompt.name).collect::<Vec<_>>(),
        })),
    });
    let told = parcel.told(path);
    output.say(&format!("slot {slot} holds the bundle that runs with {told}, verified"), &document)
}

pub(super) fn remove(target: &Target, name: &str, output: Output) -> Result<()> {
    let removed = target.with(|device| Ok(device.remove_pack(name)?));
    let (slot, sha256) = removed.with_context(|| format!("cannot remove pack {name}"))?;
    let document = json!({ "slot": slot.to_string(), "sha256": sha256, "removed": name });
    // A slot that held that bundle before is not made again, and is not among those that never ran.
    let said = format!(
        "slot {slot} holds the bundle that runs without pack {name}, verified: activate --slot {slot}"
    );
    output.say(&said, &document)
}

/// Which slot would be made, by the same rules as the box's.
pub(super) fn rehearse(target: &Target, what: &str, output: Output) -> Result<()> {
    let record = target.with(|device| Ok(device.slots()?))?;
    let (from, to) = slots(&record)?;
    let document =
        json!({ "dry_run": true, "from": from.to_string(), "slot": to.to_string(), "pack": what });
    let said = format!("slot {to} would be made of the bundle of slot {from}, {what}");
    output.say(&said, &document)
}

/// The slot whose bundle runs confirmed, and the other one.
fn slots(record: &BootRecord) -> Result<(SlotId, SlotId)> {
    let refused = |why: String| Error::from(Ended::new(Kind::Refused, why));
    match record.running() {
        None => Err(refused("no bundle runs: push one first".into())),
        Some((slot, found)) if found.state == SlotState::Confirmed => Ok((slot, slot.other())),
        Some((slot, _)) => {
            Err(refused(format!("slot {slot} is on trial: confirm it or roll back first")))
        }
    }
}

pub(super) fn told(path: &Path, parcel: &Parcel) -> String {
    format!("with {}", parcel.told(path))
}
