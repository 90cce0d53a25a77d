//! Splits by patient, for data sets that come without.

use super::{Record, Split};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeSet, HashMap};

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
