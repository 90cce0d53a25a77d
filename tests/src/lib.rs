//! Across crates, with real peers: what the demo and the end-to-end tests share.
//!
//! - [`tool`]: the four binaries, run as a user runs them
//! - [`service`]: a daemon or an agent that runs until dropped
//! - [`radiographs`]: real DICOM files from PyPI's `pydicom-data`, and dcmtk's `storescu`
//! - [`pipeline`]: the workstation's half, phantoms → checkpoint → bundle
//! - [`archive`]: Orthanc or dcmtk's `storescp`, which receive results
//! - [`edge`]: the box's half, agent and daemon
//! - [`drawn`]: checkpoints drawn from a seed, the same on every machine

pub mod archive;
pub mod drawn;
pub mod edge;
pub mod http;
pub mod pipeline;
pub mod radiographs;
pub mod service;
pub mod tool;
