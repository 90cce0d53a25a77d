//! Grey JPEG-LS, lossless and near-lossless (ITU-T T.87). Letters are those of the standard.
//!
//! ```text
//! mod       markers and coding parameters        rows      neighbourhoods → samples
//! contexts  what is learnt from errors           bits      entropy-coded data → numbers
//! ```

mod bits;
mod contexts;
mod rows;

use crate::RadiographError;
use crate::markers::{DRI, Frame, SOS, Segments, u16_at};

/// The samples of `frame`, row by row. Its size must have been bounded.
pub(crate) fn decode(stream: &[u8], frame: &Frame) -> Result<Vec<u16>, RadiographError> {
    if frame.process != SOF55 || frame.components != 1 || !(2..=16).contains(&frame.precision) {
        return Err(damaged("not a grey JPEG-LS stream of 2 to 16 bits"));
    }
    let mut preset = None;
    let mut segments = Segments { rest: stream };
    loop {
        match segments.next()? {
            (LSE, [1, values @ ..]) => {
                let word = |i: usize| u16_at(values, 2 * i).map(i32::from);
                let thresholds = [word(1)?, word(2)?, word(3)?];
                preset = Some(Preset { maxval: word(0)?, thresholds, reset: word(4)? });
            }
            (LSE, _) => return Err(damaged("mapping tables are not supported")),
            (DRI, interval) if interval.iter().any(|byte| *byte != 0) => {
                return Err(damaged("restart intervals are not supported"));
            }
            (SOS, [1, _id, _table, near, _interleave, 0, ..]) => {
                let coding = Coding::new(frame.precision, (*near).into(), preset)?;
                return Ok(rows::decode(&coding, segments.rest, [frame.height, frame.width])?);
            }
            (SOS, _) => return Err(damaged("scan is not of one component")),
            _ => {}
        }
    }
}

const SOF55: u8 = 0xF7;
const LSE: u8 = 0xF8;

/// Coding parameters written in the stream; 0: the default.
struct Preset {
    maxval: i32,
    thresholds: [i32; 3],
    reset: i32,
}

/// What stays the same during a scan.
struct Coding {
    maxval: i32,
    near: i32,
    range: i32,
    /// Bits of a mapped error.
    qbpp: u32,
    /// Longest code.
    limit: u32,
    thresholds: [i32; 3],
    reset: i32,
}

impl Coding {
    fn new(precision: u8, near: i32, preset: Option<Preset>) -> Result<Self, RadiographError> {
        let largest = (1 << precision) - 1;
        let or_default = |value: i32, default: i32| if value == 0 { default } else { value };
        let maxval = preset.as_ref().map_or(largest, |preset| or_default(preset.maxval, largest));
        if maxval > largest || near > 255.min(maxval / 2) {
            return Err(damaged("coding parameters are out of range"));
        }
        let defaults = default_thresholds(maxval, near);
        let thresholds = preset.as_ref().map_or(defaults, |preset| {
            std::array::from_fn(|i| or_default(preset.thresholds[i], defaults[i]))
        });
        let reset = preset.as_ref().map_or(64, |preset| or_default(preset.reset, 64));
        let [t1, t2, t3] = thresholds;
        if !(near < t1 && t1 <= t2 && t2 <= t3 && t3 <= maxval) || reset < 3 {
            return Err(damaged("coding parameters are out of range"));
        }
        let range = (maxval + 2 * near) / (2 * near + 1) + 1;
        let bits = |n: i32| 32 - (n - 1).leading_zeros(); // ⌈log2 n⌉
        let bpp = bits(maxval + 1).max(2);
        let limit = 2 * (bpp + bpp.max(8));
        Ok(Self { maxval, near, range, qbpp: bits(range), limit, thresholds, reset })
    }
}

/// Why entropy-coded data is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    EndsEarly,
    CodeTooLong,
    CodeTooLarge,
    RunTooLong,
}

impl From<Fault> for RadiographError {
    fn from(fault: Fault) -> Self {
        damaged(match fault {
            Fault::EndsEarly => "entropy-coded data ends early",
            Fault::CodeTooLong => "a code is too long",
            Fault::CodeTooLarge => "a code is too large",
            Fault::RunTooLong => "a run is longer than its row",
        })
    }
}

/// C.2.4.1.1.
fn default_thresholds(maxval: i32, near: i32) -> [i32; 3] {
    let within = |value: i32, low: i32| if value > maxval || value < low { low } else { value };
    let basic = if maxval >= 128 {
        let factor = (maxval.min(4095) + 128) / 256;
        [factor + 2, 4 * factor + 3, 17 * factor + 4]
    } else {
        let factor = 256 / (maxval + 1);
        [3 / factor, 7 / factor, 21 / factor]
    };
    let least = if maxval >= 128 { [0, 0, 0] } else { [2, 3, 4] };
    let t1 = within((basic[0] + 3 * near).max(least[0]), near + 1);
    let t2 = within((basic[1] + 5 * near).max(least[1]), t1);
    let t3 = within((basic[2] + 7 * near).max(least[2]), t2);
    [t1, t2, t3]
}

fn damaged(reason: &str) -> RadiographError {
    RadiographError::Decode { format: "JPEG-LS", reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T.87 annex H.3: a picture and its complete stream.
    #[test]
    fn the_standards_own_example_decodes() {
        #[rustfmt::skip]
        let stream = [
            0xFF, 0xD8, 0xFF, 0xF7, 0x00, 0x0B, 0x08, 0x00, 0x04, 0x00, 0x04, 0x01, 0x01, 0x11, 0x00,
            0xFF, 0xDA, 0x00, 0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00,
            0xC0, 0x00, 0x00, 0x6C, 0x80, 0x20, 0x8E, 0x01, 0xC0, 0x00, 0x00, 0x57, 0x40, 0x00, 0x00,
            0x6E, 0xE6, 0x00, 0x00, 0x01, 0xBC, 0x18, 0x00, 0x00, 0x05, 0xD8, 0x00, 0x00, 0x91, 0x60,
            0xFF, 0xD9,
        ];
        let frame = Frame::find(&stream).unwrap();
        assert_eq!((frame.height, frame.width, frame.precision), (4, 4, 8));
        let picture = [0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145];
        assert_eq!(decode(&stream, &frame).unwrap(), picture);
        for cut in 0..stream.len() - 4 {
            assert!(decode(&stream[..cut], &frame).is_err(), "{cut}");
        }
    }
}
