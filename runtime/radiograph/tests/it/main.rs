//! `written`: DICOM files of a drawn phantom are read exactly; `noise`: damaged ones without a
//! panic; `pictures`: PNG, JPEG, resizing and the network's input.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod noise;
mod pictures;
mod support;
mod written;
