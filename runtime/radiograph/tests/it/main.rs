//! `jpeg2000`, `high_throughput`: streams of other encoders; `written`: DICOM files of a drawn phantom are read exactly; `people`: also in the ways of other writers; `contradictions`: with headers
//! that are wrong about their pixels; `views`: what the gate learns from a header; `noise`: damaged ones without a panic; `pictures`: PNG, JPEG, resizing and the network's input.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod contradictions;
mod high_throughput;
mod jpeg2000;
mod noise;
mod people;
mod pictures;
mod support;
mod torchvision;
mod torchxrayvision;
mod views;
mod written;

/// A file that asks for more than any picture within `limits.rs` needs ends the test's process.
#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, 1 << 30);
