//! Look-up tables of the Modality LUT and VOI LUT sequences, and of palettes.

use super::values::Elements;
use crate::RadiographError;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// A table of 16-bit outputs for consecutive inputs; inputs outside take the nearest entry.
#[derive(Clone, Debug)]
pub(crate) struct Lut {
    /// The input of the first entry.
    first: i64,
    entries: Vec<u16>,
    /// White.
    pub(crate) largest: f64,
}

impl Lut {
    /// From an item of the sequence; `signed`: whether inputs may be negative.
    ///
    /// Some consoles write in the descriptor how many bits an entry is stored in, 16, whatever it has.
    /// The white of a table that reaches no higher than 12 bits is then 4095.
    pub(crate) fn parse(item: &Elements<'_>, signed: bool) -> Result<Self, RadiographError> {
        let descriptor = (tags::LUT_DESCRIPTOR, "LUTDescriptor");
        let table = Self::of_elements(item, descriptor, (tags::LUT_DATA, "LUTData"), signed)?;
        let claims_all = table.largest == white(16);
        let largest = if claims_all { white(bits_of(&table.entries)) } else { table.largest };
        Ok(Self { largest, ..table })
    }

    /// From the two elements that describe and have it.
    pub(crate) fn of_elements(
        elements: &Elements<'_>,
        (descriptor_tag, descriptor_name): (Tag, &'static str),
        (data_tag, data_name): (Tag, &'static str),
        signed: bool,
    ) -> Result<Self, RadiographError> {
        let descriptor =
            present(elements.integers(descriptor_tag, descriptor_name)?, descriptor_name)?;
        let &[count, first, bits] = descriptor.as_slice() else {
            return Err(RadiographError::Value {
                name: descriptor_name,
                found: format!("{descriptor:?}"),
                expected: "3 integers",
            });
        };
        // 65 536 does not fit and is written as 0; where 16 bits were read signed, undo that.
        let count = match count & 0xFFFF {
            0 => 1 << 16,
            count => count as usize,
        };
        let first = if signed { i64::from(first as u16 as i16) } else { first & 0xFFFF };
        if !(8..=16).contains(&bits) {
            let found = format!("{bits} bits");
            let expected = "8 to 16 bits";
            return Err(RadiographError::Value { name: descriptor_name, found, expected });
        }
        let data = present(elements.integers(data_tag, data_name)?, data_name)?;
        let entries = entries(&data, count, bits).ok_or_else(|| RadiographError::Value {
            name: data_name,
            found: format!("{} values for {count} entries", data.len()),
            expected: "one value an entry",
        })?;
        let largest = white(bits_of(&entries).max(bits as u32));
        Ok(Self { first, entries, largest })
    }

    #[cfg(test)]
    pub(crate) fn of(first: i64, entries: Vec<u16>, bits: u32) -> Self {
        Self { first, entries, largest: white(bits) }
    }

    pub(crate) fn at(&self, input: f64) -> f64 {
        let last = self.entries.len() - 1;
        let index = (input - self.first as f64).clamp(0.0, last as f64);
        self.entries[index.round_ties_even() as usize].into()
    }
}

fn white(bits: u32) -> f64 {
    f64::from((1u32 << bits) - 1)
}

/// Bits that the entries need, at least 8.
fn bits_of(entries: &[u16]) -> u32 {
    let all = entries.iter().fold(0xFF, |all, entry| all | entry);
    u16::BITS - all.leading_zeros()
}

/// `count` entries from 16-bit words, or bytes, or two to a word (tables of 8 bits in `OW`).
fn entries(data: &[i64], count: usize, bits: i64) -> Option<Vec<u16>> {
    if let Some(words) = data.get(..count) {
        return Some(words.iter().map(|word| *word as u16).collect());
    }
    if bits > 8 || data.len() != count.div_ceil(2) {
        return None;
    }
    let bytes = data.iter().flat_map(|word| [*word as u16 & 0xFF, *word as u16 >> 8]);
    let packed: Vec<u16> = bytes.take(count).collect();
    (packed.len() == count).then_some(packed)
}

fn present(values: Vec<i64>, name: &'static str) -> Result<Vec<i64>, RadiographError> {
    if values.is_empty() { Err(RadiographError::Missing { name }) } else { Ok(values) }
}
