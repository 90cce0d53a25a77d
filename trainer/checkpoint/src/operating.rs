//! Thresholds a checkpoint was given in training: `operating_points` of its `config.toml`.

use crate::{CONFIG, Checkpoint, CheckpointError, one_line};
use metrics::operating::OperatingPoint;
use std::path::Path;

impl Checkpoint {
    /// Thresholds fitted in training; none where `config.toml` has none.
    pub fn operating_points(&self) -> Result<Vec<OperatingPoint>, CheckpointError> {
        operating_points(&self.folder, &self.tables)
    }
}

/// Those in `tables`, the `config.toml` of `folder`.
pub fn operating_points(
    folder: &Path,
    tables: &toml::Table,
) -> Result<Vec<OperatingPoint>, CheckpointError> {
    let Some(points) = tables.get("operating_points") else { return Ok(Vec::new()) };
    points.clone().try_into().map_err(|error| CheckpointError::OperatingPoints {
        path: folder.join(CONFIG),
        reason: format!("no list of {{name, threshold}}: {}", one_line(&error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Result<Vec<OperatingPoint>, String> {
        let tables = text.parse().unwrap();
        operating_points(Path::new("c"), &tables).map_err(|error| error.to_string())
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
