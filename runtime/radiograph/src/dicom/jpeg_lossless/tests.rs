//! Streams of an encoder that follows T.81 annex H word by word.

use super::*;
use proptest::{prelude::*, test_runner::RngSeed};

/// What to encode, and how.
#[derive(Clone, Debug)]
struct Picture {
    width: usize,
    components: usize,
    precision: u8,
    predictor: u8,
    transform: u8,
    /// Rows between restart markers; 0: none.
    restart: usize,
    /// One scan a component.
    is_split: bool,
    /// Side by side; bits above the precision are cleared, and those that the transform drops.
    samples: Vec<u16>,
}

impl Picture {
    fn row(&self) -> usize {
        self.width * self.components
    }

    fn height(&self) -> usize {
        self.samples.len() / self.row()
    }

    fn stream(&self) -> Vec<u8> {
        let (height, width) = (self.height() as u16, self.width as u16);
        let [h, w] = [height, width].map(u16::to_be_bytes);
        let parts = self.components as u8;
        let mut out = vec![0xFF, 0xD8, 0xFF, SOF3, 0, 8 + 3 * parts, self.precision];
        out.extend([h[0], h[1], w[0], w[1], parts]);
        (0..parts).for_each(|part| out.extend([10 + part, 0x11, 0]));
        // Seventeen sizes in codes of 1, 2, … 12 and five times 15 bits.
        out.extend([0xFF, DHT, 0, 36, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 5, 0]);
        out.extend(0..17);
        let interval = ((self.restart * self.width) as u16).to_be_bytes();
        out.extend([0xFF, DRI, 0, 4, interval[0], interval[1]]);
        let scans: Vec<Vec<usize>> = match self.is_split {
            true => (0..self.components).map(|part| vec![part]).collect(),
            false => vec![(0..self.components).collect()],
        };
        for scan in scans {
            out.extend([0xFF, SOS, 0, 6 + 2 * scan.len() as u8, scan.len() as u8]);
            scan.iter().for_each(|part| out.extend([10 + *part as u8, 0]));
            out.extend([self.predictor, 0, self.transform]);
            self.encode(&scan, &mut out);
        }
        out.extend([0xFF, 0xD9]);
        out
    }

    fn encode(&self, scan: &[usize], out: &mut Vec<u8>) {
        let mut bits = Vec::new();
        for y in 0..self.height() {
            let is_first = y == 0 || self.restart > 0 && y % self.restart == 0;
            if is_first && y > 0 {
                flush(&mut bits, out);
                out.extend([0xFF, 0xD0 + ((y / self.restart - 1) % 8) as u8]);
            }
            for x in 0..self.width {
                for part in scan {
                    let sample =
                        i32::from(self.at(y, x, *part)) - self.predicted(y, x, *part, is_first);
                    put(&mut bits, sample as u16);
                }
            }
        }
        flush(&mut bits, out);
    }

    fn at(&self, y: usize, x: usize, part: usize) -> u16 {
        self.samples[y * self.row() + x * self.components + part] >> self.transform
    }

    /// H.1.2.1.
    fn predicted(&self, y: usize, x: usize, part: usize, is_first: bool) -> i32 {
        let at = |up: usize, left: usize| i32::from(self.at(y - up, x - left, part));
        match (is_first, x, self.predictor) {
            (true, 0, _) => 1 << (self.precision - self.transform - 1),
            (true, ..) | (false, 1.., 1) => at(0, 1),
            (false, 0, _) | (false, _, 2) => at(1, 0),
            (false, _, 3) => at(1, 1),
            (false, _, 4) => at(0, 1) + at(1, 0) - at(1, 1),
            (false, _, 5) => at(0, 1) + ((at(1, 0) - at(1, 1)) >> 1),
            (false, _, 6) => at(1, 0) + ((at(0, 1) - at(1, 1)) >> 1),
            (false, ..) => (at(0, 1) + at(1, 0)) >> 1,
        }
    }
}

/// A difference modulo 65536: the code of its size, then the number (table H.2).
fn put(bits: &mut Vec<bool>, difference: u16) {
    let difference = i32::from(difference as i16);
    let size = 32 - difference.unsigned_abs().leading_zeros();
    let (code, length) = match size {
        0..12 => ((1 << (size + 1)) - 2, size + 1), // ones and a zero
        _ => ((0xFFF << 3) + size - 12, 15),
    };
    bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
    if size < 16 {
        let number = if difference < 0 { difference - 1 } else { difference };
        bits.extend((0..size).rev().map(|bit| number >> bit & 1 == 1));
    }
}

/// Fills the last byte with ones, and stuffs.
fn flush(bits: &mut Vec<bool>, out: &mut Vec<u8>) {
    bits.resize(bits.len().next_multiple_of(8), true);
    for byte in bits.chunks(8) {
        let byte = byte.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        out.push(byte);
        if byte == 0xFF {
            out.push(0);
        }
    }
    bits.clear();
}

fn pictures() -> impl Strategy<Value = Picture> {
    let shape = (1usize..40, 1usize..12, prop_oneof![Just(1usize), Just(3)], 2u8..=16, 1u8..=7);
    let shape = (shape, 0u8..4, 0usize..4, any::<bool>(), any::<bool>());
    shape.prop_flat_map(
        |(
            (width, height, components, precision, predictor),
            transform,
            restart,
            is_split,
            is_smooth,
        )| {
            let transform = transform.min(precision - 1);
            prop::collection::vec(any::<u16>(), width * height * components).prop_map(
                move |noise| {
                    let kept = u16::MAX >> (16 - precision) >> transform << transform;
                    let samples = (0u16..).zip(noise).map(|(i, noise)| {
                        (if is_smooth { i.wrapping_mul(37) + noise % 8 } else { noise }) & kept
                    });
                    let samples = samples.collect();
                    Picture {
                        width,
                        components,
                        precision,
                        predictor,
                        transform,
                        restart,
                        is_split,
                        samples,
                    }
                },
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_predictor_and_precision_comes_back_and_no_cut_passes(picture in pictures(), cut in any::<prop::sample::Index>()) {
        let stream = picture.stream();
        let frame = Frame::find(&stream).unwrap();
        prop_assert_eq!(decode(&stream, &frame).unwrap(), &picture.samples[..]);
        let cut = &stream[..cut.index(stream.len() - 2)];
        prop_assert!(decode(cut, &frame).is_err());
        // Nor does one that ends with a marker.
        let ended = [cut, &[0xFF, 0xD9]].concat();
        if let Ok(samples) = decode(&ended, &frame) {
            prop_assert_eq!(samples, &picture.samples[..]);
        }
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let picture = Picture {
        width: 8,
        components: 3,
        precision: 8,
        predictor: 1,
        transform: 0,
        restart: 2,
        is_split: false,
        samples: (0..8 * 6 * 3).collect(),
    };
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut stream = picture.stream();
        let frame = Frame::find(&stream).unwrap();
        change(&mut stream);
        decode(&stream, &frame).unwrap_err().to_string()
    };
    let place = |stream: &[u8], bytes: &[u8]| {
        stream.windows(bytes.len()).position(|part| part == bytes).unwrap()
    };
    let subsampled = refused(&|stream| stream[13] = 0x22);
    assert!(subsampled.contains("subsampled"), "{subsampled}");
    let odd = refused(&|stream| {
        let at = place(stream, &[0xFF, DRI]);
        stream[at + 5] += 1;
    });
    assert!(odd.contains("whole rows"), "{odd}");
    let lost = refused(&|stream| {
        let at = place(stream, &[0xFF, 0xD1]);
        stream[at + 1] = 0xD2;
    });
    assert!(lost.contains("restart marker is missing"), "{lost}");
    let hierarchical = refused(&|stream| {
        let at = place(stream, &[0xFF, SOS]);
        stream[at + 11] = 0;
    });
    assert!(hierarchical.contains("predictor"), "{hierarchical}");
}
