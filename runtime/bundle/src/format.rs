//! How a bundle begins, and which formats there are.

pub(crate) const MAGIC: [u8; 4] = *b"CXRB";
/// The newest format this build reads. A bundle is written in the oldest that can say it, so that boxes in the field
/// read what they can run:
///
/// 1. the manifest
/// 2. the manifest, then how pictures are fitted into the input; in format 1 they are stretched
/// 3. the manifest, then what only networks of other tools need (`third.rs`)
/// 4. the same, whose pictures are resized and then cropped (`Fit::ResizeCrop`), which boxes of before cannot do
pub(crate) const NEWEST: u16 = 4;

/// How a pack begins.
pub(crate) const PACK_MAGIC: [u8; 4] = *b"CXRP";
/// Longest pack, in bytes.
pub const PACK_LIMIT: u64 = 16 << 20;
