//! Plain Rust, for any CPU. Bodies marked `inline(always)` are compiled again for wider vectors by the sets'
//! own folders.

pub(crate) mod depthwise;
pub(crate) mod gemm;
pub(crate) mod lookup;
