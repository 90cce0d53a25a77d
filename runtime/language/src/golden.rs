//! Golden vectors of a pack: who uses it proves itself by reproducing their bits.

use crate::LanguageError;
use crate::image::Codes;
use crate::scorer::Scorer;
use crate::section::{Pack, PackGolden, Prompt};
use crate::trial::TrialImage;
use kernels::{Isa, Pool};
use std::sync::Arc;

impl Pack {
    /// Replaces the golden vectors by one for each seed, for places of `codes`.
    pub fn prove_by(&mut self, seeds: &[u64], codes: Codes) -> Result<(), LanguageError> {
        let pool = Arc::new(Pool::new(1));
        let golden = |&seed: &u64| self.answers(seed, codes, Isa::best(), &pool);
        self.golden = seeds.iter().map(golden).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Reproduces every golden vector to the bit; names the first value that differs.
    pub fn prove(&self, isa: Isa, pool: &Arc<Pool>) -> Result<(), LanguageError> {
        if self.golden.is_empty() {
            return Err(LanguageError::invalid("the pack's golden vectors", 0, "one or more"));
        }
        for expected in &self.golden {
            let codes = Codes { scale: expected.scale, zero: expected.zero };
            let found = self.answers(expected.seed, codes, isa, pool)?;
            self.compare(&found, expected)?;
        }
        Ok(())
    }

    fn answers(
        &self,
        seed: u64,
        codes: Codes,
        isa: Isa,
        pool: &Arc<Pool>,
    ) -> Result<PackGolden, LanguageError> {
        let mut scorer = Scorer::of_pack(self, codes, isa, pool)?;
        let said = scorer.score(TrialImage::new(&self.space, seed).image());
        Ok(PackGolden {
            seed,
            scale: codes.scale,
            zero: codes.zero,
            scores: said.iter().map(|said| [said.raw, said.probability]).collect(),
            heat: said.into_iter().map(|said| said.heat).collect(),
        })
    }

    fn compare(&self, found: &PackGolden, expected: &PackGolden) -> Result<(), LanguageError> {
        let sizes = |golden: &PackGolden| {
            let heat = golden.heat.iter().map(Vec::len);
            (golden.scores.len(), heat.collect::<Vec<_>>())
        };
        if sizes(found) != sizes(expected) {
            let what = "the sizes of a golden vector";
            let (found, expected) = (sizes(expected), sizes(found));
            return Err(LanguageError::invalid(
                what,
                format!("{found:?}"),
                format!("{expected:?}"),
            ));
        }
        let differs = |finding: &Prompt, what, found: &[f32], expected: &[f32]| {
            let mut pairs = found.iter().zip(expected).enumerate();
            match pairs.find(|(_, (found, expected))| found.to_bits() != expected.to_bits()) {
                None => Ok(()),
                Some((at, (&found, &expected))) => {
                    let finding = finding.name.clone();
                    Err(LanguageError::Golden { finding, what, at, found, expected })
                }
            }
        };
        for (at, finding) in self.prompts.iter().enumerate() {
            differs(finding, "score", &found.scores[at], &expected.scores[at])?;
            differs(finding, "heat map", &found.heat[at], &expected.heat[at])?;
        }
        Ok(())
    }
}
