//! What libtorch was asked to do, and how long each operation took.

use crate::{Error, ffi};
use std::ptr;

/// All calls of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// `aten::addmm`, or the name of a step of the backward pass.
    pub name: String,
    pub calls: u64,
    /// Without the operations it called itself.
    pub seconds: f64,
}

/// Runs `f` and tells every operation libtorch ran meanwhile, in any thread, slowest first.
///
/// Not for two at a time. On a GPU the seconds are those of the launch.
pub fn profile<R>(f: impl FnOnce() -> R) -> Result<(R, Vec<Operation>), Error> {
    let mut recording = Recording { handle: 0, on: true };
    // SAFETY: a number out.
    ffi::check(unsafe { ffi::ext_profile_begin(&mut recording.handle) })?;
    let result = f();
    let mut operations: Vec<Operation> = recording.end()?.lines().filter_map(parse).collect();
    operations.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok((result, operations))
}

/// The hook is gone when this is, also when `f` panics.
struct Recording {
    handle: u64,
    on: bool,
}

impl Recording {
    fn end(&mut self) -> Result<String, Error> {
        let mut text = ptr::null_mut();
        self.on = false;
        // SAFETY: the handle `ext_profile_begin` gave, ended once; an owned string out.
        ffi::check(unsafe { ffi::ext_profile_end(self.handle, &mut text) })?;
        Ok(ffi::owned_text(text))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.on {
            let _ = self.end();
        }
    }
}

fn parse(line: &str) -> Option<Operation> {
    let mut parts = line.split('\t');
    let name = parts.next()?.to_owned();
    Some(Operation {
        name,
        calls: parts.next()?.parse().ok()?,
        seconds: parts.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn operations_are_counted_with_what_they_took_themselves() {
        let x = Tensor::ones([64, 64], (Kind::Float, Device::Cpu));
        let (total, operations) = profile(|| {
            let y = x.matmul(&x).matmul(&x);
            y.sum(Kind::Float).double_value(&[])
        })
        .unwrap();
        assert_eq!(total, 64.0_f64.powi(4));
        let of = |name: &str| operations.iter().find(|o| o.name == name).map_or(0, |o| o.calls);
        // Other tests of this process may add to what is counted.
        assert!(of("aten::mm") >= 2, "{operations:?}");
        assert!(of("aten::_local_scalar_dense") >= 1, "{operations:?}");
        assert!(operations.iter().all(|o| o.seconds >= 0.0));
    }
}
