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
use bundle::{Bundle, LabelCode, section};
use graph::Placement;
use kernels::{Isa, Pool};
use language::{Carrier, Codes, Image, Language, MapCodes, Near, Pack, Said, Scorer};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Outputs of a network that has language.
const GLOBAL: &str = "language.global";
const PLACES: &str = "language.places";
const GLOBAL_PLACES: &str = "language.global_places";

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
    global: Codes,
    maps: MapCodes,
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
    /// `None` of a bundle without language. Language needs both, the section and the network's outputs: either alone is
    /// refused.
    pub fn open(bundle: &Bundle, engine: &Engine) -> Result<Option<Self>, EngineError> {
        // Without language, no packs either.
        let packs = Carrier::from(bundle).packs()?;
        let has = [GLOBAL, PLACES].map(|name| engine.has_output(name));
        match (bundle.section(section::LANGUAGE), has) {
            (None, [false, false]) => Ok(None),
            (None, _) => {
                let reason = "the network has it, the bundle has no section";
                Err(EngineError::NoLanguage { what: section::LANGUAGE, reason: reason.into() })
            }
            (Some(_), [false, _]) => Err(no_output(GLOBAL)),
            (Some(_), [_, false]) => Err(no_output(PLACES)),
            (Some(bytes), _) => {
                let language = Language::from_bytes(bytes)?;
                let taken = taken_names(bundle);
                Self::new(language, packs, &taken, engine).map(Some)
            }
        }
    }

    fn new(
        language: Language,
        packs: Vec<Pack>,
        taken: &BTreeSet<&String>,
        engine: &Engine,
    ) -> Result<Self, EngineError> {
        let prompts = || language.prompts.iter().chain(packs.iter().flat_map(|pack| &pack.prompts));
        if let Some(again) = prompts().find(|prompt| taken.contains(&prompt.name)) {
            let name = again.name.clone();
            return Err(language::LanguageError::Twice { name }.into());
        }
        let global = engine.codes_of(GLOBAL)?;
        let global_places = global_places(&language, engine)?;
        let maps = MapCodes { places: engine.codes_of(PLACES)?, global_places };
        let space = language.space;
        let width = space.width as usize;
        let [rows, columns] = space.grid.map(|side| side as usize);
        shape(engine, GLOBAL, &[1, width])?;
        shape(engine, PLACES, &[1, width, rows, columns])?;
        if maps.global_places.is_some() {
            shape(engine, GLOBAL_PLACES, &[1, width, rows, columns])?;
        }
        let isa = Isa::from_name(engine.isa())
            .map_err(|unknown| EngineError::Isa { reason: unknown.to_string() })?;
        let pool = engine.pool().unwrap_or_else(|| Arc::new(Pool::new(1)));
        let scorer = Scorer::new(&language, &packs, maps, isa, &pool)?;
        Ok(Self { scorer, language, packs, global, maps })
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
        let global = outputs.require(GLOBAL)?;
        let global: Vec<i16> = global.data.iter().map(|x| self.global.steps(*x)).collect();
        let width = self.language.space.width as usize;
        let places = by_place(outputs.require(PLACES)?, width, self.maps.places);
        let of_global =
            |codes| outputs.require(GLOBAL_PLACES).map(|map| by_place(map, width, codes));
        let global_places = self.maps.global_places.map(of_global).transpose()?;
        let global_places = global_places.as_deref();
        let image = Image { global: &global, places: &places, global_places };
        Ok((self.scorer.score(image), self.scorer.nearest(image, SENTENCES)))
    }
}

/// Codes of a map, channels first as ONNX has them, innermost as products want them.
fn by_place(map: &Output, width: usize, codes: Codes) -> Vec<u8> {
    let sites = map.data.len() / width;
    let mut all = vec![0; map.data.len()];
    for (channel, plane) in map.data.chunks_exact(sites).enumerate() {
        for (site, x) in plane.iter().enumerate() {
            all[site * width + channel] = codes.code(*x);
        }
    }
    all
}

/// The codes of what places add to the global score: language and network have both or neither.
fn global_places(language: &Language, engine: &Engine) -> Result<Option<Codes>, EngineError> {
    match (&language.usual, engine.has_output(GLOBAL_PLACES)) {
        (Some(_), true) => engine.codes_of(GLOBAL_PLACES).map(Some),
        (None, false) => Ok(None),
        (Some(_), false) => Err(no_output(GLOBAL_PLACES)),
        (None, true) => {
            let reason = format!(
                "the network has it, section {} not what places usually say",
                section::LANGUAGE
            );
            Err(EngineError::NoLanguage { what: GLOBAL_PLACES, reason })
        }
    }
}

/// Labels of the network's own findings.
fn taken_names(bundle: &Bundle) -> BTreeSet<&String> {
    let head = bundle.manifest.head(graph::Task::Classification);
    head.iter().flat_map(|head| &head.labels).collect()
}

fn no_output(what: &'static str) -> EngineError {
    let reason =
        format!("the bundle has a section {}, the network has no such output", section::LANGUAGE);
    EngineError::NoLanguage { what, reason }
}

fn shape(engine: &Engine, name: &str, expected: &[usize]) -> Result<(), EngineError> {
    let found = engine.shape_of(name)?;
    if found == expected {
        return Ok(());
    }
    let (name, expected) = (name.to_owned(), format!("{expected:?} of the bundle's language"));
    Err(EngineError::OutputShape { name, found, expected })
}
