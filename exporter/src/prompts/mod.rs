//! Findings asked for in words: phrases become vectors that a box compares images with, so that no text encoder ships.
//!
//! ```text
//! text    phrase → s, t           the text encoder, on candle
//! linear  layers in double precision
//! float   phrases → FloatPrompt   with text fixed, the local attention is linear in the places
//! fold    findings → Prompts      the same in 8 bits; read/prior.rs says which joint space
//! bank    reviewed sentences → Bank   a sentence for each prototype
//! fit     scores and truth → Platt, threshold
//! ```
//!
//! `D` is the width of the joint space, `P` the places of the last feature map.

pub(crate) mod bank;
pub(crate) mod fit;
pub(crate) mod float;
pub(crate) mod fold;
mod linear;
pub(crate) mod text;
