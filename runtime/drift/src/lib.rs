//! Notices that images have changed: another detector, another window, another population. It says so and does nothing.
//!
//! ```text
//! pixels      the network's input        → 17 numbers, a histogram, and a coarse picture
//! directions  coarse pictures            → how far along what a gamma or a mirror would do to them
//! axes        embeddings                 → places along the axes of most variance
//! looks       input, embedding, scores   → the numbers of one image
//! table       numbers                    → ranks among the reference's images
//! charts      ranks, image by image      → cumulative sums (CUSUM)
//! windows     ranks of a week or month   → Kolmogorov–Smirnov, population stability index
//! simulate    the reference              → limits that give one false alarm in 10,000 images
//! reference   all of it as the bytes of a bundle's section
//! monitor     images of many sources     → alarms, trends
//! ```
//!
//! ```
//! use drift::{Effort, Frame, Gathered, Monitor, Reference, Seen};
//!
//! let frame = Frame { height: 16, width: 16, black: 0.0, white: 1.0 };
//! let image = |number: usize, light: f32| {
//!     let grey = |at: usize| ((at * (number % 97 + 3) % 101) as f32 / 101.0 * light).min(1.0);
//!     Seen { input: (0..256).map(grey).collect(), embedding: vec![light], scores: Vec::new() }
//! };
//! // On the workstation: what calibrates. On the box: what arrives.
//! let before: Vec<Gathered> = (0..120)
//!     .map(|number| Gathered::of(image(number, 0.5 + (number % 10) as f32 / 30.0), &frame))
//!     .collect::<Result<_, _>>()?;
//! let reference = Reference::build(frame, &before, Effort::QUICK)?;
//! let mut monitor = Monitor::new(&reference);
//! let noticed = (0..100_usize).find(|number| {
//!     let looks = reference.looks(image(*number, 1.3)).expect("it is a picture");
//!     !monitor.observe(&reference, 0, "ROOM 1", &looks).expect("of this reference").is_empty()
//! });
//! assert!(noticed.is_some());
//! # Ok::<(), drift::DriftError>(())
//! ```
//!
//! No clock, no files, no sockets. Start at [`Monitor::observe`]; [`Reference::build`] makes what it compares with.

mod axes;
mod charts;
mod directions;
mod error;
mod looks;
mod monitor;
mod pixels;
mod reference;
mod simulate;
mod summary;
mod table;
mod trend;
mod windows;

pub use charts::Change;
pub use error::DriftError;
pub use looks::{Gathered, Looks, Seen};
pub use monitor::{Monitor, Notice, Span, Statistic, What};
pub use pixels::{Frame, GREYS, PIXELS};
pub use reference::{LEAST_IMAGES, Reference};
pub use simulate::{Effort, STUDIES_PER_FALSE_ALARM};
pub use summary::{Alarm, Day, FeatureSummary, StreamSummary, Summary, WindowSummary};
pub use windows::Distance;
