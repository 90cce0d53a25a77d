//! Memory that operations work in.

use super::Buffer;

/// Memory that operations work in. One serves any number of them, one after the other.
#[derive(Debug)]
pub struct Scratch(pub(crate) Buffer);

impl Scratch {
    pub fn with_bytes(bytes: usize) -> Self {
        Self(Buffer::zeroed(bytes))
    }

    /// The first `count` bytes, with whatever is in them.
    pub(crate) fn bytes(&mut self, count: usize) -> &mut [u8] {
        &mut self.0[..count]
    }
}
