//! Serial lines and pseudo-terminals: one session after the other, whoever opens one.

use super::{Agent, HANDSHAKE, session};
use crate::link::line::Answerer;
use crate::link::tls::{Admission, Records, Server};
use crate::link::{Link, Tty};
use std::io::ErrorKind;
use std::sync::{Arc, atomic::Ordering};
use std::thread;
use std::time::Duration;

/// Between two looks at a line that is out of order.
const PAUSE: Duration = Duration::from_millis(100);

/// With TLS; every session begins with a handshake.
pub(super) fn serve(agent: &Arc<Agent>, tty: Tty, name: &str) {
    let admission: Arc<dyn Admission> = Arc::clone(&agent.access) as _;
    let server = Server::new(&agent.access.identity, admission, Records::Short);
    let mut line = Answerer::new(tty);
    loop {
        let dropped = line.dropped();
        serve_one(agent, &server, &mut line, name);
        line.hang_up();
        agent.dropped.fetch_add(line.dropped() - dropped, Ordering::Relaxed);
    }
}

fn serve_one<L: Link>(agent: &Agent, server: &Server, line: &mut Answerer<L>, name: &str) {
    match line.accept(agent.config.listen.idle) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::TimedOut => return,
        Err(_) => return thread::sleep(PAUSE),
    }
    match server.accept(line, HANDSHAKE) {
        Ok(mut tls) => {
            let proven = Some(agent.binding(&tls));
            let peer = session::Peer { name: name.to_owned(), proven };
            session::serve(agent, &mut tls, peer, session::SERIAL_FRAME);
        }
        Err(error) => log::warn!("{name}: nobody is let in: {error}"),
    }
}

/// Without TLS: whoever says hello next begins a new session, and may no more than report.
pub(super) fn serve_plain(agent: &Arc<Agent>, mut tty: Tty, name: &str) {
    loop {
        let peer = session::Peer { name: name.to_owned(), proven: None };
        session::serve(agent, &mut tty, peer, session::SERIAL_FRAME);
        thread::sleep(PAUSE);
    }
}
