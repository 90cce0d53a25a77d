//! Processes that train together: c10d over Gloo, started by torchrun or by its environment variables.

use crate::Error;
use crate::ffi::{self, check, handle, owned};
use std::{env, ffi::CString, ptr, str::FromStr};
use tch::Tensor;

/// How long a rank waits for the others before it gives up.
const TIMEOUT_SECONDS: i32 = 600;

/// This process among `world` of them.
#[derive(Debug)]
pub struct Group {
    raw: *mut ffi::RawGroup,
    pub rank: i64,
    pub world: i64,
    /// Rank on this machine; picks the GPU.
    pub local_rank: i64,
}

/// What [`Group::all_reduce`] does with the ranks' values.
#[derive(Clone, Copy, Debug)]
pub enum Reduce {
    Sum,
    Min,
    Max,
}

impl Group {
    /// Joins the group described by `MASTER_ADDR`, `MASTER_PORT`, `RANK`, `WORLD_SIZE` and `LOCAL_RANK`;
    /// `None` when `WORLD_SIZE` is absent or 1.
    pub fn from_env() -> Result<Option<Self>, Error> {
        if env::var_os("WORLD_SIZE").is_none() || variable::<i64>("WORLD_SIZE")? == 1 {
            return Ok(None);
        }
        let (rank, world): (i32, i32) = (variable("RANK")?, variable("WORLD_SIZE")?);
        let local: i32 =
            if env::var_os("LOCAL_RANK").is_some() { variable("LOCAL_RANK")? } else { rank };
        let host = CString::new(variable::<String>("MASTER_ADDR")?)
            .map_err(|_| Error("MASTER_ADDR contains a zero byte".into()))?;
        let port = variable("MASTER_PORT")?;
        let mut raw = ptr::null_mut();
        // SAFETY: a C string and numbers in, an owned group out.
        check(unsafe {
            ffi::ext_group_open(host.as_ptr(), port, rank, world, TIMEOUT_SECONDS, &mut raw)
        })?;
        Ok(Some(Self { raw, rank: rank.into(), world: world.into(), local_rank: local.into() }))
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
