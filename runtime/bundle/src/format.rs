//! How a bundle begins, and which formats there are.

use crate::{BundleError, Contract, Manifest};
use graph::{Fit, Normalisation, PictureFilter, Preprocess};
use serde::{Deserialize, Serialize};

pub(crate) const MAGIC: [u8; 4] = *b"CXRB";
/// The newest format this build reads. A bundle is written in the oldest that can say it, so that boxes in the field
/// read what they can run:
///
/// 1. the manifest
/// 2. the manifest, then how pictures are fitted into the input; in format 1 they are stretched
/// 3. the manifest, then [`Third`]: what only networks of other tools need
pub(crate) const NEWEST: u16 = 3;

/// What stands after the manifest in format 3. Never changed: what a later format adds stands after it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Third {
    fit: Fit,
    filter: PictureFilter,
    others: Option<[Normalisation; 2]>,
    contract: Option<Contract>,
}

impl Third {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let Preprocess { fit, filter, others, .. } = manifest.preprocess;
        Self { fit, filter, others, contract: manifest.contract.clone() }
    }

    /// Whether an older format cannot say it.
    pub(crate) fn is_needed(&self) -> bool {
        let Self { fit, filter, others, contract } = self;
        *fit == Fit::CentreCrop
            || *filter != PictureFilter::Triangle
            || others.is_some()
            || contract.is_some()
    }

    pub(crate) fn add_to(self, manifest: &mut Manifest) -> Result<(), BundleError> {
        let Self { fit, filter, others, contract } = self;
        let bad = |reason: String| Err(BundleError::Manifest { reason });
        if let Some(contract) = &contract {
            if let Err(reason) = contract.check() {
                return bad(reason);
            }
            if contract.model() != manifest.model {
                return bad("its heads are not those its contract describes".into());
            }
        }
        let Preprocess { height, width, mean, std, .. } = manifest.preprocess;
        manifest.preprocess = Preprocess { height, width, mean, std, fit, filter, others };
        manifest.contract = contract;
        Ok(())
    }
}
