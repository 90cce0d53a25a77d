//! Peers that have connected and not yet proven who they are.

use super::held;
use std::collections::VecDeque;
use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// So many at a time; one more and the oldest is cut off, so that half-open ones keep nobody out.
const MOST: usize = 32;
/// How long whoever is turned away may take to read why.
const LINGER: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Pending {
    count: AtomicU64,
    streams: Mutex<VecDeque<(u64, TcpStream)>>,
}

/// A place among the pending, until dropped.
pub(super) struct Waiting {
    pending: Arc<Pending>,
    number: u64,
}

impl Pending {
    pub(super) fn enter(self: &Arc<Self>, stream: TcpStream) -> Waiting {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut streams = held(&self.streams);
        if streams.len() == MOST
            && let Some((_, oldest)) = streams.pop_front()
        {
            let _ = oldest.shutdown(Shutdown::Both);
        }
        streams.push_back((number, stream));
        Waiting { pending: Arc::clone(self), number }
    }
}

impl Waiting {
    /// Says no more and waits for the peer to go: closing at once would take back the last thing said.
    pub(super) fn linger(self) {
        let stream = self.leave();
        let Some(mut stream) = stream else { return };
        let (end, mut bytes) = (Instant::now() + LINGER, [0; 4096]);
        let _ = stream.shutdown(Shutdown::Write);
        while Instant::now() < end {
            let _ = stream.set_read_timeout(Some(LINGER));
            if !matches!(stream.read(&mut bytes), Ok(1..)) {
                return;
            }
        }
    }

    fn leave(&self) -> Option<TcpStream> {
        let mut streams = held(&self.pending.streams);
        let at = streams.iter().position(|(number, _)| *number == self.number)?;
        streams.remove(at).map(|(_, stream)| stream)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn one_too_many_cuts_the_oldest_off_and_who_left_is_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pending = Arc::new(Pending::default());
        let connect = || (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
        let mut all: Vec<_> = (0..MOST)
            .map(|_| connect())
            .map(|(there, here)| (there, pending.enter(here)))
            .collect();
        let (there, here) = connect();
        let _one_more = pending.enter(here);
        // The oldest alone reads an end.
        assert_eq!(all[0].0.read(&mut [0; 1]).unwrap(), 0);
        all[1].0.set_nonblocking(true).unwrap();
        assert!(all[1].0.read(&mut [0; 1]).is_err());
        drop((there, all));
        assert_eq!(held(&pending.streams).len(), 1);
    }
}
