//! Serial lines and pseudo-terminals: one session after the other, whoever opens one.

use super::{Agent, HANDSHAKE, binding, session};
use crate::link::Link;
use crate::link::line::Answerer;
use crate::link::tls::{Records, Server};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, atomic::Ordering};
use std::thread;
use std::time::Duration;

/// Between two looks at a line that is out of order.
const PAUSE: Duration = Duration::from_millis(100);

/// With TLS; every session begins with a handshake.
pub(super) fn serve<L: Link>(agent: &Arc<Agent>, wire: L, name: &str) {
    let mut line = Answerer::new(wire);
    loop {
        let dropped = line.dropped();
        guarded(name, || {
            match line.accept(agent.config.listen.idle) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => return,
                Err(_) => return thread::sleep(PAUSE),
            }
            let (identity, admission) = agent.door();
            match Server::new(&identity, admission, Records::Short).accept(&mut line, HANDSHAKE) {
                Ok(mut tls) => {
                    let proven = Some(binding(&tls, &identity));
                    let peer = session::Peer { name: name.to_owned(), proven };
                    session::serve(agent, &mut tls, peer, session::SERIAL_FRAME);
                }
                Err(error) => log::warn!("{name}: nobody is let in: {error}"),
            }
        });
        line.hang_up();
        agent.dropped.fetch_add(line.dropped() - dropped, Ordering::Relaxed);
    }
}

/// Without TLS: whoever says hello next begins a new session, and may no more than report.
pub(super) fn serve_plain<L: Link>(agent: &Arc<Agent>, mut wire: L, name: &str) {
    loop {
        guarded(name, || {
            let peer = session::Peer { name: name.to_owned(), proven: None };
            session::serve(agent, &mut wire, peer, session::SERIAL_FRAME);
        });
        thread::sleep(PAUSE);
    }
}

/// One session. A panic costs that session: the line has one thread, which must live.
fn guarded(name: &str, session: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(session)).is_err() {
        log::error!("{name}: a session panicked; the line is free for the next one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::agent;
    use crate::link::Tty;
    use crate::link::line::Caller;
    use crate::link::tls::{Client, Identity};
    use crate::{Device, DeviceError, Patience};
    use std::io;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    const PATIENCE: Patience =
        Patience { silence: Duration::from_secs(2), call: Duration::from_secs(20) };

    /// A line whose driver panics once.
    struct Trap(Tty, Arc<AtomicBool>);

    impl Link for Trap {
        fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
            let length = self.0.receive(bytes, time)?;
            assert!(!self.1.swap(false, Ordering::Relaxed), "a driver is a surprise");
            Ok(length)
        }

        fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
            self.0.send(bytes, time)
        }
    }

    /// An agent that serves a line by `serve` until the process ends, its key, the line, and the trap in it.
    fn trapped(
        serve: impl FnOnce(&Arc<Agent>, Trap, &str) + Send + 'static,
        folder: &Path,
    ) -> (Arc<Agent>, std::path::PathBuf, Arc<AtomicBool>) {
        let agent = Arc::new(agent(folder));
        agent.access.draw_first_code().unwrap();
        let (tty, path) = Tty::pair().unwrap();
        let armed = Arc::new(AtomicBool::new(false));
        let (trap, served) = (Trap(tty, Arc::clone(&armed)), Arc::clone(&agent));
        thread::spawn(move || serve(&served, trap, "line"));
        (agent, path, armed)
    }

    #[test]
    fn a_session_that_panics_gives_a_line_back_to_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let (agent, path, armed) = trapped(serve, folder.path());
        let ours = Identity::new(&keyring::generate().unwrap());
        let client = Client::new(&ours, Some(agent.access.identity().public()), Records::Short);
        let open = || {
            let line = Caller::new(Tty::open(&path, None).unwrap()).unwrap();
            Device::open(Box::new(client.connect(line, PATIENCE.call).unwrap()), PATIENCE).unwrap()
        };
        // A stranger while a code is drawn: he is heard, and his request refused.
        let mut device = open();
        armed.store(true, Ordering::Relaxed);
        assert!(!matches!(device.ping(b"x"), Err(DeviceError::Refused(_))), "the session is gone");
        assert!(!armed.load(Ordering::Relaxed));
        assert_eq!(open().hello().device, agent.device);
    }

    #[test]
    fn a_session_that_panics_gives_a_line_without_tls_back_too() {
        let folder = tempfile::tempdir().unwrap();
        let (_agent, path, armed) = trapped(serve_plain, folder.path());
        let open = || Device::open(Box::new(Tty::open(&path, None).unwrap()), PATIENCE);
        let mut device = open().unwrap();
        armed.store(true, Ordering::Relaxed);
        assert!(device.ping(b"x").is_err());
        open().unwrap().ping(b"x").unwrap();
    }
}
