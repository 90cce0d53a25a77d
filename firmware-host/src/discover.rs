//! Who is there: a question over UDP, to the port the box also takes connections on, answered from the address it takes
//! them at.
//!
//! One frame of `protocol` in a datagram each way. Nothing else is ever answered here, and the answer is no
//! longer than a few dozen bytes, so that it is of no use for flooding others. Anybody may have sent it: the key
//! in it is for comparing with a known one, and is never pinned.

use crate::random::random;
use protocol::{
    Answer, Call, Decoder, Digest, Reply, Request, RequestId, Response, Version, encode_frame,
};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Longest datagram looked at.
const LONGEST: usize = 1024;

/// A box that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub address: SocketAddr,
    pub version: Version,
    pub device: String,
    /// What it says its key is.
    pub key: Digest,
}

/// Asks `to`, which may be a broadcast address; every box once, with the address it takes connections at.
pub fn discover(to: SocketAddr, time: Duration) -> io::Result<Vec<Found>> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_broadcast(true)?;
    let call = Call { number: 1, id: RequestId(random()?), request: Request::Find };
    socket.send_to(&encode_frame(&call.to_bytes()), to)?;

    let end = Instant::now() + time;
    let mut found: Vec<Found> = Vec::new();
    let mut bytes = [0; LONGEST];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(found);
        }
        socket.set_read_timeout(Some(left))?;
        let (length, mut from) = match socket.recv_from(&mut bytes) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(found),
            // A machine without a box says so by ICMP.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        from.set_port(to.port());
        let answer = payload(&bytes[..length]).and_then(|payload| Answer::from_bytes(&payload));
        if let Some(Answer::Reply(Reply {
            outcome: Ok(Response::Found { version, device, key }),
            ..
        })) = answer
            && found.iter().all(|known| known.address != from)
        {
            found.push(Found { address: from, version, device, key });
        }
    }
}

/// The box's end.
#[derive(Debug)]
pub(crate) struct Hellos {
    /// Hears every address of the machine: a broadcast reaches no socket that is bound to one.
    ears: UdpSocket,
    /// Speaks from the address that takes connections, so that the answer tells it.
    mouth: UdpSocket,
}

impl Hellos {
    /// For a box that takes connections at `address`.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let ip = address.ip();
        let any: IpAddr =
            if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let ears = UdpSocket::bind((any, address.port())).or_else(|error| {
            // Another box of this machine hears them, at another address.
            log::warn!("broadcasts to find boxes go past this one: {error}");
            UdpSocket::bind(address)
        })?;
        let mouth = if ip == any { ears.try_clone()? } else { UdpSocket::bind((ip, 0))? };
        Ok(Self { ears, mouth })
    }

    /// Answers peers that `is_welcome`, for ever.
    pub(crate) fn answer(
        &self,
        is_welcome: impl Fn(IpAddr) -> bool,
        found: impl Fn() -> Response,
    ) -> io::Error {
        let mut bytes = [0; LONGEST];
        loop {
            let (length, from) = match self.ears.recv_from(&mut bytes) {
                Ok(received) => received,
                // What ICMP says of an earlier answer.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(error) => return error,
            };
            if !is_welcome(from.ip().to_canonical()) {
                continue;
            }
            let call =
                payload(&bytes[..length]).and_then(|payload| Call::from_bytes(&payload).ok());
            if let Some(Call { number, request: Request::Find, .. }) = call {
                let answer = Answer::Reply(Reply { number, outcome: Ok(found()) });
                // Unreachable peers are theirs to mend.
                let _ = self.mouth.send_to(&encode_frame(&answer.to_bytes()), from);
            }
        }
    }
}

fn payload(mut datagram: &[u8]) -> Option<Vec<u8>> {
    Decoder::new(LONGEST + 1).next(&mut datagram)
}
