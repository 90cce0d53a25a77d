//! Sixteen random bytes: what tells calls, and starts of the agent, apart.

use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

pub fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    // The kernel gives up to 256 bytes at once.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}
