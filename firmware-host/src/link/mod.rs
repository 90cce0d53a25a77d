//! Ways to carry bytes between workstation and box.

mod faults;
pub mod line;
mod record;
mod tap;
pub mod tls;
mod tty;

pub use faults::{Chance, Dice, Faults, Faulty, Thrown, Wrongs};
pub use record::{Direction, Recorded, Recording, RecordingError, Tape};
pub use tap::{Passed, Wire, pass};
pub use tty::Tty;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A stream of bytes both ways; every call ends within its time.
pub trait Link: Send {
    /// At least one byte, none at the end of the stream, or [`io::ErrorKind::TimedOut`].
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize>;

    /// All of them.
    fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()>;
}

impl<L: Link + ?Sized> Link for &mut L {
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
        (**self).receive(bytes, time)
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        (**self).send(bytes, time)
    }
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
        (**self).receive(bytes, time)
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        (**self).send(bytes, time)
    }
}

/// How long a peer may leave a packet unanswered before it counts as gone.
const CONNECT: Duration = Duration::from_secs(5);

/// Opens a connection; every address of a name is tried.
pub fn connect_tcp(address: &str) -> io::Result<TcpStream> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => error = e,
        }
    }
    Err(error)
}

impl Link for TcpStream {
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
        self.set_read_timeout(Some(time.max(Duration::from_millis(1))))?;
        self.read(bytes).map_err(named)
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time.max(Duration::from_millis(1))))?;
        self.write_all(bytes).map_err(named)
    }
}

/// Unix says "would block" when a socket's time is up.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
