//! Why a checkpoint cannot be used.

use crate::tensor::TensorError;
use std::{io, path::PathBuf};
use thiserror::Error;

/// Messages name the file, what was found and what was expected; what caused them is the `source`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    #[error("{}: found {found}, expected a checkpoint folder", folder.display())]
    NoFolder { folder: PathBuf, found: &'static str },

    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("{} is not TOML: {reason}", path.display())]
    NotToml { path: PathBuf, reason: String },

    #[error("{} describes no network: {reason}", path.display())]
    NoNetwork { path: PathBuf, reason: String },

    #[error("{} is damaged", path.display())]
    State { path: PathBuf, source: serde_json::Error },

    #[error("cannot use {}", path.display())]
    Tensors { path: PathBuf, source: TensorError },

    #[error("cannot use {}: {found}, expected a safetensors file", path.display())]
    Unlike { path: PathBuf, found: String },

    #[error("{} is being written: every time it was read it had changed meanwhile", folder.display())]
    Busy { folder: PathBuf },

    #[error("{} is no PRIOR checkpoint: config.toml has no [prior]", folder.display())]
    NoPrior { folder: PathBuf },

    #[error("[{name}] of {}: {reason}", path.display())]
    Table { path: PathBuf, name: &'static str, reason: String },

    #[error("{}: operating_points: {reason}", path.display())]
    OperatingPoints { path: PathBuf, reason: String },

    #[error("cannot save {}: incomplete configuration: {reason}", folder.display())]
    Incomplete { folder: PathBuf, reason: String },

    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error("cannot write {}: {reason}", path.display())]
    WriteTensors { path: PathBuf, reason: String },
}
