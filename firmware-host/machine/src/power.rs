//! What decides how fast the machine may be: read and reported, never changed. Power budgets belong to who chose the
//! supply and the cooling.

use crate::Machine;
use protocol::Power;
use std::fs;

impl Machine {
    pub fn power(&self) -> Vec<Power> {
        [self.nvpmodel(), self.governor(), self.supply()].into_iter().flatten().collect()
    }

    /// NVIDIA's power modes; the one with all clocks is called MAXN.
    fn nvpmodel(&self) -> Option<Power> {
        let status = self.text("var/lib/nvpmodel/status")?;
        let id: u32 =
            status.split_whitespace().find_map(|word| word.strip_prefix("pmode:"))?.parse().ok()?;
        let modes = self.text("etc/nvpmodel.conf").map(|text| modes(&text)).unwrap_or_default();
        let name = modes.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone());
        let fastest = modes.iter().find(|(_, name)| name.starts_with("MAXN"));
        let advice = fastest.filter(|(fastest, _)| *fastest != id).map(|(fastest, name)| {
            format!(
                "`nvpmodel -m {fastest}` ({name}) allows all cores their full clock, if supply and cooling do"
            )
        });
        let mode = name.unwrap_or_else(|| format!("mode {id}"));
        Some(Power { by: "nvpmodel".into(), mode, advice })
    }

    /// How clocks follow the load.
    fn governor(&self) -> Option<Power> {
        let folder = "sys/devices/system/cpu/cpu0/cpufreq";
        let governor = self.text(&format!("{folder}/scaling_governor"))?.trim().to_owned();
        let driver = self.text(&format!("{folder}/scaling_driver")).unwrap_or_default();
        // With these, powersave is a name for balance.
        let balances = ["intel_pstate", "amd-pstate-epp"].contains(&driver.trim());
        let advice = match governor.as_str() {
            "performance" => None,
            "powersave" if !balances => {
                Some("keeps the lowest clock: set the governor `performance`")
            }
            _ => Some(
                "raises the clock only once there is load: `performance` keeps it up between images",
            ),
        };
        Some(Power { by: "governor".into(), mode: governor, advice: advice.map(str::to_owned) })
    }

    /// Whether a Raspberry Pi gets enough volts.
    fn supply(&self) -> Option<Power> {
        let folders = fs::read_dir(self.root.join("sys/class/hwmon")).ok()?;
        let is_supply = |folder: &fs::DirEntry| {
            fs::read_to_string(folder.path().join("name"))
                .is_ok_and(|name| name.trim() == "rpi_volt")
        };
        let folder = folders.flatten().find(is_supply)?;
        let alarm = fs::read_to_string(folder.path().join("in0_lcrit_alarm")).ok()?;
        let (mode, advice) = match alarm.trim() {
            "0" => ("enough", None),
            _ => (
                "under-voltage",
                Some(
                    "use the supply and the cable that the maker names: the firmware lowers the clock",
                ),
            ),
        };
        Some(Power { by: "supply".into(), mode: mode.into(), advice: advice.map(str::to_owned) })
    }
}

/// Lines such as `< POWER_MODEL ID=0 NAME=MAXN >`.
fn modes(configuration: &str) -> Vec<(u32, String)> {
    let mode = |line: &str| {
        let fields = line.trim().strip_prefix('<')?.trim().strip_prefix("POWER_MODEL")?;
        let field = |name: &str| fields.split_whitespace().find_map(|word| word.strip_prefix(name));
        Some((field("ID=")?.parse().ok()?, field("NAME=")?.to_owned()))
    };
    configuration.lines().filter_map(mode).collect()
}
