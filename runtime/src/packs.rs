//! Packs behind a bundle: that they fit it, and that this machine computes what their makers computed.

use anyhow::{Context, Result};
use bundle::{Bundle, SealedPack};
use kernels::{Isa, Pool};
use language::{Carrier, Pack};
use results::PackId;
use std::{path::Path, sync::Arc};

/// Packs that were found to fit their bundle.
pub(crate) struct Packs(Vec<Pack>);

impl Packs {
    pub(crate) fn of(bundle: &Bundle) -> Result<Self> {
        Ok(Self(Carrier::from(bundle).packs()?))
    }

    /// Reproduces every golden vector to the bit; how many there are. Names the pack that differs.
    pub(crate) fn prove(&self) -> Result<usize> {
        let pool = Arc::new(Pool::new(1));
        for pack in &self.0 {
            let proven = pack.prove(Isa::best(), &pool);
            proven.with_context(|| format!("pack {} {}", pack.name, pack.version))?;
        }
        Ok(self.0.iter().map(|pack| pack.golden.len()).sum())
    }
}

/// For results and for people.
pub(crate) fn names(bundle: &Bundle) -> Vec<PackId> {
    let name = |pack: &SealedPack| PackId {
        name: pack.name().into(),
        version: pack.version().into(),
        digest: hex::encode(pack.digest()),
    };
    bundle.packs().iter().map(name).collect()
}

/// The bundle with these packs too, for whoever tries them without a box: who signed them is not asked.
pub(crate) fn with(bundle: Bundle, files: &[impl AsRef<Path>]) -> Result<Bundle> {
    files.iter().try_fold(bundle, |bundle, file| {
        let file = file.as_ref();
        let pack = SealedPack::open(file)?;
        let packs = Carrier::from(&bundle).with_pack(pack);
        let packs = packs.with_context(|| file.display().to_string())?;
        Ok(bundle.with_packs(packs))
    })
}
