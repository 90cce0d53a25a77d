//! Mixed precision: libtorch chooses per operation what runs in the short type.

use crate::{Error, ffi};
use std::ffi::c_int;
use tch::{Device, Kind};

/// Runs `f` with autocast to `kind` (`BFloat16` or `Half`) on `device`; without `kind`, just runs it.
///
/// Not for nesting. The weight casts cached inside are dropped at the end.
pub fn autocast<R>(device: Device, kind: Option<Kind>, f: impl FnOnce() -> R) -> Result<R, Error> {
    let Some(kind) = kind else { return Ok(f()) };
    let cuda = device.is_cuda();
    set(cuda, true, kind)?;
    let _on = Autocast { cuda, kind };
    Ok(f())
}

/// Autocast is on while this lives, also when `f` panics.
struct Autocast {
    cuda: bool,
    kind: Kind,
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // Switching off cannot fail once switching on succeeded.
        let _ = set(self.cuda, false, self.kind);
    }
}

fn set(cuda: bool, on: bool, kind: Kind) -> Result<(), Error> {
    // at::ScalarType, which tch keeps to itself.
    let kind = match kind {
        Kind::Half => 5,
        _ => 15,
    };
    // SAFETY: plain numbers.
    ffi::check(unsafe { ffi::ext_autocast(c_int::from(cuda), c_int::from(on), kind) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    #[test]
    fn a_matrix_product_runs_in_bf16_inside_and_in_f32_after() {
        let x = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
        let inside = autocast(Device::Cpu, Some(Kind::BFloat16), || x.matmul(&x).kind()).unwrap();
        assert_eq!(inside, Kind::BFloat16);
        assert_eq!(x.matmul(&x).kind(), Kind::Float);
        assert_eq!(autocast(Device::Cpu, None, || x.matmul(&x).kind()).unwrap(), Kind::Float);
    }
}
