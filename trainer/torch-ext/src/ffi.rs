//! The C interface of `cpp/`. Tensors cross as tch's own handles (`at::Tensor *`).

use std::ffi::{CStr, c_char, c_int, c_void};
use tch::Tensor;
use torch_sys::C_tensor;

pub(crate) const RTLD_NOW: c_int = 2;
pub(crate) const RTLD_GLOBAL: c_int = 0x100;

/// A process group made by `ext_group_open`.
#[repr(C)]
pub(crate) struct RawGroup {
    _opaque: [u8; 0],
}

type T = *mut C_tensor;
type Message = *mut c_char;

unsafe extern "C" {
    pub(crate) fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    pub(crate) fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;

    fn ext_free(message: Message);
    pub(crate) fn ext_clear_grad(tensor: T);
    pub(crate) fn ext_autocast(cuda: c_int, on: c_int, kind: c_int) -> Message;
    pub(crate) fn ext_channels_last(tensor: T, out: *mut T) -> Message;
    pub(crate) fn ext_upload(tensor: T, card: c_int, out: *mut T) -> Message;
    pub(crate) fn ext_clip_grad_norm(grads: *const T, n: c_int, max: f64, out: *mut T) -> Message;
    pub(crate) fn ext_unscale(
        grads: *const T,
        n: c_int,
        inverse_scale: T,
        found: *mut T,
    ) -> Message;
    pub(crate) fn ext_fused_adamw(
        parameters: *const T,
        grads: *const T,
        means: *const T,
        squares: *const T,
        steps: *const T,
        n: c_int,
        rate: f64,
        beta1: f64,
        beta2: f64,
        decay: f64,
        eps: f64,
        skip: T,
    ) -> Message;

    pub(crate) fn ext_profile_begin(handle: *mut u64) -> Message;
    pub(crate) fn ext_profile_end(handle: u64, out: *mut Message) -> Message;

    pub(crate) fn ext_waits_begin() -> Message;
    pub(crate) fn ext_waits_end(count: *mut u64) -> Message;
    pub(crate) fn ext_card_memory(card: c_int, bytes: *mut i64) -> Message;

    pub(crate) fn ext_group_open(
        host: *const c_char,
        port: c_int,
        rank: c_int,
        world: c_int,
        card: c_int,
        seconds: c_int,
        out: *mut *mut RawGroup,
    ) -> Message;
    pub(crate) fn ext_group_close(group: *mut RawGroup);
    pub(crate) fn ext_all_reduce(group: *mut RawGroup, tensor: T, op: c_int) -> Message;
    pub(crate) fn ext_broadcast(group: *mut RawGroup, tensor: T, root: c_int) -> Message;
    pub(crate) fn ext_barrier(group: *mut RawGroup) -> Message;
    pub(crate) fn ext_gather(group: *mut RawGroup, tensor: T, out: *mut T) -> Message;
    pub(crate) fn ext_sum(group: *mut RawGroup, tensor: T, out: *mut T) -> Message;
}

/// What libtorch, or the loader, complained about.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

/// A null message is success.
pub(crate) fn check(message: Message) -> Result<(), Error> {
    if message.is_null() {
        return Ok(());
    }
    let text = owned_text(message);
    // libtorch appends a stack trace of its own after the first line.
    Err(Error(text.lines().next().unwrap_or_default().to_owned()))
}

/// A string of the C side's, freed there.
pub(crate) fn owned_text(text: *mut c_char) -> String {
    // SAFETY: the C side gives a string made by strdup.
    let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: it is ours to free, once.
    unsafe { ext_free(text) };
    copy
}

/// The handle libtorch knows this tensor by; valid as long as the tensor lives.
pub(crate) fn handle(tensor: &Tensor) -> T {
    tensor.as_ptr().cast_mut()
}

pub(crate) fn handles<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<T> {
    tensors.into_iter().map(handle).collect()
}

/// Takes ownership of a tensor the C side made with `new`.
pub(crate) fn owned(tensor: T) -> Tensor {
    // SAFETY: called once per handle, right after the call that made it succeeded.
    unsafe { Tensor::from_ptr(tensor) }
}

pub(crate) fn last_load_error() -> Error {
    // SAFETY: returns null or a string that lives until the next call on this thread.
    let message = unsafe { dlerror() };
    if message.is_null() {
        return Error("unknown loader error".into());
    }
    // SAFETY: not null, and the loader's strings end in 0.
    let text = unsafe { CStr::from_ptr(message) };
    Error(text.to_string_lossy().into_owned())
}
