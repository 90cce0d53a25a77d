//! Messages, frames, slot states of the device link.
