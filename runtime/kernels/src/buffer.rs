//! Bytes for activations: aligned to a cache line, with readable slack behind the end.

use std::ops::{Deref, DerefMut};

/// Bytes that must be readable behind the last byte of a convolution's input. Kernels load whole vectors; what
/// they read there is multiplied by zero weights.
pub const SLACK: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// `len` bytes and [`SLACK`] more, aligned to 64. It dereferences to all of them.
#[derive(Clone)]
pub struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    pub fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line([0; 64]); (len + SLACK).div_ceil(64)] }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `Line` is 64 initialised bytes without padding, and `lines` holds `lines.len()` of them in a row.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 64) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe {
            std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * 64)
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// Gives memory that was freed back to the system. Loading a network needs a few times what stays; glibc would keep the
/// difference for later, which on a small box is somebody else's memory. Does nothing with another C library.
pub fn release_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        malloc_trim(0);
    }
}
