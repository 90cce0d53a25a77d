//! Figures a checkpoint and a bundle carry: one name for each metric, whoever measured it.

use serde::{Deserialize, Serialize};

/// Mean average precision at IoU .40, .45, … .75.
pub const MAP: &str = "map/.40-.75";

/// An entry of `metrics` in a checkpoint's `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// `classification`.
    pub task: String,
    /// `auroc/Pneumonia`.
    #[serde(deserialize_with = "metric")]
    pub metric: String,
    /// Which data.
    #[serde(default)]
    pub data: String,
    #[serde(default)]
    pub split: String,
    pub value: f64,
    /// 95 %.
    pub interval: [f64; 2],
    /// Images.
    pub n: u32,
}

/// Area under the ROC curve of a finding.
pub fn auroc(label: &str) -> String {
    format!("auroc/{label}")
}

/// Mean Dice of a region.
pub fn dice(label: &str) -> String {
    format!("dice/{label}")
}

/// Checkpoints of before say `AUROC Pneumonia`, `Dice lung`, `mAP .40-.75`.
fn metric<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    let old = [("AUROC ", "auroc/"), ("Dice ", "dice/"), ("mAP ", "map/")];
    let renamed =
        old.iter().find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)));
    Ok(renamed.unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn old_names_of_metrics_are_read_as_todays() {
        let named = |name: &str| {
            let figure = json!({ "task": "t", "metric": name, "value": 0.5, "interval": [0.4, 0.6], "n": 9 });
            serde_json::from_value::<Figure>(figure).unwrap().metric
        };
        assert_eq!(named("AUROC Pleural Thickening"), auroc("Pleural Thickening"));
        assert_eq!(named("Dice lung"), dice("lung"));
        assert_eq!(named("mAP .40-.75"), MAP);
        assert_eq!(named("auroc/Mass"), "auroc/Mass");
    }
}
