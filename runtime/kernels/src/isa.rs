//! Which instruction sets this CPU has, and which kernels belong to each: the only place that decides.
//!
//! To add one: write a file with a [`Kernel`], add a variant here, and the property tests in `tests/` run it.

use std::fmt;

#[cfg(target_arch = "x86_64")]
use crate::avx512;
use crate::portable;
use crate::tile::Kernel;

/// Proof that this CPU has an instruction set. Only [`Isa::available`] and what builds on it make one, so code that
/// holds an `Isa` may call that set's kernels.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    Scalar,
}

/// All sets of this architecture, fastest first, with their names for `CXR_ISA`.
const SETS: &[(Set, &str)] = &[
    #[cfg(target_arch = "x86_64")]
    (Set::Avx512Vnni, "avx512vnni"),
    (Set::Scalar, "scalar"),
];

impl Set {
    fn detected(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Self::Scalar => true,
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

    pub(crate) fn kernel(self) -> &'static Kernel {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => &avx512::KERNEL,
            Set::Scalar => &portable::KERNEL,
        }
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
