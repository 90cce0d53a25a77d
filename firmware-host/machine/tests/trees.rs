//! Machines as their kernels describe them: made trees of the files that are read.
#![expect(clippy::unwrap_used, reason = "a test")]

use machine::{Board, Machine};
use protocol::{Derating, Profile};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A root folder with files in it.
struct Tree(TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| tree.write(path, text));
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `count` cores from `first` on, with capacity and clock in kHz where they are told.
    fn cores(&self, first: u16, count: u16, capacity: Option<u32>, kilohertz: Option<u32>) {
        for number in first..first + count {
            let file = |name: &str| format!("sys/devices/system/cpu/cpu{number}/{name}");
            self.write(&file("topology/thread_siblings_list"), &format!("{number}\n"));
            if let Some(capacity) = capacity {
                self.write(&file("cpu_capacity"), &format!("{capacity}\n"));
            }
            if let Some(kilohertz) = kilohertz {
                self.write(&file("cpufreq/cpuinfo_max_freq"), &format!("{kilohertz}\n"));
            }
        }
    }

    /// Two threads of one core.
    fn siblings(&self, first: u16, second: u16) {
        for number in [first, second] {
            let path = format!("sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list");
            self.write(&path, &format!("{first},{second}\n"));
        }
    }

    fn zone(&self, number: u32, sensor: &str, celsius: f32, trips: &[(&str, f32)]) {
        let file = |name: &str| format!("sys/class/thermal/thermal_zone{number}/{name}");
        self.write(&file("type"), &format!("{sensor}\n"));
        self.write(&file("temp"), &format!("{:.0}\n", celsius * 1000.0));
        for (at, (kind, celsius)) in trips.iter().enumerate() {
            self.write(&file(&format!("trip_point_{at}_type")), &format!("{kind}\n"));
            self.write(
                &file(&format!("trip_point_{at}_temp")),
                &format!("{:.0}\n", celsius * 1000.0),
            );
        }
    }

    fn governor(&self, driver: &str, governor: &str) {
        self.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", &format!("{driver}\n"));
        self.write(
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            &format!("{governor}\n"),
        );
    }

    fn profile(&self) -> Profile {
        let machine = Machine::new(self.0.path());
        machine.profile(machine.known_board())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }
}

/// The file that a Jetson's power modes are in, shortened.
const NVPMODEL: &str = "\
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
# comment
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=10W >
< POWER_MODEL ID=2 NAME=15W >
< POWER_MODEL ID=3 NAME=25W >
< PM_CONFIG DEFAULT=2 >
";

const THROTTLED: [(&str, f32); 3] = [("active", 46.0), ("passive", 99.0), ("critical", 104.5)];

fn jetson(model: &str, cores: u16, online: &str, mode: &str) -> Tree {
    let tree = Tree::new(&[
        ("proc/device-tree/model", &format!("{model}\0")),
        ("sys/devices/system/cpu/online", online),
        ("etc/nvpmodel.conf", NVPMODEL),
        ("var/lib/nvpmodel/status", mode),
    ]);
    tree.cores(0, cores, Some(1024), Some(1_984_000));
    tree.governor("tegra194", "schedutil");
    tree.zone(0, "cpu-thermal", 52.0, &THROTTLED);
    tree.zone(1, "gpu-thermal", 50.5, &THROTTLED);
    // One that is switched off answers nothing.
    tree.zone(2, "cv0-thermal", 0.0, &THROTTLED);
    fs::write(tree.root().join("sys/class/thermal/thermal_zone2/temp"), "").unwrap();
    tree
}

#[test]
fn a_jetson_orin_nx_computes_on_the_cores_that_its_power_mode_leaves() {
    let model = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit";
    let tree = jetson(model, 8, "0-3\n", "pmode:0002 fmode:quiet\n");
    let profile = tree.profile();
    assert_eq!(profile.name, "jetson-orin-nx");
    assert_eq!((profile.chosen, profile.pinned), (vec![0, 1, 2, 3], false));
    assert_eq!(profile.cores[0].megahertz, Some(1984));
    assert_eq!((&*profile.power[0].by, &*profile.power[0].mode), ("nvpmodel", "15W"));
    assert!(profile.power[0].advice.as_ref().unwrap().contains("`nvpmodel -m 0` (MAXN)"));
    assert_eq!((&*profile.power[1].by, &*profile.power[1].mode), ("governor", "schedutil"));
    assert_eq!(profile.heat.sensor.as_deref(), Some("cpu-thermal"));
    assert_eq!((profile.heat.celsius, profile.heat.limit), (Some(52.0), Some(99.0)));
}

#[test]
fn a_jetson_agx_orin_has_more_cores_than_threads_are_worth_and_no_advice_at_its_fastest() {
    let model = "NVIDIA Jetson AGX Orin Developer Kit";
    let profile = jetson(model, 12, "0-11\n", "pmode:0000\n").profile();
    assert_eq!((&*profile.name, profile.cores.len()), ("jetson-agx-orin", 12));
    assert_eq!(profile.chosen, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((&*profile.power[0].mode, &profile.power[0].advice), ("MAXN", &None));
}

#[test]
fn a_mode_that_the_file_does_not_name_is_told_by_its_number() {
    let tree = jetson("NVIDIA Jetson Orin Nano Developer Kit", 6, "0-5\n", "pmode:0009\n");
    let profile = tree.profile();
    assert_eq!((&*profile.name, &*profile.power[0].mode), ("jetson-orin-nano", "mode 9"));
}

fn raspberry(model: &str, kilohertz: u32, celsius: f32) -> Tree {
    let tree = Tree::new(&[
        ("proc/device-tree/model", &format!("{model}\0")),
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
        ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
        ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n"),
    ]);
    // No capacity: its device tree does not tell any.
    tree.cores(0, 4, None, Some(kilohertz));
    tree.governor("cpufreq-dt", "ondemand");
    let fan = [("critical", 110.0), ("active", 50.0), ("active", 60.0), ("active", 67.5)];
    tree.zone(0, "cpu-thermal", celsius, &fan);
    tree
}

#[test]
fn a_raspberry_pi_5_uses_its_four_cores_and_gives_way_before_its_firmware_does_so_hard() {
    let profile = raspberry("Raspberry Pi 5 Model B Rev 1.0", 2_400_000, 61.0).profile();
    assert_eq!((&*profile.name, profile.pinned), ("raspberry-pi-5", false));
    assert_eq!(profile.chosen, [0, 1, 2, 3]);
    assert_eq!(profile.power[0].mode, "ondemand");
    assert!(profile.power[0].advice.as_ref().unwrap().contains("performance"));
    assert_eq!((&*profile.power[1].by, &*profile.power[1].mode), ("supply", "enough"));
    assert_eq!((profile.heat.derating, profile.heat.limit), (Derating::None, Some(80.0)));
    let hot = raspberry("Raspberry Pi 5 Model B Rev 1.0", 2_400_000, 86.0).profile();
    assert_eq!(hot.heat.derating, Derating::Pauses);
}

#[test]
fn a_raspberry_pi_4_that_gets_too_few_volts_says_so() {
    let tree = raspberry("Raspberry Pi 4 Model B Rev 1.5", 1_800_000, 50.0);
    tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
    let profile = tree.profile();
    assert_eq!((&*profile.name, profile.chosen.len()), ("raspberry-pi-4", 4));
    assert_eq!(profile.power[1].mode, "under-voltage");
    assert!(profile.power[1].advice.as_ref().unwrap().contains("supply"));
}

#[test]
fn on_big_little_only_the_big_cores_compute_and_threads_are_bound_to_them() {
    let tree = Tree::new(&[
        ("proc/device-tree/model", "Radxa ROCK 5B\0"),
        ("sys/devices/system/cpu/online", "0-7\n"),
    ]);
    tree.cores(0, 4, Some(530), Some(1_800_000));
    tree.cores(4, 2, Some(1024), Some(2_400_000));
    tree.cores(6, 2, Some(1002), Some(2_352_000));
    let profile = tree.profile();
    assert_eq!((&*profile.name, profile.pinned), ("generic", true));
    assert_eq!(profile.chosen, [4, 5, 6, 7]);
    // Where the kernel tells no capacity, the clocks do.
    for number in 0..8 {
        let path = format!("sys/devices/system/cpu/cpu{number}/cpu_capacity");
        fs::remove_file(tree.root().join(path)).unwrap();
    }
    let by_clock = tree.profile();
    assert_eq!((by_clock.chosen, by_clock.cores[0].capacity), (vec![4, 5, 6, 7], 768));
}

#[test]
fn a_hybrid_pc_uses_one_thread_of_each_fast_core() {
    let tree = Tree::new(&[
        ("sys/devices/cpu_core/cpus", "0-7\n"),
        ("sys/devices/cpu_atom/cpus", "8-15\n"),
        ("sys/devices/system/cpu/online", "0-15\n"),
        ("proc/cpuinfo", "flags\t\t: fpu vme sse2 avx2 avx_vnni\n"),
    ]);
    tree.cores(0, 8, None, Some(4_700_000));
    // By its clock alone an efficient core would count as fast.
    tree.cores(8, 8, None, Some(3_900_000));
    (0..4).for_each(|core| tree.siblings(2 * core, 2 * core + 1));
    tree.governor("intel_pstate", "powersave");
    tree.zone(0, "x86_pkg_temp", 71.0, &[("passive", 0.0), ("passive", 0.0)]);
    tree.zone(1, "acpitz", 47.0, &[("critical", 105.0), ("hot", 100.0)]);
    tree.zone(2, "iwlwifi_1", 58.0, &[]);
    let profile = tree.profile();
    assert_eq!((&*profile.name, profile.pinned), ("x86-hybrid", true));
    assert_eq!(profile.chosen, [0, 2, 4, 6]);
    assert_eq!(profile.cores[1].shares, Some(0));
    assert!(profile.power[0].advice.as_ref().unwrap().contains("between images"));
    // A trip at zero is none, and a zone without trips calls for nothing.
    assert_eq!((profile.heat.sensor.as_deref(), profile.heat.limit), (Some("acpitz"), Some(100.0)));
}

#[test]
fn a_plain_virtual_machine_uses_its_cores_and_says_nothing_more() {
    let tree = Tree::new(&[
        ("sys/devices/system/cpu/online", "0-1\n"),
        ("proc/cpuinfo", "model name\t: QEMU\nflags\t\t: fpu sse2 hypervisor\n"),
    ]);
    tree.cores(0, 2, None, None);
    let profile = tree.profile();
    assert_eq!((&*profile.name, profile.pinned), ("virtual-machine", false));
    assert_eq!((profile.chosen, profile.power), (vec![0, 1], vec![]));
    assert_eq!(profile.heat, protocol::Heat::default());
}

#[test]
fn a_machine_that_tells_nothing_has_no_cores_to_choose_and_is_no_error() {
    let profile = Tree::new(&[]).profile();
    assert_eq!((&*profile.name, profile.cores, profile.chosen), ("generic", vec![], vec![]));
}

#[test]
fn every_board_is_found_by_its_name_and_another_name_is_refused_with_all_of_them() {
    for board in Board::ALL {
        assert_eq!(board.name().parse(), Ok(board));
    }
    let error = "raspberry-pi-9".parse::<Board>().unwrap_err().to_string();
    assert!(error.contains("raspberry-pi-9") && error.contains("raspberry-pi-5"), "{error}");
}
