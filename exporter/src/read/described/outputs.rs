//! The `[[outputs]]` tables and the thresholds, held to the network's outputs.

use super::{
    Preset,
    file::OutputTable,
    names::{labels, of},
};
use anyhow::{Context, Result, bail, ensure};
use bundle::{Contract, Meaning, Scores};
use metrics::operating::OperatingPoint;
use std::collections::BTreeMap;

/// What the tables, or else the preset, say of each of the network's outputs.
pub(super) fn meanings(
    tables: Option<Vec<OutputTable>>,
    preset: Option<Preset>,
    network: &[String],
) -> Result<Vec<Meaning>> {
    let meanings = match (tables, preset.and_then(Preset::labels)) {
        (Some(tables), _) => {
            tables.into_iter().map(|table| meaning(table, network)).collect::<Result<Vec<_>>>()?
        }
        (None, Some((names, activation))) => {
            let labels = names.iter().map(|name| (*name).to_owned()).collect();
            let table = OutputTable::Findings { name: None, labels, activation };
            vec![meaning(table, network)?]
        }
        (None, None) => bail!(
            "nothing says what the outputs {network:?} mean: expected [[outputs]] in --manifest, or a --preset that has labels"
        ),
    };
    let named: Vec<&str> = meanings.iter().flat_map(Meaning::names).collect();
    if let Some(other) = named.iter().find(|name| network.iter().all(|own| own != **name)) {
        bail!("[[outputs]] name `{other}`, the network's outputs are {network:?}");
    }
    if let Some(left) = network.iter().find(|own| !named.contains(&own.as_str())) {
        bail!(
            "the network's output `{left}` stands in no [[outputs]]: kind = \"unused\" says that nobody looks at it"
        );
    }
    Ok(meanings)
}

fn meaning(table: OutputTable, network: &[String]) -> Result<Meaning> {
    Ok(match table {
        OutputTable::Findings { name, labels, activation } => {
            let labels = self::labels(labels);
            Meaning::Findings(Scores { output: of(name, network, "findings")?, activation, labels })
        }
        OutputTable::Masks { name, labels, activation } => {
            let labels = self::labels(labels);
            Meaning::Masks(Scores { output: of(name, network, "masks")?, activation, labels })
        }
        OutputTable::Boxes(table) => Meaning::Boxes(table.boxes(network)?),
        OutputTable::Embedding { name } => {
            Meaning::Embedding { output: of(name, network, "embedding")? }
        }
        OutputTable::Unused { name } => Meaning::Unused { output: name },
    })
}

/// Thresholds that a person gives, each of a label that the network has.
pub(super) fn thresholds(
    given: BTreeMap<String, f32>,
    contract: &Contract,
) -> Result<Vec<OperatingPoint>> {
    let heads = contract.model().heads;
    let labels: Vec<&String> = heads.iter().flat_map(|head| &head.labels).collect();
    let point = |(name, threshold): (String, f32)| {
        ensure!(
            (0.0..=1.0).contains(&threshold),
            "[operating-points] threshold of `{name}` is {threshold}, expected 0 to 1"
        );
        let known = labels.iter().find(|label| ***label == name);
        known.with_context(|| {
            format!(
                "[operating-points] threshold of `{name}`, expected one of the labels {labels:?}"
            )
        })?;
        Ok(OperatingPoint {
            name,
            threshold,
            criterion: None,
            chosen: Some("given by hand".into()),
        })
    };
    given.into_iter().map(point).collect()
}
