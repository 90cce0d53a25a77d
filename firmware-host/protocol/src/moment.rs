//! Time on a box whose clock may be wrong: which start of the machine it is, and how long ago that was.

use core::{fmt, str::FromStr, time::Duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The kernel's name for one start of the machine, `/proc/sys/kernel/random/boot_id`. A UUID where people read it,
/// 16 bytes elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Where the kernel does not tell. It equals no start of a machine, not even itself: ask [`BootId::same`].
    pub const UNKNOWN: Self = Self([0; 16]);

    /// Whether both are of one start, and known.
    pub fn same(self, other: Self) -> bool {
        self != Self::UNKNOWN && self == other
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for BootId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "expected a UUID such as 4f1cbd8a-0d7e-4a39-9f0c-2f3b0a1c5d6e";
        let text = text.as_bytes();
        let dashes = [8, 13, 18, 23];
        if text.len() != 36 || dashes.iter().any(|&at| text[at] != b'-') {
            return Err(wrong);
        }
        let mut digits = text.iter().enumerate().filter(|(at, _)| !dashes.contains(at));
        let mut digit = || {
            let (_, &byte) = digits.next()?;
            char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
        };
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            *byte = digit().zip(digit()).map(|(high, low)| high << 4 | low).ok_or(wrong)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = BootId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UUID")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<BootId, E> {
                text.parse().map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self)
        }
    }
}

/// One moment on a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub boot: BootId,
    /// Time since the machine started, sleep included (`CLOCK_BOOTTIME`). Nobody can set it.
    pub uptime: Duration,
    /// Seconds since 1970 by a clock that may be wrong: for people only.
    pub wall: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_boot_id_is_read_as_the_kernel_writes_it() {
        let text = "4f1cbd8a-0d7e-4a39-9f0c-2f3b0a1c5d6e";
        let id: BootId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert!(id.same(id) && !BootId::UNKNOWN.same(BootId::UNKNOWN));
        for wrong in ["", "4f1c", "4f1cbd8a-0d7e-4a39-9f0c-2f3b0a1c5d6g", &text.replace('-', "+")] {
            assert!(wrong.parse::<BootId>().is_err(), "{wrong}");
        }
    }
}
