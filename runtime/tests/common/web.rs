//! An HTTP client made of single requests, so that a test can leave out or spoil any part of them.

use super::{Daemon, PATIENCE};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named =
            |line: &&str| line.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
        self.head.lines().find(named).and_then(|line| line.split_once(':')).map(|(_, v)| v.trim())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Sends a request with these header lines and reads the answer to its end.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    request: &str,
    headers: &[&str],
    body: &str,
) -> Answer {
    let host = "Host: localhost";
    let host = if headers.iter().any(|h| h.starts_with("Host:")) { &[][..] } else { &[host][..] };
    let mut text = format!("{request} HTTP/1.1\r\nConnection: close\r\n");
    for line in host.iter().chain(headers) {
        text += &format!("{line}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += &format!("\r\n{body}");
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a complete head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    Answer { status, head, body: answer.split_off(end + 4) }
}

impl Daemon {
    pub(crate) fn browser(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn ask(&self, request: &str, headers: &[&str], body: &str) -> Answer {
        ask(&mut self.browser(), request, headers, body)
    }
}
