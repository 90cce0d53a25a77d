//! Bytes for activations: aligned to a cache line, with readable slack behind the end.

use std::ops::{Deref, DerefMut};

use super::huge_pages::Piece;

/// Bytes that must be readable behind the last byte of a convolution's input. Kernels load whole vectors; what
/// they read there is multiplied by zero weights.
pub const SLACK: usize = 64;

/// Buffers from this size on lie in large pages (`huge_pages.rs`).
const LARGE: usize = 16 << 10;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// `len` bytes and [`SLACK`] more, aligned to 64. It dereferences to all of them.
pub struct Buffer(Memory);

enum Memory {
    Own(Vec<Line>),
    Piece(Piece),
}

impl Buffer {
    pub fn zeroed(len: usize) -> Self {
        let lines = (len + SLACK).div_ceil(64);
        // Tools that watch for reads past the end need buffers of their own (`make sanitize`, `make memcheck`).
        if lines * 64 < LARGE || cfg!(separate_buffers) {
            return Self(Memory::Own(vec![Line([0; 64]); lines]));
        }
        let piece = Piece::new(lines * 64);
        // SAFETY: the bytes are this piece's.
        unsafe { piece.start().write_bytes(0, piece.len()) };
        Self(Memory::Piece(piece))
    }
}

impl Buffer {
    /// Gives back what lies behind the first `len` bytes and their slack.
    pub(crate) fn truncate(&mut self, len: usize) {
        let lines = (len + SLACK).div_ceil(64);
        match &mut self.0 {
            Memory::Own(all) => {
                all.truncate(lines);
                all.shrink_to_fit();
            }
            Memory::Piece(piece) => piece.truncate(lines * 64),
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (start, len) = match &self.0 {
            Memory::Own(lines) => (lines.as_ptr().cast(), lines.len() * 64),
            Memory::Piece(piece) => (piece.start().as_ptr().cast_const(), piece.len()),
        };
        // SAFETY: `Line` is 64 initialised bytes without padding, and the bytes of a piece were written when it was
        // cut.
        unsafe { std::slice::from_raw_parts(start, len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (start, len) = match &mut self.0 {
            Memory::Own(lines) => (lines.as_mut_ptr().cast(), lines.len() * 64),
            Memory::Piece(piece) => (piece.start().as_ptr(), piece.len()),
        };
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// Gives memory that was freed back to the system. Loading a network needs a few times what stays; glibc
/// would keep the difference for later, which on a small box is somebody else's memory. Does nothing with
/// another C library.
pub fn release_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        malloc_trim(0);
    }
}
