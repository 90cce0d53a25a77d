//! PRIOR (Cheng et al., ICCV 2023): images and reports that explain each other.
//!
//! ```text
//! image [B,1,H,W] ─ ResNet ─┬─ attention pool ─ v [B,D] ──────────────┐ global
//!                           └─ places ─ V [B,P,D] ─┐ local            │ alignment
//! report [B,T] ──── BERT ───── sentences ─ Z [B,S,D] (→ prototypes) ──┴ t [B,D]
//!                                                  │
//!                     V, text per place ─ image decoder ─ image again
//!                     V ─ 16 queries, sentence decoder ─ matched to the prototypes
//! ```
//!
//! Start in `model.rs`: [`Prior::losses`] is the method, term by term. Which terms count, and how much,
//! is the caller's [`Objective`], so the three published stages are three values.
//!
//! Letters: `B` batch, `T` tokens, `S` sentences, `N` all sentences of a batch, `P` places, `D` joint
//! width, `K` prototypes, `Q` queries.

mod align;
mod attention;
mod bank;
mod batch;
mod image_decoder;
mod matching;
mod model;
mod trained;

pub(crate) use ::checkpoint::prior::{BATCH, TAU};
pub use ::checkpoint::prior::{Objective, PriorConfig, Quirks, Tau, Term, Weights};
pub use batch::{Batch, Noise};
pub use matching::assign;
pub use model::{Losses, Prior};
pub use trained::Trained;
