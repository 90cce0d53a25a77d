//! Which cores there are, and on which of them images are analysed.
//!
//! A thread on a slow core holds up every layer of a network, and two threads of one physical core share its
//! multipliers. So there is one thread for each fast physical core, and where cores differ, threads stay on the fast
//! ones.

use crate::Machine;
use protocol::Core;
use std::fs;

/// As fast as the fastest: favoured cores of one kind differ by less.
const FAST: u32 = 80; // percent
/// Beyond that nothing was measured, and a network of a few milliseconds has little left to divide.
const MOST_THREADS: usize = 8;
/// The fastest core's capacity.
const WHOLE: u32 = 1024;
/// So many are told, and fit a frame of the link.
const MOST_CORES: usize = 256;

/// Cores that analyse, and whether work must be bound to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) cores: Vec<u16>,
    pub(crate) pinned: bool,
}

impl Machine {
    /// Every core that is online, as the kernel describes it.
    pub fn cores(&self) -> Vec<Core> {
        let online = self.text("sys/devices/system/cpu/online").map(|text| list(&text));
        let online = online.filter(|cores| !cores.is_empty()).unwrap_or_else(|| self.folders());
        let mut cores: Vec<_> =
            online.into_iter().map(|number| self.core(number)).take(MOST_CORES).collect();
        let told = |core: &Core| self.text(&file(core.number, "cpu_capacity"));
        let told: Vec<Option<u32>> =
            cores.iter().map(|core| told(core)?.trim().parse().ok()).collect();
        let clocks: Vec<Option<u32>> = cores.iter().map(|core| core.megahertz).collect();
        for (core, capacity) in
            cores.iter_mut().zip(relative(&told).or(relative(&clocks)).unwrap_or_default())
        {
            core.capacity = capacity;
        }
        cores
    }

    /// Cores that Intel calls efficient: their capacity by the clock says too much.
    fn efficient(&self) -> Vec<u16> {
        self.text("sys/devices/cpu_atom/cpus").map(|text| list(&text)).unwrap_or_default()
    }

    pub(crate) fn choose(&self, cores: &[Core]) -> Choice {
        let efficient = self.efficient();
        let most = cores.iter().map(|core| u32::from(core.capacity)).max().unwrap_or(WHOLE);
        let is_fast = |core: &&Core| {
            u32::from(core.capacity) * 100 >= most * FAST && !efficient.contains(&core.number)
        };
        let fast: Vec<&Core> = cores.iter().filter(is_fast).collect();
        let mut whole: Vec<&Core> =
            fast.iter().copied().filter(|core| core.shares.is_none()).collect();
        whole.sort_by_key(|core| (std::cmp::Reverse(core.capacity), core.number));
        let chosen = whole.iter().take(MOST_THREADS).map(|core| core.number).collect();
        Choice { cores: chosen, pinned: fast.len() < cores.len() }
    }

    /// Kernels without hotplug do not say who is online.
    fn folders(&self) -> Vec<u16> {
        let Ok(folders) = fs::read_dir(self.root.join("sys/devices/system/cpu")) else {
            return Vec::new();
        };
        let number = |folder: fs::DirEntry| {
            folder.file_name().to_str()?.strip_prefix("cpu")?.parse::<u16>().ok()
        };
        let mut found: Vec<u16> = folders.flatten().filter_map(number).collect();
        found.sort_unstable();
        found
    }

    fn core(&self, number: u16) -> Core {
        let kilohertz = self.text(&file(number, "cpufreq/cpuinfo_max_freq"));
        let kilohertz: Option<u32> = kilohertz.and_then(|text| text.trim().parse().ok());
        let siblings = self.text(&file(number, "topology/thread_siblings_list"));
        let first = siblings.and_then(|text| list(&text).first().copied());
        Core {
            number,
            capacity: WHOLE as u16,
            megahertz: kilohertz.map(|kilohertz| kilohertz / 1000),
            shares: first.filter(|first| *first != number),
        }
    }
}

fn file(core: u16, name: &str) -> String {
    format!("sys/devices/system/cpu/cpu{core}/{name}")
}

/// In 1,024ths of the highest; `None` unless all are told.
fn relative(told: &[Option<u32>]) -> Option<Vec<u16>> {
    let all: Vec<u32> = told.iter().copied().collect::<Option<_>>()?;
    let most = all.iter().copied().max().filter(|most| *most > 0)?;
    let share = |value: u32| u64::from(value) * u64::from(WHOLE) / u64::from(most);
    Some(all.into_iter().map(|value| share(value) as u16).collect())
}

/// `0-3,8` as the kernel writes it; what is no number is left out.
fn list(text: &str) -> Vec<u16> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
        Some(first..=last.min(first.saturating_add(4095)))
    };
    text.trim().split(',').filter_map(part).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(list("5"), [5]);
        assert!(list("\n").is_empty() && list("none").is_empty());
    }

    #[test]
    fn a_value_that_one_core_does_not_tell_says_nothing_of_the_others() {
        assert_eq!(relative(&[Some(1024), Some(446)]), Some(vec![1024, 446]));
        assert_eq!(relative(&[Some(2400), Some(1200)]), Some(vec![1024, 512]));
        assert_eq!(relative(&[Some(2400), None]), None);
        assert_eq!(relative(&[Some(0)]), None);
    }
}
