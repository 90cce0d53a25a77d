//! What PRIOR's text side leaves on a box: findings by phrases and nearest sentences, without a text encoder.
//!
//! ```text
//! workstation   phrases ─▶ text encoder ─▶ text, look, listen   (vectors of one finding, folded)   ─┐ section,
//!               prototypes, reviewed sentences                  (the bank)                         ─┴ pack
//! box           radiograph ─▶ int8 network ─▶ v [D], V [P, D]   ─▶ Scorer ─▶ probability, heat map, sentences
//! ```
//!
//! `D` is the width of the space that images and text share, `P = h·w` the places of the last feature map. With the
//! text fixed, the local attention's two products with the image are products with one vector each, `look` (a sentence
//! looks at places) and `listen` (places listen to a sentence), so no weights of the text side ship.
//!
//! ```text
//! section     what ships: Language, Prompt, Bank, Pack    check     what makes it valid
//! wire, code  section ⇄ bytes                             image     v and V as the network's integers
//! scorer      v, V → probability, heat map                nearest   V → sentences
//! products    V by vectors, in integers                   similar   its loops over all prototypes
//! shares      G → heat maps: what places add to the score numbers   sigmoid and others, the same bits everywhere
//! sealed      a pack as a file                         carrier   which packs a bundle takes
//! definition  the formulas in plain f64, the oracle       golden    a pack proves itself on the images of `trial`
//! ```
//!
//! Start at [`Language`], then [`Scorer::score`]; [`definition`] has the formulas. No files, no clock, no sockets: the
//! same inputs give the same bits on every processor.

mod carrier;
mod check;
mod code;
pub mod definition;
mod error;
mod golden;
mod image;
mod nearest;
mod numbers;
mod products;
mod scorer;
mod sealed;
mod section;
mod shares;
mod similar;
mod trial;
mod wire;

pub use carrier::{Carrier, PackError};
pub use error::LanguageError;
pub use image::{Codes, Embedded, Image, MapCodes, Rounding};
pub use nearest::Near;
pub use numbers::sigmoid;
pub use scorer::{Said, Scorer};
pub use sealed::SealError;
pub use section::{Bank, Language, Pack, PackGolden, Platt, Prompt, Side, Space, Vector};
pub use trial::TrialImage;
