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

    /// So many whole numbers and so many floats, with whatever is in them.
    pub(crate) fn numbers(&mut self, whole: usize, floats: usize) -> (&mut [i64], &mut [f32]) {
        let (a, b) = self.0.split_at_mut(whole * size_of::<i64>());
        // SAFETY: every pattern of bits is a number of either kind.
        let (a, b) = unsafe { (a.align_to_mut().1, b.align_to_mut().1) };
        (&mut a[..whole], &mut b[..floats]) // a buffer begins at a multiple of 64
    }

    /// The first `count` bytes and what follows.
    pub(crate) fn split_at(&mut self, count: usize) -> (&mut [u8], &mut [u8]) {
        self.0.split_at_mut(count)
    }
}
