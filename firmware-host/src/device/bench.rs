//! How fast the way to the box is, and the way back.

use super::{Device, DeviceError, WINDOW, random_id, unexpected};
use protocol::{Bytes, Request, Response};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

impl Device {
    /// Bytes a second to the box, in calls of `length` bytes at most, a window ahead of the answers as in a push.
    pub fn speed_to_box(&mut self, length: usize, time: Duration) -> Result<f64, DeviceError> {
        let length = length.min(self.payload_limit());
        let request = Request::Sink { payload: Bytes(vec![0xA5; length]) };
        self.speed("sink", &request, length, time, |response| match response {
            Response::Sunk { length: sunk } => *sunk as usize == length,
            _ => false,
        })
    }

    /// Bytes a second from the box.
    pub fn speed_from_box(&mut self, length: usize, time: Duration) -> Result<f64, DeviceError> {
        let length = length.min(self.payload_limit());
        let request = Request::Source { length: u32::try_from(length).unwrap_or(u32::MAX) };
        self.speed("source", &request, length, time, |response| match response {
            Response::Source { payload } => payload.0.len() == length,
            _ => false,
        })
    }

    fn speed(
        &mut self,
        what: &'static str,
        request: &Request,
        length: usize,
        time: Duration,
        is_right: impl Fn(&Response) -> bool,
    ) -> Result<f64, DeviceError> {
        let start = Instant::now();
        let (mut under_way, mut bytes) = (VecDeque::new(), 0.0);
        loop {
            while under_way.len() < WINDOW && start.elapsed() < time {
                under_way.push_back(self.send(random_id()?, request.clone())?);
            }
            let Some(number) = under_way.pop_front() else {
                return Ok(bytes / start.elapsed().as_secs_f64());
            };
            let response = self.reply(what, number)?;
            if !is_right(&response) {
                return Err(unexpected(what, &response));
            }
            bytes += length as f64;
        }
    }
}
