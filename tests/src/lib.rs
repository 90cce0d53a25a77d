//! Across crates, with real peers.
