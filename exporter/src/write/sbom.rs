//! CycloneDX software bill of materials: every crate the workspace was built from.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

const LOCK: &str = include_str!("../../../Cargo.lock");

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// Absent for crates of the workspace.
    source: Option<String>,
    checksum: Option<String>,
}

/// CycloneDX 1.5 JSON for a bundle. No time and no random serial number: same inputs, same bytes.
pub(crate) fn cyclonedx(id: &str, version: &str) -> Result<String> {
    let lock: Lock = toml::from_str(LOCK).context("the embedded Cargo.lock cannot be read")?;
    let components: Vec<Value> = lock
        .package
        .iter()
        .filter(|package| package.source.is_some())
        .map(|Package { name, version, checksum, .. }| {
            let purl = format!("pkg:cargo/{name}@{version}");
            let mut component = json!({
                "type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl,
            });
            if let Some(checksum) = checksum {
                component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
            }
            component
        })
        .collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": { "type": "machine-learning-model", "name": id, "version": version },
            "tools": {
                "components": [{
                    "type": "application", "name": "exporter", "version": env!("CARGO_PKG_VERSION"),
                }],
            },
        },
        "components": components,
    });
    Ok(serde_json::to_string_pretty(&document)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_names_every_crate_with_its_version() {
        let bill: Value = serde_json::from_str(&cyclonedx("chest", "1.0.0").unwrap()).unwrap();
        let components = bill["components"].as_array().unwrap();
        let tract = components.iter().find(|c| c["name"] == "tract-onnx").unwrap();
        assert_eq!(tract["purl"], "pkg:cargo/tract-onnx@0.23.9");
        assert!(components.iter().all(|c| c["version"].is_string() && c["name"] != "exporter"));
    }
}
