//! The deployed network as data.
