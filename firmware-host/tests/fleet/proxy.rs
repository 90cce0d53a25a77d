//! A line between a box and its server that counts, listens, and breaks when told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    /// Connections so far; boxes ask one thing each.
    connections: AtomicUsize,
    /// The next connection that brings more than so many bytes from the server breaks.
    cut: Mutex<Option<usize>>,
    /// What boxes said, first lines and headers.
    said: Mutex<Vec<u8>>,
}

impl Proxy {
    pub(crate) fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let proxy = Self { url, line: Arc::default() };
        let line = Arc::clone(&proxy.line);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                line.connections.fetch_add(1, Ordering::Relaxed);
                let (line, server) = (Arc::clone(&line), server.clone());
                thread::spawn(move || pass(&line, near, &server));
            }
        });
        proxy
    }

    pub(crate) fn cut_after(&self, bytes: usize) {
        *self.line.cut.lock().unwrap() = Some(bytes);
    }

    pub(crate) fn was_cut(&self) -> bool {
        self.line.cut.lock().unwrap().is_none()
    }

    pub(crate) fn connections(&self) -> usize {
        self.line.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.line.said.lock().unwrap()).to_lowercase()
    }
}

fn pass(line: &Arc<Line>, near: TcpStream, server: &str) {
    let Ok(far) = TcpStream::connect(server) else { return };
    let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let listening = Arc::clone(line);
    let up = thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            let mut said = listening.said.lock().unwrap();
            if said.len() < 1 << 20 {
                said.extend_from_slice(&bytes[..length]);
            }
            drop(said);
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    down(line, far, near);
    let _ = up.join();
}

fn down(line: &Line, mut far: TcpStream, mut near: TcpStream) {
    let mut bytes = vec![0; 16 << 10];
    let mut brought = 0;
    while let Ok(length @ 1..) = far.read(&mut bytes) {
        brought += length;
        let mut cut = line.cut.lock().unwrap();
        if cut.is_some_and(|cut| brought > cut) {
            *cut = None;
            break;
        }
        drop(cut);
        if near.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = near.shutdown(Shutdown::Both);
    let _ = far.shutdown(Shutdown::Both);
}
