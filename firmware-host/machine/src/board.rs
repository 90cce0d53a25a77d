//! Which machine this is, as far as it matters: what is known of it that its kernel does not tell.

use crate::Machine;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Machines that something is known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    JetsonOrinNano,
    JetsonOrinNx,
    JetsonAgxOrin,
    RaspberryPi4,
    RaspberryPi5,
    /// Fast and slow cores of Intel's.
    X86Hybrid,
    /// Its cores are threads of somebody else's machine.
    VirtualMachine,
    /// What the kernel tells is all there is.
    Generic,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{found:?} is no known machine, expected one of {}", Board::names())]
pub struct UnknownBoard {
    found: String,
}

impl Board {
    pub const ALL: [Self; 8] = [
        Self::JetsonOrinNano,
        Self::JetsonOrinNx,
        Self::JetsonAgxOrin,
        Self::RaspberryPi4,
        Self::RaspberryPi5,
        Self::X86Hybrid,
        Self::VirtualMachine,
        Self::Generic,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::JetsonOrinNano => "jetson-orin-nano",
            Self::JetsonOrinNx => "jetson-orin-nx",
            Self::JetsonAgxOrin => "jetson-agx-orin",
            Self::RaspberryPi4 => "raspberry-pi-4",
            Self::RaspberryPi5 => "raspberry-pi-5",
            Self::X86Hybrid => "x86-hybrid",
            Self::VirtualMachine => "virtual-machine",
            Self::Generic => "generic",
        }
    }

    /// All of them, for messages.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Where the firmware slows the processor down by itself, which no trip point of the kernel says, and where it does
    /// so hard: 80 and 85 °C on a Raspberry Pi.
    pub(crate) const fn firmware_limits(self) -> Option<(f32, f32)> {
        match self {
            Self::RaspberryPi4 | Self::RaspberryPi5 => Some((80.0, 85.0)),
            _ => None,
        }
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Board {
    type Err = UnknownBoard;

    fn from_str(name: &str) -> Result<Self, UnknownBoard> {
        let known = Self::ALL.into_iter().find(|board| board.name() == name);
        known.ok_or_else(|| UnknownBoard { found: name.to_owned() })
    }
}

impl Machine {
    /// By the device tree; on a PC by what the kernel says of its cores.
    pub fn known_board(&self) -> Board {
        if let Some(model) = self.board() {
            // What the makers write into the device tree, whatever carrier board it is.
            let known = [
                ("AGX Orin", Board::JetsonAgxOrin),
                ("Orin NX", Board::JetsonOrinNx),
                ("Orin Nano", Board::JetsonOrinNano),
                ("Raspberry Pi 5", Board::RaspberryPi5),
                ("Raspberry Pi Compute Module 5", Board::RaspberryPi5),
                ("Raspberry Pi 4", Board::RaspberryPi4),
                ("Raspberry Pi Compute Module 4", Board::RaspberryPi4),
            ];
            let own = known.into_iter().find(|(name, _)| model.contains(name));
            return own.map_or(Board::Generic, |(_, board)| board);
        }
        if self.exists("sys/devices/cpu_core/cpus") && self.exists("sys/devices/cpu_atom/cpus") {
            return Board::X86Hybrid;
        }
        // The flag of x86, or the name that a virtual machine's firmware has.
        let described = self.text("proc/cpuinfo").unwrap_or_default();
        let flags = described.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        let vendor = self.text("sys/class/dmi/id/sys_vendor").unwrap_or_default();
        let makers = ["QEMU", "KVM", "VMware", "Xen", "innotek GmbH"];
        let is_virtual = flags.split_whitespace().any(|flag| flag == "hypervisor")
            || makers.iter().any(|name| vendor.contains(name));
        if is_virtual { Board::VirtualMachine } else { Board::Generic }
    }
}
