//! The address of a box: `tcp://HOST:PORT`, `serial:///dev/ttyX` or `pty://PATH`.

use anyhow::{Context, Result};
use firmware_host::DeviceError;
use firmware_host::link::{Link, Tty, connect_tcp};
use std::path::PathBuf;
use std::{fmt, str::FromStr};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `host:port`
    Tcp(String),
    /// Bits a second.
    Serial(PathBuf, u32),
    Pty(PathBuf),
}

impl Address {
    pub(crate) fn connect(&self) -> Result<Box<dyn Link>> {
        let link: std::io::Result<Box<dyn Link>> = match self {
            Self::Tcp(address) => connect_tcp(address).map(|link| Box::new(link) as _),
            Self::Serial(path, baud) => {
                Tty::open(path, Some(*baud)).map(|link| Box::new(link) as _)
            }
            Self::Pty(path) => Tty::open(path, None).map(|link| Box::new(link) as _),
        };
        link.map_err(DeviceError::Link).with_context(|| format!("cannot reach {self}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Serial(path, baud) => write!(f, "serial://{}?baud={baud}", path.display()),
            Self::Pty(path) => write!(f, "pty://{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = match text.split_once("://") {
            Some(("tcp", address)) => tcp(address),
            Some(("serial", line)) => serial(line),
            Some(("pty", path)) if !path.is_empty() => Some(Self::Pty(path.into())),
            _ => None,
        };
        address.ok_or_else(|| {
            "expected tcp://HOST:PORT, serial:///dev/ttyX, serial:///dev/ttyX?baud=N or pty://PATH".into()
        })
    }
}

fn tcp(address: &str) -> Option<Address> {
    let (host, port) = address.rsplit_once(':')?;
    let whole = !host.is_empty() && port.parse::<u16>().is_ok();
    whole.then(|| Address::Tcp(address.into()))
}

fn serial(line: &str) -> Option<Address> {
    let (path, baud) = match line.split_once("?baud=") {
        Some((path, baud)) => (path, baud.parse().ok()?),
        None => (line, 115_200),
    };
    (!path.is_empty() && baud > 0).then(|| Address::Serial(path.into(), baud))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in [
            "tcp://127.0.0.1:7700",
            "tcp://[::1]:7700",
            "tcp://box.local:1",
            "serial:///dev/ttyS1?baud=9600",
            "pty:///run/link",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "tcp://",
            "tcp://box",
            "tcp://:1",
            "tcp://box:99999",
            "box:7700",
            "serial://",
            "serial:///dev/ttyS1?baud=fast",
            "pty://",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
