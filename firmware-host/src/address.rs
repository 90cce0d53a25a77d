//! The address of a box: `tcp://HOST:PORT`, `serial:///dev/ttyX` or `pty://PATH`.

use anyhow::{Context, Result, bail};
use firmware_host::DeviceError;
use firmware_host::enrolment::Binding;
use firmware_host::link::line::Caller;
use firmware_host::link::tls::{Client, Identity, Records, Tls};
use firmware_host::link::{Link, Tty, Wire, connect_tcp};
use keyring::VerifyingKey;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, str::FromStr};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `host:port`
    Tcp(String),
    /// Bits a second.
    Serial(PathBuf, u32),
    Pty(PathBuf),
}

/// A way to a box, with what the handshake proved.
pub(crate) struct Way {
    pub(crate) link: Box<dyn Link>,
    /// Of the box; none on a line without TLS.
    pub(crate) proven: Option<Binding>,
}

impl Address {
    /// Connects to the box with this key, or to any: then the caller has to have it proven.
    pub(crate) fn connect(
        &self,
        identity: &Identity,
        box_key: Option<VerifyingKey>,
        time: Duration,
    ) -> Result<Way> {
        let client = |records| Client::new(identity, box_key, records);
        let ours = identity.public();
        let way = match self {
            Self::Tcp(address) => connect_tcp(address)
                .and_then(|stream| client(Records::Long).connect(stream, time))
                .map(|tls| Way::of(tls, ours)),
            Self::Serial(path, _) | Self::Pty(path) => Tty::open(path, self.baud())
                .and_then(Caller::new)
                .and_then(|line| client(Records::Short).connect(line, time))
                .map(|tls| Way::of(tls, ours)),
        };
        way.map_err(|error| match error.kind() {
            // A handshake that is not answered is a box without a sign of life.
            io::ErrorKind::TimedOut => DeviceError::Silent { what: "handshake", silence: time },
            _ => DeviceError::Link(error),
        })
        .with_context(|| format!("cannot reach {self}"))
    }

    /// Without TLS: to a line that is configured so.
    pub(crate) fn connect_plain(&self) -> Result<Way> {
        let link = match self {
            Self::Tcp(_) => bail!("{self}: --plain is for lines, TCP always has TLS"),
            Self::Serial(path, _) | Self::Pty(path) => Tty::open(path, self.baud()),
        };
        let link =
            link.map_err(DeviceError::Link).with_context(|| format!("cannot reach {self}"))?;
        Ok(Way { link: Box::new(link), proven: None })
    }

    /// The bare line, whatever runs over it.
    pub(crate) fn wire(&self) -> Result<Wire> {
        let wire = match self {
            Self::Tcp(address) => connect_tcp(address).map(Wire::Tcp),
            Self::Serial(path, _) | Self::Pty(path) => Tty::open(path, self.baud()).map(Wire::Tty),
        };
        wire.map_err(DeviceError::Link).with_context(|| format!("cannot reach {self}"))
    }

    /// The most that the line can carry: ten bits a byte.
    pub(crate) fn bytes_per_second(&self) -> Option<f64> {
        self.baud().map(|baud| f64::from(baud) / 10.0)
    }

    fn baud(&self) -> Option<u32> {
        match self {
            Self::Serial(_, baud) => Some(*baud),
            Self::Tcp(_) | Self::Pty(_) => None,
        }
    }
}

impl Way {
    fn of<L: Link + 'static>(tls: Tls<L>, workstation: VerifyingKey) -> Self {
        let proven = Binding { session: tls.binding(), workstation, of_box: tls.peer() };
        Self { link: Box::new(tls), proven: Some(proven) }
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
            Some(("tcp", address)) => {
                let is_whole = address
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
                is_whole.then(|| Self::Tcp(address.into()))
            }
            Some(("serial", line)) => {
                let (path, baud) = line.split_once("?baud=").unwrap_or((line, "115200"));
                let baud = baud.parse().ok().filter(|baud| *baud > 0 && !path.is_empty());
                baud.map(|baud| Self::Serial(path.into(), baud))
            }
            Some(("pty", path)) if !path.is_empty() => Some(Self::Pty(path.into())),
            _ => None,
        };
        address.ok_or_else(|| {
            "expected tcp://HOST:PORT, serial:///dev/ttyX, serial:///dev/ttyX?baud=N or pty://PATH".into()
        })
    }
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
