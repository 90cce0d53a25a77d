//! JPEG lossless, Huffman-coded: 2 to 16 bits, all seven predictors (T.81 annex H).
//!
//! Each row is done twice: its differences are read, then added up. The two have nothing to wait
//! for in each other.

use super::huffman::{self, Bits, Table};
use crate::RadiographError;
use crate::markers::{DRI, Frame, SOS, Segments, u16_at};

/// Whether [`decode`] is made for this frame.
pub(crate) fn is_meant_for(frame: &Frame) -> bool {
    frame.process == SOF3
}

/// The samples of `frame`, row by row, side by side. Its size must have been bounded.
pub(crate) fn decode(stream: &[u8], frame: &Frame) -> Result<Vec<u16>, RadiographError> {
    if !(2..=16).contains(&frame.precision) {
        return Err(damaged("not of 2 to 16 bits a sample"));
    }
    let mut tables = [const { None }; 4];
    let (mut ids, mut restart) = (Vec::new(), 0);
    let mut samples = vec![0; frame.height * frame.width * frame.components];
    let mut decoded: Vec<usize> = Vec::new();
    let mut segments = Segments { rest: stream };
    while decoded.len() < frame.components {
        match segments.next()? {
            (SOF3, body) => ids = component_ids(body, frame.components)?,
            (DHT, body) => {
                for (class, place, table) in huffman::tables(body)? {
                    if class == 0 {
                        tables[place] = Some(table);
                    }
                }
            }
            (DRI, body) => restart = u16_at(body, 0)?.into(),
            (SOS, body) => {
                let scan = Scan::parse(body, frame, &ids, &tables, restart)?;
                for (component, _) in &scan.components {
                    if decoded.contains(component) {
                        return Err(damaged("a component is coded twice"));
                    }
                    decoded.push(*component);
                }
                segments.rest = scan.decode(segments.rest, &mut samples)?;
            }
            _ => {}
        }
    }
    let is_marker = |bytes: &[u8]| bytes[0] == 0xFF && !matches!(bytes[1], 0 | 0xFF);
    match segments.rest.windows(2).any(is_marker) {
        true => Ok(samples),
        false => Err(damaged("ends without a marker that says so")),
    }
}

const SOF3: u8 = 0xC3;
const DHT: u8 = 0xC4;

/// The identifiers of the frame's components.
fn component_ids(body: &[u8], components: usize) -> Result<Vec<u8>, RadiographError> {
    let parts = body.get(6..6 + 3 * components).ok_or_else(|| damaged("short frame header"))?;
    let parts = parts.as_chunks::<3>().0;
    if components > 1 && parts.iter().any(|[_, sampling, _]| *sampling != 0x11) {
        return Err(damaged("subsampled components are not supported"));
    }
    Ok(parts.iter().map(|[id, ..]| *id).collect())
}

/// What stays the same during a scan.
struct Scan<'a> {
    width: usize,
    /// Samples of a pixel in the frame.
    step: usize,
    /// Components of this scan: their place in a pixel, and their code.
    components: Vec<(usize, &'a Table)>,
    predictor: u8,
    /// Low bits that were left out.
    point_transform: u8,
    /// What the first sample is predicted by.
    origin: u16,
    /// Rows between restart markers; 0: none.
    restart: usize,
}

impl<'a> Scan<'a> {
    fn parse(
        header: &[u8],
        frame: &Frame,
        ids: &[u8],
        tables: &'a [Option<Table>; 4],
        restart: usize,
    ) -> Result<Self, RadiographError> {
        let short = || damaged("short scan header");
        let (count, rest) = header.split_first().ok_or_else(short)?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(*count)).ok_or_else(short)?;
        let [predictor, end, transform, ..] = *rest else { return Err(short()) };
        if selectors.is_empty() {
            return Err(damaged("a scan of no components"));
        }
        if !(1..=7).contains(&predictor) || end != 0 || transform >= frame.precision {
            return Err(damaged("predictor or point transform is out of range"));
        }
        if !restart.is_multiple_of(frame.width) {
            return Err(damaged("a restart interval is not of whole rows"));
        }
        let component = |[id, table]: &[u8; 2]| {
            let component = ids.iter().position(|known| known == id);
            let component = component.ok_or_else(|| damaged("a scan of an unknown component"))?;
            let table = tables.get(usize::from(table >> 4)).and_then(Option::as_ref);
            table.map(|table| (component, table)).ok_or_else(|| damaged("a table is missing"))
        };
        Ok(Self {
            width: frame.width,
            step: frame.components,
            components: selectors.as_chunks().0.iter().map(component).collect::<Result<_, _>>()?,
            predictor,
            point_transform: transform,
            origin: 1 << (frame.precision - transform - 1),
            restart: restart / frame.width,
        })
    }

    /// Writes the scan's components into `samples`; returns what follows the scan.
    fn decode<'d>(&self, data: &'d [u8], samples: &mut [u16]) -> Result<&'d [u8], RadiographError> {
        let mut bits = Bits::new(data);
        let no_rows = || vec![vec![0; self.width]; self.components.len()];
        let (mut above, mut rows) = (no_rows(), no_rows());
        for (y, pixels) in samples.chunks_exact_mut(self.width * self.step).enumerate() {
            let is_restart = self.restart > 0 && y > 0 && y.is_multiple_of(self.restart);
            if is_restart {
                bits.restart(y / self.restart - 1)?;
            }
            self.differences(&mut bits, &mut rows).ok_or_else(|| damaged("no such code"))?;
            bits.check()?;
            for ((component, _), (row, above)) in
                self.components.iter().zip(rows.iter_mut().zip(&above))
            {
                match y == 0 || is_restart {
                    true => sum(row, self.origin),
                    false => self.predict(row, above),
                }
                let places = pixels[*component..].iter_mut().step_by(self.step);
                places
                    .zip(row)
                    .for_each(|(place, sample)| *place = *sample << self.point_transform);
            }
            std::mem::swap(&mut above, &mut rows);
        }
        Ok(bits.rest())
    }

    /// The differences of a row of each component, modulo 65536.
    fn differences(&self, bits: &mut Bits<'_>, rows: &mut [Vec<u16>]) -> Option<()> {
        if let ([(_, table)], [row]) = (&self.components[..], &mut *rows) {
            for difference in row {
                *difference = bits.difference(table)? as u16;
            }
            return Some(());
        }
        for x in 0..self.width {
            for ((_, table), row) in self.components.iter().zip(rows.iter_mut()) {
                row[x] = bits.difference(table)? as u16;
            }
        }
        Some(())
    }

    /// Differences → samples, of a row that has one above it (T.81 table H.1).
    fn predict(&self, row: &mut [u16], above: &[u16]) {
        let half = |difference: i32| difference >> 1;
        match self.predictor {
            1 => sum(row, above[0]),
            2 => predict(row, above, |[_, b, _]| b),
            3 => predict(row, above, |[_, _, c]| c),
            4 => predict(row, above, |[a, b, c]| a + b - c),
            5 => predict(row, above, |[a, b, c]| a + half(b - c)),
            6 => predict(row, above, |[a, b, c]| b + half(a - c)),
            _ => predict(row, above, |[a, b, _]| half(a + b)),
        }
    }
}

/// Each sample is predicted by the one to its left, the first by `origin`.
fn sum(row: &mut [u16], origin: u16) {
    row.iter_mut().fold(origin, |left, sample| {
        *sample = sample.wrapping_add(left);
        *sample
    });
}

/// Each sample is predicted by those to its left, above, and above left; the first by the one above.
#[inline(always)]
fn predict(row: &mut [u16], above: &[u16], of: impl Fn([i32; 3]) -> i32) {
    let [first, row @ ..] = row else { return };
    *first = first.wrapping_add(above[0]);
    let mut left = *first;
    for (sample, (above_left, above)) in row.iter_mut().zip(above.iter().zip(&above[1..])) {
        let prediction = of([left, *above, *above_left].map(i32::from));
        *sample = sample.wrapping_add(prediction as u16);
        left = *sample;
    }
}

fn damaged(reason: &str) -> RadiographError {
    RadiographError::Decode { format: "JPEG lossless", reason: reason.into() }
}

#[cfg(test)]
mod tests;
