//! A tap: what two peers say to each other, passed on as it comes and written down, whatever it means.

use super::{Link, Recorded, Recording, Tty};
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes passed on at a time.
const PIECE: usize = 16 << 10;
/// Between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);
/// A peer that takes nothing for so long is gone.
const SEND: Duration = Duration::from_secs(10);

/// One end of the tap.
#[derive(Debug)]
pub enum Wire {
    Tcp(TcpStream),
    Tty(Tty),
}

/// Bytes that went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    pub to_box: u64,
    pub from_box: u64,
}

impl Wire {
    /// Its two directions, for two threads.
    fn split(self) -> io::Result<(Box<dyn Link>, Box<dyn Link>)> {
        Ok(match self {
            Self::Tcp(stream) => (Box::new(stream.try_clone()?), Box::new(stream)),
            Self::Tty(tty) => (Box::new(tty.try_clone()?), Box::new(tty)),
        })
    }

    /// Ends both directions of a connection.
    fn handle(&self) -> io::Result<Option<TcpStream>> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Some),
            Self::Tty(_) => Ok(None),
        }
    }
}

/// Passes on what `here` and the box at `there` say until one of them leaves, or `is_over` says so.
pub fn pass(
    here: Wire,
    there: Wire,
    recording: &Arc<Mutex<Recording>>,
    is_over: &(dyn Fn() -> bool + Sync),
) -> io::Result<Passed> {
    let ends = [here.handle()?, there.handle()?];
    let ((mut from_here, mut to_here), (from_there, to_there)) = (here.split()?, there.split()?);
    let recorded = |link| Recorded { link, recording: Arc::clone(recording) };
    let (mut from_there, mut to_there) = (recorded(from_there), recorded(to_there));
    let (left, to_box, from_box) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let over = || left.load(Ordering::Relaxed) || is_over();
    let leave = |passed: io::Result<()>| {
        left.store(true, Ordering::Relaxed);
        ends.iter().flatten().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        passed
    };
    thread::scope(|scope| {
        let back = scope.spawn(|| leave(one_way(&mut from_there, &mut to_here, &from_box, &over)));
        let forth = leave(one_way(&mut from_here, &mut to_there, &to_box, &over));
        let back = back.join().map_err(|_| io::Error::other("the way back panicked"))?;
        forth.and(back)
    })?;
    Ok(Passed { to_box: to_box.into_inner(), from_box: from_box.into_inner() })
}

fn one_way(
    from: &mut dyn Link,
    to: &mut dyn Link,
    count: &AtomicU64,
    over: &(dyn Fn() -> bool + Sync),
) -> io::Result<()> {
    let mut bytes = [0; PIECE];
    while !over() {
        let length = match from.receive(&mut bytes, LOOK) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                continue;
            }
            Err(_) if over() => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        };
        match to.send(&bytes[..length], SEND) {
            Ok(()) => count.fetch_add(length as u64, Ordering::Relaxed),
            // The other end left in the meantime.
            Err(_) if over() => return Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        };
    }
    Ok(())
}
