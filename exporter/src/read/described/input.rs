//! The `[input]` table, held to the network's input.
//!
//! A pixel `x` in `[0, 1]` becomes `x' = low + x·(high − low)`, then `(x' − mean) / deviation`. Both are one line, so the
//! bundle has mean and deviation of pixels in `[0, 1]`; of an inverted picture the deviation is negative.

use super::{
    Preset,
    file::{InputTable, Numbers},
};
use anyhow::{Result, ensure};
use graph::{Normalisation, Preprocess};

pub(super) fn preprocess(
    table: &InputTable,
    preset: Option<Preset>,
    [channels, height, width]: [usize; 3],
) -> Result<Preprocess> {
    let table = over(table, preset, [height, width]);
    ensure!(
        channels == 1 || channels == 3,
        "the network's input has {channels} channels, expected 1 (grey) or 3 (grey, repeated)"
    );
    let wanted = table.channels.unwrap_or(channels);
    ensure!(wanted == channels, "[input] channels is {wanted}, the network has {channels}");
    let size = table.size.unwrap_or([height, width]);
    ensure!(
        size == [height, width],
        "[input] size is {size:?} (rows, columns), the network's is [{height}, {width}]"
    );
    let mean = each("mean", table.mean.as_ref(), 0.0, channels)?;
    let deviation = each("deviation", table.deviation.as_ref(), 1.0, channels)?;
    let [low, high] = table.range.unwrap_or([0.0, 1.0]);
    ensure!(
        low.is_finite() && high.is_finite() && low < high,
        "[input] range is [{low}, {high}], expected black and white, the lower first (inverted = true is for networks \
         that want bones black)"
    );
    let inverted = table.inverted.unwrap_or(false);
    let of_channel = |(mean, deviation): (f64, f64)| {
        ensure!(
            deviation > 0.0 && deviation.is_finite() && mean.is_finite(),
            "[input] mean {mean} and deviation {deviation}, expected numbers, the deviation positive"
        );
        let (mean, std) = ((mean - low) / (high - low), deviation / (high - low));
        let (mean, std) = if inverted { (1.0 - mean, -std) } else { (mean, std) };
        Ok(Normalisation { mean: mean as f32, std: std as f32 })
    };
    let all = mean.into_iter().zip(deviation).map(of_channel).collect::<Result<Vec<_>>>()?;
    let Normalisation { mean, std } = all[0];
    let others = <[Normalisation; 2]>::try_from(&all[1..]).ok();
    let (fit, filter) = (table.fit.unwrap_or_default(), table.filter.unwrap_or_default());
    Ok(Preprocess { height, width, mean, std, fit, filter, others })
}

/// The file's keys, and the preset's where it has none.
fn over(table: &InputTable, preset: Option<Preset>, size: [usize; 2]) -> InputTable {
    let usual = preset.map(|preset| preset.input(size)).unwrap_or_default();
    let table = table.clone();
    InputTable {
        size: table.size.or(usual.size),
        channels: table.channels.or(usual.channels),
        range: table.range.or(usual.range),
        mean: table.mean.or(usual.mean),
        deviation: table.deviation.or(usual.deviation),
        fit: table.fit.or(usual.fit),
        filter: table.filter.or(usual.filter),
        inverted: table.inverted.or(usual.inverted),
    }
}

fn each(key: &str, given: Option<&Numbers>, usual: f64, channels: usize) -> Result<Vec<f64>> {
    let all = match given {
        None => vec![usual; channels],
        Some(Numbers::One(number)) => vec![*number; channels],
        Some(Numbers::Each(list)) => list.clone(),
    };
    ensure!(
        all.len() == channels,
        "[input] {key} has {} numbers, expected {channels}, one for each channel",
        all.len()
    );
    Ok(all)
}
