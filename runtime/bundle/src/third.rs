//! What the third format has beside the manifest: what only networks of other tools need.

use crate::{BundleError, Contract, Manifest};
use graph::{Fit, Normalisation, PictureFilter, Preprocess};
use serde::{Deserialize, Serialize};

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
