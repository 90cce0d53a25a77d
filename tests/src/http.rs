//! A GET, nothing more.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Body of `http://{address}{path}`; anything but 200 is an error.
pub fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("no answer at {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("the answer has no head")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    if head.split_whitespace().nth(1) != Some("200") {
        bail!("GET {path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(answer[end + 4..].to_vec())
}

pub fn get_json(address: SocketAddr, path: &str) -> Result<serde_json::Value> {
    let body = get(address, path)?;
    serde_json::from_slice(&body).with_context(|| format!("GET {path}: not JSON"))
}
