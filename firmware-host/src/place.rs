//! Where a box is: `tcp://HOST:PORT`.

use anyhow::{Context, Result};
use firmware_host::link::{Link, connect_tcp};
use std::{fmt, str::FromStr};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `host:port`
    Tcp(String),
}

impl Place {
    pub(crate) fn connect(&self) -> Result<Box<dyn Link>> {
        let Self::Tcp(address) = self;
        let stream = connect_tcp(address).with_context(|| format!("cannot reach {self}"))?;
        Ok(Box::new(stream))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Tcp(address) = self;
        write!(f, "tcp://{address}")
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.strip_prefix("tcp://");
        let whole = address.and_then(|address| address.rsplit_once(':'));
        match whole {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(format!("{host}:{port}")))
            }
            _ => Err("expected tcp://HOST:PORT".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_read() {
        for text in ["tcp://127.0.0.1:7700", "tcp://[::1]:7700", "tcp://box.local:1"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for wrong in ["", "tcp://", "tcp://box", "tcp://:1", "tcp://box:99999", "box:7700"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
