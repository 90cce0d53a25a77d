//! Which instruction sets this CPU has, and which kernels belong to each: the only place that decides.
//!
//! To add one: write a folder in `arch/` with a [`MicroKernel`], add a variant here, and the property tests
//! in `tests/` run it.

use std::fmt;

#[cfg(target_arch = "aarch64")]
use crate::arch::aarch64::{dotprod, i8mm, neon};
use crate::arch::generic::lookup::TableLookup;
use crate::arch::generic::rows::{RowKernels, normalised, requantized, shared};
use crate::arch::generic::{Loop, depthwise, gemm, lookup};
#[cfg(target_arch = "x86_64")]
use crate::arch::x86_64::{amx, avx2, avx512, avxvnni};
use crate::gemm::strided::StridedKernel;
use crate::gemm::tile::MicroKernel;
use crate::spec::ConvSpec;
use crate::winograd::WinogradKernels;

/// Proof that this CPU has an instruction set. Only [`Isa::available`] and what builds on it make one, so code that
/// holds an `Isa` may call that set's kernels.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    I8mm,
    #[cfg(target_arch = "aarch64")]
    Dotprod,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Scalar,
}

/// All sets of this architecture, fastest first, with their names for `CXR_ISA`.
#[cfg(target_arch = "x86_64")]
const SETS: &[(Set, &str)] = &[
    (Set::Amx, "amx"),
    (Set::Avx512Vnni, "avx512vnni"),
    (Set::AvxVnni, "avxvnni"),
    (Set::Avx2, "avx2"),
    (Set::Scalar, "scalar"),
];
#[cfg(target_arch = "aarch64")]
const SETS: &[(Set, &str)] =
    &[(Set::I8mm, "i8mm"), (Set::Dotprod, "dotprod"), (Set::Neon, "neon"), (Set::Scalar, "scalar")];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const SETS: &[(Set, &str)] = &[(Set::Scalar, "scalar")];

impl Set {
    #[cfg(target_arch = "x86_64")]
    fn detected(self) -> bool {
        match self {
            Self::Amx => Self::Avx512Vnni.detected() && amx::permitted(),
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Self::AvxVnni => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")
            }
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Scalar => true,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn detected(self) -> bool {
        use std::arch::is_aarch64_feature_detected;
        match self {
            Self::I8mm => {
                is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("i8mm")
            }
            Self::Dotprod => {
                is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")
            }
            Self::Neon => is_aarch64_feature_detected!("neon"),
            Self::Scalar => true,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn detected(self) -> bool {
        true
    }

    fn kernel(self) -> &'static MicroKernel {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Vnni => &avx512::gemm::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => &avxvnni::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => &avx2::gemm::KERNEL,
            #[cfg(target_arch = "aarch64")]
            Self::I8mm => &i8mm::KERNEL,
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod => &dotprod::KERNEL,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => &neon::gemm::KERNEL,
            Self::Scalar => &gemm::KERNEL,
        }
    }
}

impl Set {
    fn depthwise_kernel(self) -> &'static MicroKernel {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Vnni => &avx512::depthwise::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => &avxvnni::depthwise::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => &avx2::depthwise::KERNEL,
            // NEON is part of the base of aarch64, so compilers use it there.
            #[cfg(target_arch = "aarch64")]
            Self::I8mm | Self::Dotprod | Self::Neon => &depthwise::KERNEL,
            Self::Scalar => &depthwise::KERNEL,
        }
    }
}

impl Isa {
    /// What this CPU has, fastest first. The last one is `scalar`, which every CPU has.
    pub fn available() -> Vec<Self> {
        SETS.iter().filter(|(set, _)| set.detected()).map(|(set, _)| Self(*set)).collect()
    }

    pub fn best() -> Self {
        Self::available()[0]
    }

    pub fn scalar() -> Self {
        Self(Set::Scalar)
    }

    /// The one named by the environment variable `CXR_ISA`, or the best.
    pub fn from_env() -> Result<Self, UnknownIsa> {
        std::env::var("CXR_ISA").map_or_else(|_| Ok(Self::best()), |name| Self::from_name(&name))
    }

    pub fn from_name(name: &str) -> Result<Self, UnknownIsa> {
        let found = Self::available().into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| UnknownIsa { name: name.to_owned() })
    }

    pub fn name(self) -> &'static str {
        let entry = SETS.iter().find(|(set, _)| *set == self.0);
        entry.expect("an Isa is made from an entry of SETS").1
    }

    pub(crate) fn kernel(self) -> &'static MicroKernel {
        self.0.kernel()
    }

    /// See [`MicroKernel::peak`]: at the set's highest rate, whichever of its units has it.
    pub(crate) fn peak(self) -> unsafe fn(usize) -> u64 {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx => amx::peak,
            _ => self.kernel().peak,
        }
    }

    /// Micro-kernels over strided rows, where the set gains by them: the first that suits a convolution.
    pub(crate) fn strided(self) -> &'static [StridedKernel] {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx => &amx::STRIDED,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => &avx512::overlapped::STRIDED,
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni => &avxvnni::overlapped::STRIDED,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => &avx2::overlapped::STRIDED,
            _ => &[],
        }
    }

    /// Winograd's form, where the set multiplies 16-bit numbers at least half as fast as bytes: this CPU's
    /// best way first.
    pub(crate) fn winograd(self) -> &'static [WinogradKernels] {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => avx512::winograd::ways(),
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni => &[avxvnni::WINOGRAD],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => &[avx2::winograd::WINOGRAD],
            #[cfg(target_arch = "aarch64")]
            Set::Neon => &[neon::winograd::WINOGRAD],
            _ => &[],
        }
    }

    /// Runs loops that were compiled for the set's own vectors. Results are the same: nothing is fused or reordered.
    pub fn vectorize(self, body: impl Loop) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` is made only where the CPU has the set.
            Set::Amx | Set::Avx512Vnni => unsafe { avx512::autovectorized::run(body) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::AvxVnni | Set::Avx2 => unsafe { avx2::autovectorized::run(body) },
            // NEON is part of the base of aarch64, so compilers use it there.
            _ => body.run(),
        }
    }

    /// Multiplies 16-bit numbers: see [`crate::matmul`].
    pub(crate) fn wide_product(self) -> &'static MicroKernel {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx | Set::Avx512Vnni => &avx512::gemm::WIDE,
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni => &avxvnni::WIDE,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => &avx2::gemm::WIDE,
            #[cfg(target_arch = "aarch64")]
            Set::I8mm | Set::Dotprod | Set::Neon => &neon::winograd::WIDE,
            Set::Scalar => &gemm::WIDE,
        }
    }

    /// Loops over rows of sums.
    pub(crate) fn row_kernels(self) -> RowKernels {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx | Set::Avx512Vnni => avx512::autovectorized::ROWS,
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni | Set::Avx2 => avx2::autovectorized::ROWS,
            // NEON is part of the base of aarch64, so compilers use it there.
            _ => RowKernels { requantize: requantized, share: shared, layer_norm: normalised },
        }
    }

    /// Bytes through a table.
    pub(crate) fn table_lookup(self) -> unsafe fn(&TableLookup<'_>) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx | Set::Avx512Vnni if is_x86_feature_detected!("avx512vbmi") => {
                avx512::lookup::look_up_vbmi
            }
            #[cfg(target_arch = "x86_64")]
            Set::Amx | Set::Avx512Vnni | Set::AvxVnni | Set::Avx2 => avx2::lookup::look_up,
            _ => lookup::look_up,
        }
    }

    /// The kernel for a convolution: where the set's own cannot or should not do it, the next best can.
    pub(crate) fn kernel_for(self, spec: &ConvSpec, weights: &[i8]) -> &'static MicroKernel {
        if spec.is_depthwise() {
            return self.0.depthwise_kernel();
        }
        let kernel = self.kernel();
        if kernel.no_lowest_weight && weights.contains(&i8::MIN) {
            return &gemm::KERNEL;
        }
        kernel
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An instruction set that this CPU does not have, or that nobody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownIsa {
    name: String,
}

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
        write!(
            f,
            "instruction set {:?} is not one of this machine's: {}",
            self.name,
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownIsa {}
