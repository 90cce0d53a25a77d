//! Pairs ready for the model, and the randomness of one step.

use crate::device::upload;
use crate::text::{Encoded, bert};
use tch::{Device, Kind, Tensor};

/// `B` pairs on the device. Sizes are known here on the host, so that no step has to ask the device.
#[derive(Debug)]
pub struct Batch {
    /// `[B, 1, H, W]`, normalised.
    pub image: Tensor,
    /// Words `[B, T]`.
    pub ids: Tensor,
    /// Token or padding `[B, T]`, bool.
    pub mask: Tensor,
    /// Sentence of every token `[B, T]`, counted from 1; 0 = no sentence.
    pub sentence: Tensor,
    /// Sentences of every report that take part; at least one each.
    pub counts: Vec<i64>,
}

impl Batch {
    /// From normalised images `[B, 1, H, W]` and as many encoded reports.
    pub fn new(image: Tensor, reports: &[Encoded], device: Device) -> Self {
        let lengths: Vec<i64> = reports.iter().map(|report| report.ids.len() as i64).collect();
        let read: Vec<i64> =
            reports.iter().map(|report| (report.ids.len() - report.padding) as i64).collect();
        // A multiple of eight suits vector units and keeps the number of different shapes low.
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let width = (longest + 7) / 8 * 8;
        let rows = |of: fn(&Encoded) -> &[i64]| {
            let mut all = Vec::with_capacity(reports.len() * width as usize);
            for report in reports {
                let row = of(report);
                all.extend_from_slice(row);
                all.resize(all.len() + width as usize - row.len(), 0);
            }
            upload(&Tensor::from_slice(&all).view([reports.len() as i64, width]), device)
        };
        Self {
            image: upload(&image, device),
            ids: rows(|report| &report.ids),
            mask: upload(&bert::token_mask(&read, width), device),
            sentence: rows(|report| &report.sentence),
            counts: reports.iter().map(|report| report.sentences as i64).collect(),
        }
    }

    /// Where its sentences lie, at most `limit` of a report, and in `queries` slots.
    pub(super) fn slots(&self, limit: i64, queries: i64) -> Slots {
        let device = self.image.device();
        let counts: Vec<i64> = self.counts.iter().map(|&n| n.min(limit)).collect();
        let most = counts.iter().copied().max().unwrap_or(1);
        let present = upload(&bert::token_mask(&counts, most), device);
        let kind = if self.image.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        Slots {
            rows: upload(&rows(&counts, most), device),
            query_rows: (limit <= queries).then(|| upload(&rows(&counts, queries), device)),
            present: present.to_kind(kind),
            reports: counts.len() as i64,
            most,
        }
    }
}

/// Where the sentences of a batch lie: everything the device has to be told of them.
pub(super) struct Slots {
    /// `[N]`, place of each sentence among `B · S` slots.
    pub(super) rows: Tensor,
    /// `[N]`, the same among `B · Q` slots, where every report fits into `Q`.
    pub(super) query_rows: Option<Tensor>,
    /// `[B, S]`, 1 where a sentence is.
    pub(super) present: Tensor,
    /// `B`
    pub(super) reports: i64,
    /// `S`
    pub(super) most: i64,
}

/// Where the first `counts[b]` of `stride` slots of each report lie when slots are one list: `[N]`.
fn rows(counts: &[i64], stride: i64) -> Tensor {
    let rows: Vec<i64> = counts
        .iter()
        .enumerate()
        .flat_map(|(b, &n)| (0..n).map(move |s| b as i64 * stride + s))
        .collect();
    Tensor::from_slice(&rows)
}

/// Randomness given from outside, for tests; what is absent is drawn from the process's generator.
#[derive(Debug, Default)]
pub struct Noise {
    /// Gumbel noise of the sentences' prototypes, at least `[N, K]`.
    pub prototypes: Option<Tensor>,
    /// Gumbel noise of the foretold sentences' prototypes, at least `[N, K]`.
    pub foretold: Option<Tensor>,
    /// Factors for the channels of the image decoder's input, `[B, D, 1, 1]`.
    pub channels: Option<Tensor>,
}
