//! What tch lacks, each a thin call into libtorch's own C++ (`cpp/`):
//!
//! ```text
//! autocast        bf16 or fp16 mixed precision, on CPU too
//! channels_last   the memory format convolutions like
//! upload          to a card, without waiting for it
//! AdamW           fused, with state that can be saved and restored
//! Group           c10d process groups (Gloo, NCCL) with collectives autograd differentiates
//! profile         which operations ran, and how long each took
//! Waits           how often the host waited for a card
//! load_cuda       finds the CUDA half of libtorch at run time, so one CPU-linked binary serves both
//! ```

mod adamw;
mod autocast;
mod ffi;
mod group;
mod profile;
mod waits;

pub use adamw::AdamW;
pub use autocast::autocast;
pub use ffi::Error;
pub use group::{Group, Ranks, Reduce};
pub use profile::{Operation, profile};
pub use waits::Waits;

use ffi::{check, handle, owned};
use std::{
    ffi::{c_int, c_void},
    ptr,
};
use tch::{Device, Tensor};

/// Makes a gradient undefined, as before the first backward pass: saves the memory and a pass of zeroing.
pub fn clear_grad(tensor: &Tensor) {
    // SAFETY: the handle is a live tensor's; libtorch only drops its gradient.
    unsafe { ffi::ext_clear_grad(handle(tensor)) }
}

/// `[B, C, H, W]` with the channels of a pixel side by side in memory.
pub fn channels_last(tensor: &Tensor) -> Result<Tensor, Error> {
    let mut out = ptr::null_mut();
    // SAFETY: a live tensor in, a fresh one out.
    check(unsafe { ffi::ext_channels_last(handle(tensor), &mut out) })?;
    Ok(owned(out))
}

/// The tensor on `device`. The host goes on at once whatever a card is still computing, which a plain copy does not.
pub fn upload(tensor: &Tensor, device: Device) -> Result<Tensor, Error> {
    let Device::Cuda(card) = device else { return Ok(tensor.to_device(device)) };
    if tensor.device() == device {
        return Ok(tensor.shallow_clone());
    }
    let mut out = ptr::null_mut();
    // SAFETY: a live tensor in, a fresh one out; libtorch keeps the pinned copy until the card has read it.
    check(unsafe { ffi::ext_upload(handle(tensor), card as c_int, &mut out) })?;
    Ok(owned(out))
}

/// Loads `libtorch_cuda.so`, which registers the CUDA backend. Call it before any other tensor call.
///
/// The library is looked for beside the libtorch this binary was linked to and along `LD_LIBRARY_PATH`.
pub fn load_cuda() -> Result<(), Error> {
    let name = c"libtorch_cuda.so";
    // SAFETY: a C string and flags; the library's initialisers are PyTorch's own.
    let loaded = unsafe { ffi::dlopen(name.as_ptr(), ffi::RTLD_NOW | ffi::RTLD_GLOBAL) };
    if loaded.is_null() { Err(ffi::last_load_error()) } else { Ok(()) }
}

/// The most bytes that tensors of this process have taken of a card's memory at a time. An error in a build without CUDA.
pub fn card_memory(card: usize) -> Result<u64, Error> {
    let mut bytes = 0;
    // SAFETY: a number in, a number out.
    check(unsafe { ffi::ext_card_memory(card as c_int, &mut bytes) })?;
    Ok(bytes as u64)
}

/// Whether ranks on cards can join a [`Group`]: decided when this was built, by what `LIBTORCH` held; the error says what
/// it lacked.
pub fn need_nccl() -> Result<(), Error> {
    if cfg!(nccl) {
        return Ok(());
    }
    Err(Error(
        "built without NCCL, which ranks on CUDA cards need: LIBTORCH held no lib/libtorch_cuda.so then \
         (trainer/docs/gpu.md says how to build with it)"
            .into(),
    ))
}

/// Major and minor compute capability of a card; call after [`load_cuda`].
pub fn cuda_capability(index: usize) -> Result<(i32, i32), Error> {
    type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
    let name = c"cudaDeviceGetAttribute";
    // SAFETY: null searches all libraries loaded so far, the CUDA runtime among them.
    let symbol = unsafe { ffi::dlsym(ptr::null_mut(), name.as_ptr()) };
    if symbol.is_null() {
        return Err(Error("the CUDA runtime is not loaded".into()));
    }
    // SAFETY: the CUDA runtime documents this signature.
    let attribute = unsafe { std::mem::transmute::<*mut c_void, Attribute>(symbol) };
    let ask = |which: c_int| {
        let mut value = 0;
        // SAFETY: a number out.
        match unsafe { attribute(&mut value, which, index as c_int) } {
            0 => Ok(value),
            code => Err(Error(format!("CUDA error {code} asking for a card's capability"))),
        }
    };
    const MAJOR: c_int = 75;
    const MINOR: c_int = 76;
    Ok((ask(MAJOR)?, ask(MINOR)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn channels_last_keeps_values_and_changes_strides() {
        let x = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([1, 2, 3, 4]);
        let y = channels_last(&x).unwrap();
        assert_eq!(y.stride(), [24, 1, 8, 2]);
        assert!(x.equal(&y));
    }

    #[test]
    fn a_cleared_gradient_is_undefined() {
        let x = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        x.sum(Kind::Float).backward();
        assert!(x.grad().defined());
        clear_grad(&x);
        assert!(!x.grad().defined());
    }
}
