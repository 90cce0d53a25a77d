//! Plain Rust, for any CPU. Bodies marked `inline(always)` are compiled again for wider vectors by the sets'
//! own folders.

pub(crate) mod depthwise;
pub(crate) mod gemm;
pub(crate) mod lookup;

/// Loops in plain Rust that compilers make vectors of: [`Isa::vectorize`](crate::Isa) runs them compiled for an
/// instruction set. `run` and all it calls is `inline(always)`, or it would be compiled for the base set only.
pub(crate) trait Loop {
    fn run(self);
}
