//! Processes that train together: c10d, over Gloo on CPUs and over NCCL on CUDA cards, started by torchrun or by its
//! environment variables.

use crate::ffi::{self, check, handle, owned};
use crate::{Error, need_nccl};
use std::{env, ffi::CString, ptr, str::FromStr};
use tch::{Device, Tensor};

/// How long a rank waits for the others before it gives up.
const TIMEOUT_SECONDS: i32 = 600;

/// Which of the processes this is, and where they meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// Host and port of the store, which rank 0 or torchrun's agent serves.
    pub host: String,
    pub port: u16,
    pub rank: i32,
    pub world: i32,
    /// Rank on this machine; picks the GPU.
    pub local_rank: usize,
}

impl Ranks {
    /// As `MASTER_ADDR`, `MASTER_PORT`, `RANK`, `WORLD_SIZE` and `LOCAL_RANK` say; `None` when `WORLD_SIZE` is absent or 1.
    pub fn from_env() -> Result<Option<Self>, Error> {
        if env::var_os("WORLD_SIZE").is_none() || variable::<i32>("WORLD_SIZE")? == 1 {
            return Ok(None);
        }
        let local = if env::var_os("LOCAL_RANK").is_some() { "LOCAL_RANK" } else { "RANK" };
        Ok(Some(Self {
            host: variable("MASTER_ADDR")?,
            port: variable("MASTER_PORT")?,
            rank: variable("RANK")?,
            world: variable("WORLD_SIZE")?,
            local_rank: variable(local)?,
        }))
    }
}

/// This process among `world` of them.
#[derive(Debug)]
pub struct Group {
    raw: *mut ffi::RawGroup,
    pub rank: i64,
    pub world: i64,
}

/// What [`Group::all_reduce`] does with the ranks' values.
#[derive(Clone, Copy, Debug)]
pub enum Reduce {
    Sum,
    Min,
    Max,
}

impl Group {
    /// Joins the others, whose tensors all lie on a CPU (Gloo) or each rank's on a card of its own (NCCL).
    ///
    /// A card needs a build against a libtorch with CUDA; without it this fails at once, and never uses Gloo instead.
    pub fn join(ranks: &Ranks, device: Device) -> Result<Self, Error> {
        let host = CString::new(ranks.host.as_str())
            .map_err(|_| Error("MASTER_ADDR contains a zero byte".into()))?;
        let card = match device {
            Device::Cpu => -1,
            Device::Cuda(card) => {
                need_nccl()?;
                card as i32
            }
            other => return Err(Error(format!("no process group for tensors on {other:?}"))),
        };
        let Ranks { port, rank, world, .. } = *ranks;
        let mut raw = ptr::null_mut();
        // SAFETY: a C string and numbers in, an owned group out.
        check(unsafe {
            ffi::ext_group_open(
                host.as_ptr(),
                port.into(),
                rank,
                world,
                card,
                TIMEOUT_SECONDS,
                &mut raw,
            )
        })?;
        Ok(Self { raw, rank: rank.into(), world: world.into() })
    }

    /// Combines `tensor` over all ranks, in place on each. Autograd does not see it.
    pub fn all_reduce(&self, tensor: &Tensor, how: Reduce) -> Result<(), Error> {
        let op = match how {
            Reduce::Sum => 0,
            Reduce::Min => 3,
            Reduce::Max => 4,
        };
        // SAFETY: the group lives as long as `self`, the tensor as long as this call.
        check(unsafe { ffi::ext_all_reduce(self.raw, handle(tensor), op) })
    }

    /// Overwrites `tensor` on every rank with that of `root`.
    pub fn broadcast(&self, tensor: &Tensor, root: i64) -> Result<(), Error> {
        // SAFETY: as above.
        check(unsafe { ffi::ext_broadcast(self.raw, handle(tensor), root as i32) })
    }

    /// Waits until every rank is here.
    pub fn barrier(&self) -> Result<(), Error> {
        // SAFETY: as above.
        check(unsafe { ffi::ext_barrier(self.raw) })
    }

    /// `[B, …]` on each rank → `[world · B, …]`, in the order of the ranks. Gradients flow to every rank.
    pub fn gather(&self, tensor: &Tensor) -> Result<Tensor, Error> {
        let mut out = ptr::null_mut();
        // SAFETY: as above; a fresh tensor out.
        check(unsafe { ffi::ext_gather(self.raw, handle(tensor), &mut out) })?;
        Ok(owned(out))
    }

    /// The sum over the ranks. Gradients flow to every rank.
    pub fn sum(&self, tensor: &Tensor) -> Result<Tensor, Error> {
        let mut out = ptr::null_mut();
        // SAFETY: as above; a fresh tensor out.
        check(unsafe { ffi::ext_sum(self.raw, handle(tensor), &mut out) })?;
        Ok(owned(out))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: made by `ext_group_open`, closed once.
        unsafe { ffi::ext_group_close(self.raw) }
    }
}

fn variable<V: FromStr>(name: &str) -> Result<V, Error> {
    let text = env::var(name).map_err(|_| Error(format!("WORLD_SIZE is set but {name} is not")))?;
    text.parse().map_err(|_| Error(format!("{name} is `{text}`, expected a number")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use tch::Kind;

    fn alone() -> Ranks {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Ranks { host: "127.0.0.1".into(), port, rank: 0, world: 1, local_rank: 0 }
    }

    /// Every collective, where all others are none.
    fn collectives_of_a_rank_alone_change_nothing(device: Device) {
        let group = Group::join(&alone(), device).unwrap();
        let x = Tensor::from_slice(&[1.0_f32, -2.0, 3.0]).to_device(device).set_requires_grad(true);
        let same = x.detach().copy();
        for how in [Reduce::Sum, Reduce::Min, Reduce::Max] {
            group.all_reduce(&same, how).unwrap();
        }
        group.broadcast(&same, 0).unwrap();
        group.barrier().unwrap();
        let all =
            group.gather(&x.view([3, 1])).unwrap() * 2.0 + group.sum(&x.view([3, 1])).unwrap();
        all.sum(Kind::Float).backward();
        let values = |t: &Tensor| Vec::<f32>::try_from(&t.view([-1])).unwrap();
        assert_eq!(values(&same), [1.0, -2.0, 3.0]);
        assert_eq!(values(&all.detach()), [3.0, -6.0, 9.0]);
        assert_eq!(values(&x.grad()), [3.0; 3]);
    }

    #[test]
    fn a_rank_alone_speaks_over_gloo() {
        collectives_of_a_rank_alone_change_nothing(Device::Cpu);
    }

    #[test]
    fn gpu_a_rank_alone_speaks_over_nccl() {
        collectives_of_a_rank_alone_change_nothing(Device::Cuda(0));
    }

    #[test]
    fn cards_without_nccl_are_refused_at_once_and_never_served_by_gloo() {
        if need_nccl().is_ok() {
            return; // built against a libtorch with CUDA
        }
        // Nobody serves this store: a build that went there would wait.
        let ranks = Ranks { rank: 1, world: 2, ..alone() };
        let error = Group::join(&ranks, Device::Cuda(1)).unwrap_err().to_string();
        assert!(error.contains("libtorch_cuda.so") && error.contains("NCCL"), "{error}");
    }
}
