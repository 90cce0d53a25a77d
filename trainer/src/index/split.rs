//! Splits by patient: drawn for data sets that come without, read from a file, written to one.
//!
//! A split file is a CSV table `patient,split`, a row for each patient group. Whoever has it has the same splits.

use super::{IndexError, Record, Split, layouts::Table, write_whole};
use clap::ValueEnum;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

/// Puts every patient group of the records without a split into train, val or test.
///
/// `shares` are the parts of train, val and test, counted in patients. The same records and seed give the same
/// splits, in whatever order the records come.
pub fn assign_splits(records: &mut [Record], shares: [f64; 3], seed: u64) {
    let free: BTreeSet<String> = records
        .iter()
        .filter(|record| record.split.is_none())
        .map(|record| record.group().to_owned())
        .collect();
    let mut groups: Vec<String> = free.into_iter().collect();
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));

    let total: f64 = shares.iter().sum();
    let train = (groups.len() as f64 * shares[0] / total).round() as usize;
    let val = (groups.len() as f64 * (shares[0] + shares[1]) / total).round() as usize;
    let splits: HashMap<String, Split> = groups
        .into_iter()
        .enumerate()
        .map(|(at, group)| match at {
            at if at < train => (group, Split::Train),
            at if at < val => (group, Split::Val),
            _ => (group, Split::Test),
        })
        .collect();
    for record in records.iter_mut().filter(|record| record.split.is_none()) {
        record.split = splits.get(record.group()).copied();
    }
}

/// Cuts the patient groups into `folds` parts of equal size; part `number` is for testing, the next for validation, the others
/// for training.
pub fn assign_fold(records: &mut [Record], folds: usize, number: usize, seed: u64) {
    let groups: BTreeSet<String> = records.iter().map(|record| record.group().to_owned()).collect();
    let mut groups: Vec<String> = groups.into_iter().collect();
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let fold_of: HashMap<String, usize> =
        groups.into_iter().enumerate().map(|(at, group)| (group, at % folds)).collect();
    for record in records {
        let fold = fold_of[record.group()];
        record.split = Some(if fold == number {
            Split::Test
        } else if fold == (number + 1) % folds {
            Split::Val
        } else {
            Split::Train
        });
    }
}

/// Gives every record the split the file says; every patient of the data must be there, and in one split.
pub fn read_splits(path: &Path, records: &mut [Record]) -> Result<(), IndexError> {
    let table = Table::read(path)?;
    let (patient, split) = (table.column(&["patient"])?, table.column(&["split"])?);
    let mut splits: HashMap<&str, Split> = HashMap::new();
    for row in table.rows() {
        let own = Split::from_str(row.text(split), true)
            .map_err(|_| row.wrong(split, "train, val, test or holdout"))?;
        let first = *splits.entry(row.text(patient)).or_insert(own);
        if first != own {
            return Err(row.wrong(split, &format!("{first}, as said before of this patient")));
        }
    }
    for record in records {
        let Some(own) = splits.get(record.group()) else {
            let (path, group) = (path.to_owned(), record.group().to_owned());
            return Err(IndexError::Unsplit { path, group });
        };
        record.split = Some(*own);
    }
    Ok(())
}

/// Writes what [`read_splits`] reads.
pub fn write_splits(path: &Path, records: &[Record]) -> Result<(), IndexError> {
    let known = records.iter().filter_map(|record| Some((record.group(), record.split?)));
    let splits: BTreeMap<&str, Split> = known.collect();
    let mut text = String::from("patient,split\n");
    for (group, split) in splits {
        let quoted = format!("\"{}\"", group.replace('"', "\"\""));
        let plain = !group.contains([',', '"', '\n']) && group == group.trim();
        text += &format!("{},{split}\n", if plain { group } else { &quoted });
    }
    write_whole(path, text.as_bytes())
}
