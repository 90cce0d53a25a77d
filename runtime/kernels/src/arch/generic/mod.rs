//! Plain Rust, for any CPU. Bodies marked `inline(always)` are compiled again for wider vectors by the sets'
//! own folders.

pub(crate) mod depthwise;
pub(crate) mod gemm;
pub(crate) mod lookup;

/// Loops in plain Rust that compilers make vectors of: [`Isa::vectorize`](crate::Isa) runs them compiled for an
/// instruction set. `run` and all it calls is `inline(always)`, or it would be compiled for the base set only.
pub trait Loop: Sized {
    fn run(self);

    /// The same where compilers do not find the best instructions.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, BW and VL.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn run_avx512(self) {
        self.run();
    }
}
pub(crate) mod rows;
