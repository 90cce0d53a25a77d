//! Golden vectors: whoever loads a bundle proves itself by reproducing their bytes.

use crate::zero_shot::ZeroShot;
use crate::{Engine, EngineError};
use bundle::{Bundle, Golden};
use graph::Preprocess;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// How the golden vectors came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SelfTest {
    pub vectors: usize,
    /// Outputs compared, over all vectors.
    pub outputs: usize,
    /// Outputs that no vector holds: of bundles from before findings by phrases were among them.
    pub unproven: Vec<String>,
    /// The first difference; none means that every byte agrees.
    pub mismatch: Option<Mismatch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    pub vector: usize,
    pub output: String,
    /// Index of the first value that differs; the length where lengths differ.
    pub at: usize,
    /// Bits of that value.
    pub found: Option<u32>,
    pub expected: Option<u32>,
}

impl SelfTest {
    fn of(vectors: usize) -> Self {
        Self { vectors, outputs: 0, unproven: Vec::new(), mismatch: None }
    }

    pub fn passed(&self) -> bool {
        self.mismatch.is_none()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vector, output, at, found, expected } = self;
        let value =
            |bits: &Option<u32>| bits.map_or("nothing".into(), |b| f32::from_bits(b).to_string());
        let (found, expected) = (value(found), value(expected));
        write!(
            f,
            "golden vector {vector}, output `{output}`: value {at} is {found}, expected {expected}"
        )
    }
}

/// Runs every golden vector of the bundle and compares every byte.
pub fn selftest(engine: &mut Engine, bundle: &Bundle) -> Result<SelfTest, EngineError> {
    let mut zero_shot = ZeroShot::open(bundle, engine)?;
    Vectors::of(bundle)?.reproduce(engine, zero_shot.as_mut())
}

/// Golden vectors apart from their bundle, to prove a loaded engine again later.
#[derive(Clone, Debug)]
pub struct Vectors {
    pub golden: Golden,
    preprocess: Preprocess,
}

impl Vectors {
    pub fn of(bundle: &Bundle) -> Result<Self, EngineError> {
        let preprocess = bundle.manifest.preprocess;
        Ok(Self { golden: bundle.golden()?, preprocess })
    }

    /// Runs all and compares every byte, of what `zero_shot` makes of the outputs too.
    pub fn reproduce(
        &self,
        engine: &mut Engine,
        mut zero_shot: Option<&mut ZeroShot>,
    ) -> Result<SelfTest, EngineError> {
        let vectors = &self.golden.vectors;
        let (mut result, mut unproven) = (SelfTest::of(vectors.len()), BTreeSet::new());
        let held: BTreeSet<&String> =
            vectors.iter().flat_map(|it| &it.outputs).map(|output| &output.name).collect();
        for (vector, golden) in vectors.iter().enumerate() {
            let mut outputs = engine.run(&golden.input(&self.preprocess))?;
            if let Some(zero_shot) = &mut zero_shot {
                let derived = zero_shot.derived(&outputs)?;
                outputs.outputs.extend(derived);
            }
            let names = outputs.outputs.iter().map(|output| &output.name);
            unproven.extend(names.filter(|name| !held.contains(name)).cloned());
            for expected in &golden.outputs {
                let found = outputs.require(&expected.name)?;
                result.outputs += 1;
                if result.mismatch.is_none() {
                    result.mismatch = compare(vector, &expected.name, &found.data, &expected.bytes);
                }
            }
        }
        result.unproven = unproven.into_iter().collect();
        Ok(result)
    }
}

fn compare(vector: usize, name: &str, found: &[f32], expected: &[u8]) -> Option<Mismatch> {
    let (expected, rest) = expected.as_chunks::<4>();
    let bits: Vec<u32> = expected.iter().map(|&word| u32::from_le_bytes(word)).collect();
    let same = |at: usize| found.get(at).map(|x| x.to_bits()) == bits.get(at).copied();
    let longest = found.len().max(bits.len() + usize::from(!rest.is_empty()));
    let at = (0..longest).find(|&at| at >= bits.len() || !same(at))?;
    Some(Mismatch {
        vector,
        output: name.to_owned(),
        at,
        found: found.get(at).map(|x| x.to_bits()),
        expected: bits.get(at).copied(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn equal_bytes_are_no_mismatch() {
        assert_eq!(compare(0, "y", &[1.0, f32::NAN], &bytes(&[1.0, f32::NAN])), None);
    }

    #[test]
    fn the_first_difference_is_named() {
        let found = compare(2, "y", &[1.0, -0.0], &bytes(&[1.0, 0.0])).unwrap();
        assert_eq!((found.vector, found.at, found.expected), (2, 1, Some(0)));
        let text = found.to_string();
        assert_eq!(text, "golden vector 2, output `y`: value 1 is -0, expected 0");
    }

    #[test]
    fn a_missing_or_extra_value_is_a_mismatch() {
        assert_eq!(compare(0, "y", &[1.0], &bytes(&[1.0, 2.0])).unwrap().found, None);
        assert_eq!(compare(0, "y", &[1.0, 2.0], &bytes(&[1.0])).unwrap().expected, None);
        assert!(compare(0, "y", &[1.0], &[0, 0, 128, 63, 1]).is_some());
    }
}
