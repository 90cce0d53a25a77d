//! What every association with us as the provider shares.

use super::{access::Access, commitment::Reports};
use crate::{
    audit::Audit, config::DicomConfig, current::Current, metrics::Metrics, shutdown::Shutdown,
    spool::Spool,
};
use std::sync::Arc;

/// What every association shares.
#[derive(Debug)]
pub(crate) struct Scp {
    /// Limits and deadlines; who is let in stands in `access`.
    pub(crate) config: DicomConfig,
    pub(crate) access: Arc<Current<Access>>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) reports: Arc<dyn Reports>,
    pub(crate) shutdown: Shutdown,
}
