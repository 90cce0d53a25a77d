//! Findings by phrases and the nearest sentences: what a network's `language.global` and `language.places` say by the
//! bundle's section.
//!
//! ```text
//! language.global        [1, D]        int8 ─┐
//! language.places        [1, D, h, w]  int8 ─┼─▶ language::Scorer ─▶ findings, heat maps, sentences
//! language.global_places [1, D, h, w]  int8 ─┘   the last where the language has what places usually say
//! ```

use crate::decode::Heat;
use crate::interpret::{Finding, NearestSentence};
use crate::{Engine, EngineError, Output, Outputs};
use bundle::{Bundle, LabelCode, Manifest};
use graph::{LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, LANGUAGE_PLACES, Placement, Task};
use kernels::{Isa, Pool};
use language::{Carrier, Language, Near, Pack, Rounding, Said, Scorer};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What [`ZeroShot::derived`] adds to the outputs, for golden vectors.
const SCORES: &str = "zero-shot.scores";
const HEAT: &str = "zero-shot.heat";
const NEAREST: &str = "zero-shot.nearest";

/// So many sentences are told.
const SENTENCES: usize = 3;

/// Phrases and sentences of a bundle, ready for the outputs of its network.
pub struct ZeroShot {
    scorer: Scorer,
    language: Language,
    packs: Vec<Pack>,
    rounding: Rounding,
}

/// What was said of one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// One for each prompt.
    pub findings: Vec<Finding>,
    /// One for each of the findings, in their order.
    pub heat: Vec<Heat>,
    /// The nearest first.
    pub nearest: Vec<NearestSentence>,
}

impl ZeroShot {
    /// `None` of a bundle without language.
    pub fn open(bundle: &Bundle, engine: &Engine) -> Result<Option<Self>, EngineError> {
        let carrier = Carrier::from(bundle);
        // Without language, no packs either.
        let packs = carrier.packs()?;
        let language = carrier.language()?;
        let speaking = language.map(|it| Self::new(it, packs, &bundle.manifest, engine));
        speaking.transpose()
    }

    /// Of parts that a bundle is made of. Refuses a network without the outputs that they need.
    pub fn new(
        language: Language,
        packs: Vec<Pack>,
        manifest: &Manifest,
        engine: &Engine,
    ) -> Result<Self, EngineError> {
        let head = manifest.head(Task::Classification);
        let taken: BTreeSet<&String> = head.iter().flat_map(|head| &head.labels).collect();
        let prompts = || language.prompts.iter().chain(packs.iter().flat_map(|pack| &pack.prompts));
        if let Some(again) = prompts().find(|prompt| taken.contains(&prompt.name)) {
            let name = again.name.clone();
            return Err(language::LanguageError::Twice { name }.into());
        }
        let missing = |name: &&str| !engine.has_output(name);
        if let Some(output) = [LANGUAGE_GLOBAL, LANGUAGE_PLACES].into_iter().find(missing) {
            return Err(EngineError::NoLanguage { output });
        }
        let rounding = engine.rounding()?;
        rounding.check()?;
        match (&language.usual, rounding.maps.global_places) {
            (Some(_), None) => {
                return Err(EngineError::NoLanguage { output: LANGUAGE_GLOBAL_PLACES });
            }
            (None, Some(_)) => return Err(EngineError::NoUsual { output: LANGUAGE_GLOBAL_PLACES }),
            _ => {}
        }
        let space = language.space;
        let width = space.width as usize;
        let [rows, columns] = space.grid.map(|side| side as usize);
        shape(engine, LANGUAGE_GLOBAL, &[1, width])?;
        shape(engine, LANGUAGE_PLACES, &[1, width, rows, columns])?;
        if language.usual.is_some() {
            shape(engine, LANGUAGE_GLOBAL_PLACES, &[1, width, rows, columns])?;
        }
        let isa = Isa::from_name(engine.isa())
            .map_err(|unknown| EngineError::Isa { reason: unknown.to_string() })?;
        let pool = engine.pool().unwrap_or_else(|| Arc::new(Pool::new(1)));
        let scorer = Scorer::new(&language, &packs, rounding.maps, isa, &pool)?;
        Ok(Self { scorer, language, packs, rounding })
    }

    pub fn language(&self) -> &Language {
        &self.language
    }

    /// A code for each finding: the prompt's, or one of our own.
    pub fn codes(&self) -> Vec<LabelCode> {
        let packs = self.packs.iter().flat_map(|pack| &pack.prompts);
        let code = |prompt: &language::Prompt| {
            prompt.code.clone().unwrap_or_else(|| LabelCode::private(&prompt.name))
        };
        self.language.prompts.iter().chain(packs).map(code).collect()
    }

    /// Findings, heat maps and sentences, in pixels of the source image that lies in the input as `placed`.
    pub fn tell(&mut self, outputs: &Outputs, placed: &Placement) -> Result<Told, EngineError> {
        let [rows, columns] = self.language.space.grid.map(|side| side as usize);
        let heat = |name: &str, values: Vec<f32>| Heat::new(name, values, [rows, columns], placed);
        let (said, near) = self.answer(outputs)?;
        let mut told = Told::default();
        for Said { name, probability, threshold, positive, heat: values, .. } in said {
            told.heat.push(heat(&name, values));
            told.findings.push(Finding { name, probability, threshold, positive });
        }
        let sentence = |Near { sentence, similarity, weights, .. }: Near| NearestSentence {
            place: heat("", weights).peak,
            sentence,
            similarity,
        };
        told.nearest = near.into_iter().map(sentence).collect();
        Ok(told)
    }

    /// The same as numbers, as if the network had these outputs too: what golden vectors hold of it. Packs apart, which
    /// come later and have their own.
    ///
    /// ```text
    /// zero-shot.scores   [findings, 2]        raw score, probability
    /// zero-shot.heat     [findings, h, w]
    /// zero-shot.nearest  [sentences, 2 + P]   prototype, similarity, weights
    /// ```
    pub fn derived(&mut self, outputs: &Outputs) -> Result<Vec<Output>, EngineError> {
        let [rows, columns] = self.language.space.grid.map(|side| side as usize);
        let (mut said, near) = self.answer(outputs)?;
        said.truncate(self.language.prompts.len());
        let scores: Vec<f32> = said.iter().flat_map(|it| [it.raw, it.probability]).collect();
        let heat: Vec<f32> = said.iter().flat_map(|it| &it.heat).copied().collect();
        let nearest: Vec<f32> = near
            .iter()
            .flat_map(|it| {
                [it.prototype as f32, it.similarity].into_iter().chain(it.weights.clone())
            })
            .collect();
        let output = |name: &str, shape: &[usize], data: Vec<f32>| Output {
            name: name.to_owned(),
            shape: shape.to_vec(),
            data,
        };
        Ok(vec![
            output(SCORES, &[said.len(), 2], scores),
            output(HEAT, &[said.len(), rows, columns], heat),
            output(NEAREST, &[near.len(), 2 + rows * columns], nearest),
        ])
    }

    fn answer(&mut self, outputs: &Outputs) -> Result<(Vec<Said>, Vec<Near>), EngineError> {
        let embedded = self.rounding.embedded(&self.language.space, |name| {
            outputs.require(name).map(|output| output.data.as_slice())
        })?;
        let image = embedded.image();
        Ok((self.scorer.score(image), self.scorer.nearest(image, SENTENCES)))
    }
}

fn shape(engine: &Engine, name: &str, expected: &[usize]) -> Result<(), EngineError> {
    let found = engine.shape_of(name)?;
    if found == expected {
        return Ok(());
    }
    let (name, expected) = (name.to_owned(), format!("{expected:?} of the bundle's language"));
    Err(EngineError::OutputShape { name, found, expected })
}
