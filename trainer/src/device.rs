//! Where tensors live: `cpu`, `cuda`, `cuda:N`.

use anyhow::{Context, Result, bail, ensure};
use std::{cell::Cell, fmt, str::FromStr};
use tch::{Device, Tensor};

/// What the user asked for; [`Self::open`] checks that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceArg {
    Cpu,
    /// `None` is the first card, or this rank's in a group.
    Cuda(Option<usize>),
}

impl DeviceArg {
    /// The device, ready to use. Call before the first tensor: CUDA registers itself now.
    ///
    /// The binary is linked to the CPU half of libtorch only; the CUDA half is looked for when asked for.
    pub fn open(self, local_rank: usize) -> Result<Device> {
        let Self::Cuda(index) = self else { return Ok(Device::Cpu) };
        if !tch::utils::has_cudart() {
            torch_ext::load_cuda().context(
                "cannot use CUDA: libtorch_cuda.so is not on LD_LIBRARY_PATH (it is in the torch wheel's lib folder)",
            )?;
        }
        let (index, count) = (index.unwrap_or(local_rank), tch::Cuda::device_count());
        ensure!(count > 0, "cannot use CUDA: libtorch has it, but found no usable GPU");
        if index >= count as usize {
            bail!("cannot use cuda:{index}: found {count} GPU(s), counted from 0");
        }
        Ok(Device::Cuda(index))
    }
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(None)),
            Some(("cuda", index)) => match index.parse() {
                Ok(index) => Ok(Self::Cuda(Some(index))),
                Err(_) => Err(format!("`{index}` is not the number of a GPU")),
            },
            _ => Err("expected cpu, cuda or cuda:N".into()),
        }
    }
}

impl fmt::Display for DeviceArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(index)) => write!(f, "cuda:{index}"),
        }
    }
}

thread_local! {
    static DOWNLOADS: Cell<u64> = const { Cell::new(0) };
}

/// The tensor on the CPU, for which the host waits until the device has computed it: the only way training code looks
/// at numbers, so that it can be counted.
pub fn download(tensor: &Tensor) -> Tensor {
    DOWNLOADS.set(DOWNLOADS.get() + 1);
    tensor.to_device(Device::Cpu)
}

/// The tensor on `device`, for which nobody waits: a plain copy to a card waits for what runs there.
pub fn upload(tensor: &Tensor, device: Device) -> Tensor {
    torch_ext::upload(tensor, device).expect("the device was there when it was opened")
}

/// Times this thread has waited in [`download`].
pub fn downloads() -> u64 {
    DOWNLOADS.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_survive_parsing_and_printing() {
        for name in ["cpu", "cuda", "cuda:3"] {
            assert_eq!(name.parse::<DeviceArg>().unwrap().to_string(), name);
        }
        for name in ["", "gpu", "cuda:", "cuda:x", "cpu:0"] {
            assert!(name.parse::<DeviceArg>().is_err(), "{name}");
        }
    }
}
