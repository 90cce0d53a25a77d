//! Bundles on their way to many boxes: SWU images, update servers, rollouts over an inventory, USB sticks.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod boxes;
mod goosebit;
mod hawkbit;
mod inventory;
mod offline;
mod orders;
mod proxy;
mod server;
mod swu;
mod tls;
