//! Thresholds a checkpoint was given in training: `operating_points` of its `config.toml`.

use crate::{CONFIG, Checkpoint, CheckpointError, one_line};
use serde::Deserialize;
use std::path::Path;

/// From which score on a finding is called positive.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OperatingPoint {
    /// The finding.
    pub name: String,
    /// Probability, 0 to 1.
    pub threshold: f32,
    /// By what rule, on which images.
    #[serde(default = "fitted_by_trainer")]
    pub chosen: String,
}

impl Checkpoint {
    /// Thresholds fitted in training; none where `config.toml` has none.
    pub fn operating_points(&self) -> Result<Vec<OperatingPoint>, CheckpointError> {
        OperatingPoint::of(&self.folder, &self.tables)
    }
}

impl OperatingPoint {
    /// Those in `tables`, the `config.toml` of `folder`.
    pub fn of(folder: &Path, tables: &toml::Table) -> Result<Vec<Self>, CheckpointError> {
        let Some(points) = tables.get("operating_points") else { return Ok(Vec::new()) };
        let refused =
            |reason| CheckpointError::OperatingPoints { path: folder.join(CONFIG), reason };
        let points: Vec<Self> = points.clone().try_into().map_err(|error| {
            refused(format!("no list of {{name, threshold}}: {}", one_line(&error)))
        })?;
        for Self { name, threshold, .. } in &points {
            if !(0.0..=1.0).contains(threshold) {
                let reason = format!("the threshold of `{name}` is {threshold}, expected 0 to 1");
                return Err(refused(reason));
            }
        }
        Ok(points)
    }
}

fn fitted_by_trainer() -> String {
    "fitted by trainer on its validation split".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Result<Vec<OperatingPoint>, String> {
        let tables = text.parse().unwrap();
        OperatingPoint::of(Path::new("c"), &tables).map_err(|error| error.to_string())
    }

    #[test]
    fn a_threshold_is_a_probability() {
        let one = |threshold: &str| {
            points(&format!("operating_points = [{{ name = \"Edema\", threshold = {threshold} }}]"))
        };
        assert_eq!(one("0.25").unwrap()[0].threshold, 0.25);
        for wrong in ["1.5", "-0.1", "nan"] {
            let error = one(wrong).unwrap_err();
            assert!(error.contains("config.toml") && error.contains("`Edema`"), "{error}");
        }
    }

    #[test]
    fn a_point_without_a_name_is_refused() {
        assert!(points("operating_points = [{ threshold = 0.5 }]").unwrap_err().contains("name"));
        assert_eq!(points("").unwrap(), []);
    }
}
